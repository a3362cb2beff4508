"""A parallel loop over columns that holds serial loops: the columns go inside, as vectors.

    parallel j in 0..256:                          parallel j.block in 0..4:
        serial p in 0..64:                             serial p in 0..64:
            let t = index[p]                =>             let t = index[p]
            when t < 8000:                                 when t < 8000:
                store y[t, j] = y[t, j] + x[p, j]              vector j.lane in 0..64: store …

Columns are independent, so only the order of what happens to one of them matters, and it stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphc.loops import Kernel, Let, Loop, Statement, Store, When, add, index, mul, variable
from graphc.loops.affine import free_variables
from graphc.loops.expressions import Expr

from .contraction_nest import extent_of
from .elementwise import reduces, stride, substituted

_BLOCK = 64


def sink_columns(kernel: Kernel) -> Kernel | None:
    """The kernel with its columns inside; None where it is not of this form."""
    if len(kernel.body) != 1 or not isinstance(loop := kernel.body[0], Loop):
        return None
    extent = extent_of(loop)
    if loop.kind != "parallel" or extent < _BLOCK // 8 or not _holds_loops(loop.body):
        return None
    if not all(_can_sink(s, loop.var, kernel) for s in loop.body):
        return None
    return replace(kernel, body=tuple(_blocks(loop, extent)))


def _holds_loops(body: Sequence[Statement]) -> bool:
    return any(isinstance(s, Loop) for s in body)


def _can_sink(statement: Statement, name: str, kernel: Kernel) -> bool:
    """Whether control is the same for all columns, and only neighbours are stored."""
    match statement:
        case Loop(kind="serial", lower=lower, upper=upper, body=body):
            bounds = free_variables(lower) | free_variables(upper)
            return name not in bounds and all(_can_sink(s, name, kernel) for s in body)
        case When(condition, body):
            if name in free_variables(condition):
                return False
            return all(_can_sink(s, name, kernel) for s in body)
        case Let(value=value):
            return not _folds(value) and name not in free_variables(value)
        case Store(value=value):
            return not _folds(value) and stride(statement, name, kernel) == 1
        case _:
            return False


def _folds(expr: Expr) -> bool:
    return next(reduces(expr), None) is not None


def _blocks(loop: Loop, extent: int) -> Iterator[Statement]:
    whole, rest = divmod(extent, _BLOCK)
    for first, count, size in ((0, whole, _BLOCK), (whole * _BLOCK, 1, rest)):
        if count and size:
            block, lane = f"{loop.var}.block", f"{loop.var}.lane"
            start = add(mul(variable(block), _BLOCK), first)
            place: dict[str, Expr] = {loop.var: add(start, variable(lane))}
            body = tuple(_sunk(substituted(s, place), lane, size) for s in loop.body)
            yield Loop("parallel", block, index(0), index(count), body)


def _sunk(statement: Statement, lane: str, size: int) -> Statement:
    match statement:
        case Loop() | When():
            return replace(statement, body=tuple(_sunk(s, lane, size) for s in statement.body))
        case Store():
            return Loop("vector", lane, index(0), index(size), (statement,))
        case _:
            return statement
