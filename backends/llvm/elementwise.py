"""Loops without register tiles: the innermost loop runs in vectors where neighbours are stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphc.loops import (
    Contract,
    Kernel,
    Let,
    Load,
    Loop,
    Prefetch,
    Statement,
    Store,
    When,
    add,
    index,
    mul,
    variable,
)
from graphc.loops.affine import affine
from graphc.loops.expressions import Expr, Literal, Reduce, children
from graphc.loops.substitute import substitute

_BLOCK = 2048  # elements
_LINE = 16  # elements of 4 bytes in a cache line
_LINES = 4  # that a row of a column sum reads together


def vectorise(kernel: Kernel) -> Kernel:
    """Innermost loops over neighbours become vector loops; a lone long loop is cut in blocks."""
    body = tuple(new for s in kernel.body for new in _outer(s, kernel))
    return replace(kernel, body=body)


def _outer(statement: Statement, kernel: Kernel) -> Sequence[Statement]:
    if not isinstance(statement, Loop):
        return (statement,)
    if _is_vector(statement, kernel) and statement.kind == "parallel":
        return _blocks(statement, _block_elements(statement))
    return (_inner(statement, kernel),)


def _inner(statement: Statement, kernel: Kernel) -> Statement:
    match statement:
        case Loop(kind="serial" | "parallel"):
            if _is_vector(statement, kernel):
                return replace(statement, kind="vector")
            return replace(statement, body=tuple(_inner(s, kernel) for s in statement.body))
        case When(condition, body):
            return When(condition, tuple(_inner(s, kernel) for s in body))
        case _:
            return statement


def _block_elements(loop: Loop) -> int:
    """Fewer elements in a block where each folds many; some cache lines of them at least."""
    folded = max(map(_folded_elements, values(loop.body)), default=1)
    return max(_LINES * _LINE, _BLOCK // max(1, folded) // _LINE * _LINE)


def _folded_elements(expr: Expr) -> int:
    own = math.prod(axis.extent for axis in expr.axes) if isinstance(expr, Reduce) else 1
    return own * max(map(_folded_elements, children(expr)), default=1)


def _blocks(loop: Loop, size: int) -> Sequence[Statement]:
    """Blocks of neighbours, shared out; the rest is a block of its own."""
    extent = _extent(loop)
    whole, rest = divmod(extent, size)
    made: list[Statement] = []
    block = variable(f"{loop.var}.block")
    for start, count, length in ((0, whole, size), (whole * size, 1, rest)):
        if count and length:
            lane = variable(f"{loop.var}.lane")
            first = add(mul(block, size), start)
            place = {loop.var: add(first, lane)}
            body = tuple(substituted(s, place) for s in loop.body)
            vector = Loop("vector", lane.name, index(0), index(length), body)
            made.append(Loop("parallel", block.name, index(0), index(count), (vector,)))
    return made


def substituted(statement: Statement, values: dict[str, Expr]) -> Statement:
    """A statement with variables replaced."""
    match statement:
        case Let(name, value):
            return Let(name, substitute(value, values))
        case Store(buffer, at, value, guard):
            places = tuple(substitute(i, values) for i in at)
            condition = None if guard is None else substitute(guard, values)
            return Store(buffer, places, substitute(value, values), condition)
        case Loop():
            return replace(
                statement,
                lower=substitute(statement.lower, values),
                upper=substitute(statement.upper, values),
                body=tuple(substituted(s, values) for s in statement.body),
            )
        case When(condition, body):
            return When(substitute(condition, values), tuple(substituted(s, values) for s in body))
        case Contract(tile, row, column, a, b):
            return Contract(tile, row, column, substitute(a, values), substitute(b, values))
        case Prefetch(buffer, at):
            return Prefetch(buffer, tuple(substitute(i, values) for i in at))
        case _:
            return statement


def _extent(loop: Loop) -> int:
    if isinstance(loop.lower, Literal) and isinstance(loop.upper, Literal):
        return int(loop.upper.value) - int(loop.lower.value)
    return 0


def _is_vector(loop: Loop, kernel: Kernel) -> bool:
    """Only stores of neighbours, and what they need, inside, and no fold that is better off in
    vectors itself: one with lanes, whose own last axis runs over neighbours."""
    if _extent(loop) < 2 or loop.step != 1:
        return False
    stores = [s for s in loop.body if isinstance(s, Store)]
    plain = all(isinstance(s, Let | Store | Prefetch) for s in loop.body)
    return (
        plain
        and bool(stores)
        and all(stride(store, loop.var, kernel) == 1 for store in stores)
        and not any(_folds_neighbours(expr, loop.var, kernel) for expr in values(loop.body))
    )


def _folds_neighbours(expr: Expr, var: str, kernel: Kernel) -> bool:
    """Whether a fold with lanes reads along its own last axis, and nothing that lies along `var`
    alone, as a matrix by a vector does where the matrix has its rows last."""
    if isinstance(expr, Reduce) and expr.lanes > 1:
        last = expr.axes[-1].name
        read = [load for part in expr.body for load in loads(part)]
        crossing = any(_crosses(load, var, last, kernel) for load in read)
        if not crossing and any(stride(load, last, kernel) == 1 for load in read):
            return True
    return any(_folds_neighbours(child, var, kernel) for child in children(expr))


def _crosses(load: Load, var: str, last: str, kernel: Kernel) -> bool:
    """Whether neighbours along `var` lie together, and those along `last` in lines of their own."""
    along, apart = stride(load, var, kernel), stride(load, last, kernel)
    return along == 1 and apart is not None and apart >= _LINE


def stride(access: Load | Store, name: str, kernel: Kernel) -> int | None:
    """Elements between neighbours along an index; None where that is not one number."""
    buffer = kernel.by_name.get(access.buffer)
    if buffer is None:
        return None
    total = 0
    for expr, stride in zip(access.index, buffer.strides, strict=True):
        form = affine(expr)
        if form is None or form.hides(name):
            return None
        total += stride * form.coefficient(name)
    return total


def loads(expr: Expr) -> Iterator[Load]:
    """All loads in an expression."""
    if isinstance(expr, Load):
        yield expr
    for child in children(expr):
        yield from loads(child)


def reduces(expr: Expr) -> Iterator[Reduce]:
    """All folds in an expression."""
    if isinstance(expr, Reduce):
        yield expr
    for child in children(expr):
        yield from reduces(child)


def values(statements: Sequence[Statement]) -> Iterator[Expr]:
    for statement in statements:
        if isinstance(statement, Let | Store):
            yield statement.value
