"""Einstein summation, written with transposes, reshapes, sums and matrix products.

    einsum(b, "bij,bjk->bik", x, y)      a batched product
    einsum(b, "ii", x)                   a trace: a repeated index takes the diagonal
    einsum(b, "...ij->...ji", x)         `...` stands for any leading dimensions
    einsum(b, "ij,jk,kl", x, y, z)       no `->`: the indices that occur once, in alphabetical order

Operands are contracted two at a time, from the left. Of a pair's indices, those that nothing else
needs are summed: in one operand alone before the product, in both by the product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir import Value

# One label for each dimension. Those of an ellipsis are numbers, counted from the right.
Label = str | int
Labels = tuple[Label, ...]


@dataclass(frozen=True)
class Term:
    """A value whose dimensions have names, no two the same."""

    labels: Labels
    value: Value

    def extent(self, label: Label) -> int:
        return self.value.shape[self.labels.index(label)]


def einsum(b: Any, equation: str, *values: Value) -> Value:
    """The sum of products that `equation` describes, of values of one number type.

    b is a `graphc.ops.build.Builder`. An extent of 1 broadcasts against any other.
    Raises ArgumentError for an equation that cannot be read or does not fit the number of
    operands, ShapeError for dimensions that do not fit, DTypeError for mixed types.
    """
    inputs, output = _parse(equation, values)
    _expect_one_type(values)
    extents = _extents(equation, inputs, values)
    terms = [
        _take_diagonals(b, labels, value) for labels, value in zip(inputs, values, strict=True)
    ]
    terms = [_drop_broadcast(b, term, extents) for term in terms]
    result = terms[0]
    for position, term in enumerate(terms[1:], start=2):
        needed = {*output, *(label for later in terms[position:] for label in later.labels)}
        result = _multiply(b, result, term, needed)
    return _arrange(b, _sum_except(b, result, set(output)), output)


# Reading the equation


def _parse(equation: str, values: Sequence[Value]) -> tuple[list[Labels], Labels]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(values):
        raise ArgumentError(
            f"einsum: {equation!r} names {len(parts)} operands, {len(values)} are given"
        )
    inputs = [
        _labels(equation, part, value.type.rank) for part, value in zip(parts, values, strict=True)
    ]
    dots = max(sum(isinstance(label, int) for label in labels) for labels in inputs)
    if not arrow:
        return inputs, _implicit_output(left, dots)
    output = _labels(equation, right, sum(map(str.isalpha, right)) + dots * right.count("..."))
    _expect_output(equation, output, inputs)
    return inputs, output


def _labels(equation: str, part: str, rank: int) -> Labels:
    """One label a dimension: `a...b` of rank 4 is a, 1, 0, b."""
    before, dots, after = part.partition("...")
    letters = before + after
    if not all(letter.isascii() and letter.isalpha() for letter in letters):
        raise ArgumentError(f"einsum: {part!r} in {equation!r} is not made of letters and '...'")
    middle = rank - len(letters)
    if middle < 0 or (middle and not dots):
        raise ShapeError(
            f"einsum: {part!r} in {equation!r} names {len(letters)} dimensions, "
            f"the operand has {rank}"
        )
    return (*before, *reversed(range(middle)), *after)


def _implicit_output(left: str, dots: int) -> Labels:
    letters = [letter for letter in left if letter.isalpha()]
    once = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
    return (*reversed(range(dots)), *once)


def _expect_output(equation: str, output: Labels, inputs: Sequence[Labels]) -> None:
    known = {label for labels in inputs for label in labels}
    for label in output:
        if label not in known:
            raise ArgumentError(f"einsum: {label!r} of the output of {equation!r} is in no operand")
        if output.count(label) > 1:
            raise ArgumentError(f"einsum: {label!r} is twice in the output of {equation!r}")


def _expect_one_type(values: Sequence[Value]) -> None:
    dtypes = {value.dtype.name for value in values}
    if len(dtypes) > 1:
        raise DTypeError(f"einsum: operands are {', '.join(sorted(dtypes))}, expected one type")


def _extents(equation: str, inputs: Sequence[Labels], values: Sequence[Value]) -> dict[Label, int]:
    """Each label's extent; 1 gives way to any other."""
    extents: dict[Label, int] = {}
    for labels, value in zip(inputs, values, strict=True):
        for label, extent in zip(labels, value.shape, strict=True):
            known = extents.get(label, 1)
            if known != 1 and extent not in (1, known):
                name = repr(label) if isinstance(label, str) else "'...'"
                raise ShapeError(
                    f"einsum: {name} of {equation!r} is {known} and {extent} in "
                    f"{', '.join(str(each.type) for each in values)}"
                )
            extents[label] = extent if known == 1 else known
    return extents


# One operand


def _take_diagonals(b: Any, labels: Labels, value: Value) -> Term:
    """Each repeated label once: its two dimensions, as one of n * n, in steps of n + 1."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            labels, value = _take_diagonal(b, labels, value, label)
    return Term(labels, value)


def _take_diagonal(b: Any, labels: Labels, value: Value, label: Label) -> tuple[Labels, Value]:
    first = labels.index(label)
    second = labels.index(label, first + 1)
    others = [axis for axis in range(len(labels)) if axis not in (first, second)]
    rest, extent = [value.shape[axis] for axis in others], value.shape[first]
    if value.shape[second] != extent:
        raise ShapeError(f"einsum: {label!r} is {extent} and {value.shape[second]} in {value.type}")
    square = b.reshape(b.transpose(value, [*others, first, second]), [*rest, extent * extent])
    diagonal = b.op(
        "slice",
        square,
        start=(0,) * (len(rest) + 1),
        stop=(*rest, extent * extent),
        step=(*(1 for _ in rest), extent + 1),
    )
    return (*(labels[axis] for axis in others), label), diagonal


def _drop_broadcast(b: Any, term: Term, extents: dict[Label, int]) -> Term:
    """A dimension of 1 that another operand has longer is no dimension of this one."""
    kept = tuple(label for label in term.labels if term.extent(label) == extents[label])
    return Term(kept, b.reshape(term.value, [extents[label] for label in kept]))


def _sum_except(b: Any, term: Term, needed: set[Label]) -> Term:
    axes = [axis for axis, label in enumerate(term.labels) if label not in needed]
    labels = tuple(label for label in term.labels if label in needed)
    return Term(labels, b.sum(term.value, axes))


def _arrange(b: Any, term: Term, labels: Labels) -> Value:
    """The value with its dimensions in the order of `labels`."""
    value: Value = b.transpose(term.value, [term.labels.index(label) for label in labels])
    return value


# Two operands


def _multiply(b: Any, left: Term, right: Term, needed: set[Label]) -> Term:
    """The product, summed over what is not needed after it."""
    left = _sum_except(b, left, needed | set(right.labels))
    right = _sum_except(b, right, needed | set(left.labels))
    shared = [label for label in left.labels if label in right.labels]
    batch = tuple(label for label in shared if label in needed)
    inner = tuple(label for label in shared if label not in needed)
    rows = tuple(label for label in left.labels if label not in shared)
    columns = tuple(label for label in right.labels if label not in shared)
    a = _as_matrices(b, left, batch, rows, inner)
    c = _as_matrices(b, right, batch, inner, columns)
    product = b.matmul(a, c) if inner else _outer(b, a, c)
    shape = [
        *map(left.extent, batch),
        *map(left.extent, rows),
        *map(right.extent, columns),
    ]
    return Term(batch + rows + columns, b.reshape(product, shape))


def _as_matrices(b: Any, term: Term, batch: Labels, rows: Labels, columns: Labels) -> Value:
    """[*batch, rows, columns]: all rows as one dimension, and all columns.

    Batches stay apart, so that attention written this way looks like any other.
    """
    order = [term.labels.index(label) for label in (*batch, *rows, *columns)]
    matrix = [math.prod(map(term.extent, group)) for group in (rows, columns)]
    value: Value = b.reshape(b.transpose(term.value, order), [*map(term.extent, batch), *matrix])
    return value


def _outer(b: Any, column: Value, row: Value) -> Value:
    """[..., M, 1] times [..., 1, N], element by element."""
    shape = (*column.shape[:-1], row.shape[-1])
    product: Value = b.mul(b.broadcast(column, shape), b.broadcast(row, shape))
    return product
