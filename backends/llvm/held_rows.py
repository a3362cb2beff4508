"""Exponentials and the like of a row's elements are computed once, where several sweeps need them.

    let s = reduce sum [r < n] exp(x[i, r] - m)       vector e in 0..n:
    serial j in 0..n:                                     prefetch x[i + 1, e]
        let p = exp(x[i, j] - m)                          store held[e] = exp(x[i, e] - m)
        store y[i, j] = p / s                    =>   let s = reduce sum [r < n] held[r]
                                                      serial j: store y[i, j] = held[j] / s

A row lies in a near cache between its sweeps, so that putting a value down and reading it again
costs less than its formula. Meanwhile the next row comes near: memory would idle else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.loops import (
    Buffer,
    Call,
    Expr,
    Kernel,
    Let,
    Local,
    Loop,
    Prefetch,
    Reduce,
    Statement,
    Store,
    Variable,
    add,
    index,
    load,
    sub,
    variable,
)
from graphc.loops.affine import free_variables
from graphc.loops.build import call
from graphc.loops.expressions import Literal, children, with_children
from graphc.loops.formulas import is_formula
from graphc.loops.substitute import substitute
from graphc.target import Target

from .elementwise import loads, stride

_ELEMENT, _HELD = "row.element", "row.held"
# In vectors, one formula for 3 elements takes no longer than two of one element.
_LEAST_ELEMENTS = 3


def hold_rows(kernel: Kernel, target: Target) -> Kernel:
    """The kernel with such values held; the same one where there are none."""
    body = tuple(_in_loop(statement, target, kernel) for statement in kernel.body)
    return kernel if body == kernel.body else replace(kernel, body=body)


def _in_loop(statement: Statement, target: Target, kernel: Kernel) -> Statement:
    if not isinstance(statement, Loop) or statement.kind not in ("parallel", "serial"):
        return statement
    body = tuple(_in_loop(inner, target, kernel) for inner in statement.body)
    return replace(statement, body=_held(replace(statement, body=body), target, kernel))


@dataclass(frozen=True)
class _Use:
    """A formula that a statement computes for each of `extent` elements, written over _ELEMENT."""

    value: Call
    extent: int
    position: int


def _held(rows: Loop, target: Target, kernel: Kernel) -> tuple[Statement, ...]:
    uses: dict[tuple[Expr, int], list[int]] = {}
    for use in _uses(rows.body):
        uses.setdefault((use.value, use.extent), []).append(use.position)
    body, coming = rows.body, set[Prefetch]()
    chosen = [key for key in uses if _fits(key, target) and _is_settled(key[0], kernel)]
    for number, (value, extent) in enumerate(chosen):
        soon = [p for p in _next_row(value, rows, target, kernel) if p not in coming]
        coming.update(soon)
        user = rows.body[uses[value, extent][0]]
        if len(set(uses[value, extent])) == 1 and isinstance(user, Loop):
            body = tuple(_fetching(s, soon) if s == user else s for s in body)
        elif soon or len(set(uses[value, extent])) > 1:
            buffer = Buffer(f"{_HELD}.{number}", (extent,), value.dtype, space="scratch")
            body = _with_held(body, value, buffer, soon)
    return body


def _fetching(loop: Loop, soon: Sequence[Prefetch]) -> Loop:
    """The only loop that needs a value computes it, while the next row comes near."""
    place = {_ELEMENT: variable(loop.var)}
    ahead = [replace(p, index=tuple(substitute(i, place) for i in p.index)) for p in soon]
    return replace(loop, body=(*ahead, *loop.body))


def _is_settled(value: Expr, kernel: Kernel) -> bool:
    """Whether nothing that the value reads is stored by the kernel."""
    found = (kernel.by_name.get(read.buffer) for read in loads(value))
    return all(buffer is not None and buffer.access == "in" for buffer in found)


def _next_row(value: Expr, rows: Loop, target: Target, kernel: Kernel) -> Iterator[Prefetch]:
    """What the next row will read from far away, where the value reads it of this row."""
    following = {rows.var: call("min", add(variable(rows.var), 1), sub(rows.upper, 1))}
    for read in dict.fromkeys(loads(value)):
        moves = rows.var in set().union(*map(free_variables, read.index))
        lies_together = stride(read, _ELEMENT, kernel) == 1 and read.guard is None
        large = lies_together and kernel.by_name[read.buffer].nbytes > target.l2_bytes
        if large and moves:
            yield Prefetch(read.buffer, tuple(substitute(i, following) for i in read.index))


def _fits(key: tuple[Expr, int], target: Target) -> bool:
    value, extent = key
    return extent >= _LEAST_ELEMENTS and extent * value.dtype.itemsize <= target.l2_bytes // 4


def _uses(body: Sequence[Statement]) -> Iterator[_Use]:
    for position, statement in enumerate(body):
        for value, extent in _elements_of(statement):
            for formula in _formulas(value):
                yield _Use(formula, extent, position)


def _elements_of(statement: Statement) -> Iterator[tuple[Expr, int]]:
    """What a statement computes for each element of a row, and of how many, over _ELEMENT."""
    if isinstance(statement, Let):
        for fold in _folds(statement.value):
            axis = fold.axes[0]
            for part in fold.body:
                yield substitute(part, {axis.name: variable(_ELEMENT)}), axis.extent
    elif isinstance(statement, Loop) and (extent := _plain_extent(statement)):
        known: dict[str, Expr] = {statement.var: variable(_ELEMENT)}
        for inner in statement.body:
            assert isinstance(inner, Let | Store)
            value = substitute(inner.value, known)
            yield value, extent
            if isinstance(inner, Let):
                known[inner.name] = value


def _plain_extent(loop: Loop) -> int:
    """The iterations of a serial loop from 0 that holds lets and stores alone; else 0."""
    plain = all(isinstance(s, Let | Store) for s in loop.body)
    if loop.kind != "serial" or loop.step != 1 or loop.lower != index(0) or not plain:
        return 0
    return int(loop.upper.value) if isinstance(loop.upper, Literal) else 0


def _folds(expr: Expr) -> Iterator[Reduce]:
    """The folds over one axis, on no condition, in an expression."""
    if isinstance(expr, Reduce):
        if len(expr.axes) == 1 and expr.where is None:
            yield expr
        return
    for child in children(expr):
        yield from _folds(child)


def _formulas(expr: Expr) -> Iterator[Call]:
    """The outermost formulas of the row's element in an expression."""
    if isinstance(expr, Reduce):
        return
    if isinstance(expr, Call) and is_formula(expr.op) and _ELEMENT in free_variables(expr):
        yield expr
        return
    for child in children(expr):
        yield from _formulas(child)


def _with_held(
    body: Sequence[Statement], value: Expr, buffer: Buffer, soon: Sequence[Prefetch]
) -> tuple[Statement, ...]:
    """The statements with the value put down before its first use, and read in all."""
    made: list[Statement] = []
    held = False
    for statement in body:
        new = _reading(statement, value, buffer)
        if new != statement and not held:
            store = Store(buffer.name, (variable(_ELEMENT),), value)
            extent = index(buffer.size)
            made += [Local(buffer), Loop("vector", _ELEMENT, index(0), extent, (*soon, store))]
            held = True
        made.append(new)
    return tuple(made)


def _reading(statement: Statement, value: Expr, buffer: Buffer) -> Statement:
    if isinstance(statement, Let):
        return replace(statement, value=_in_folds(statement.value, value, buffer))
    if not isinstance(statement, Loop) or _plain_extent(statement) != buffer.size:
        return statement
    known: dict[str, Expr] = {statement.var: variable(_ELEMENT)}
    body: list[Statement] = []
    for inner in statement.body:
        assert isinstance(inner, Let | Store)
        here = load(buffer.name, (variable(statement.var),), buffer.dtype)
        body.append(replace(inner, value=_replaced(inner.value, value, here, known)))
        if isinstance(inner, Let):
            known[inner.name] = substitute(inner.value, known)
    return replace(statement, body=tuple(body))


def _in_folds(expr: Expr, value: Expr, buffer: Buffer) -> Expr:
    if not isinstance(expr, Reduce):
        return with_children(expr, tuple(_in_folds(c, value, buffer) for c in children(expr)))
    if len(expr.axes) != 1 or expr.where is not None or expr.axes[0].extent != buffer.size:
        return expr
    name = expr.axes[0].name
    here = load(buffer.name, (variable(name),), buffer.dtype)
    known = {name: variable(_ELEMENT)}
    return replace(expr, body=tuple(_replaced(part, value, here, known) for part in expr.body))


def _replaced(expr: Expr, value: Expr, here: Expr, known: Mapping[str, Expr]) -> Expr:
    """The expression with `here` where it computes the value, names meaning what `known` says."""
    if isinstance(expr, Literal | Variable | Reduce):
        return expr
    if isinstance(expr, Call) and is_formula(expr.op) and substitute(expr, known) == value:
        return here
    return with_children(expr, tuple(_replaced(c, value, here, known) for c in children(expr)))
