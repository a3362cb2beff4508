"""Folds over small windows without register tiles: depthwise convolutions, poolings.

    parallel c, i, vector j:  store y[c, i, j] = reduce dot (k, l < 3) x[c, i + k - 1, j + l - 1] …
    =>
    parallel c, i in 0..1, vector j: …             the border: conditions bound the loops over k
    parallel c, i in 0..6:                         inside, without conditions on i
        vector j: let a = …i * 4; let b = …i * 4 + 1; …; stores

Inside, the window's steps are written out, and neighbouring rows of products read a line of the
image once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphc.loops import (
    Expr,
    Kernel,
    Let,
    Loop,
    Statement,
    Store,
    Variable,
    add,
    index,
    mul,
    variable,
)
from graphc.loops.affine import free_variables

from .contraction_border import inside, piece
from .contraction_nest import Nest, extent_of
from .contraction_strided import without_strides
from .contraction_tiles import balanced
from .elementwise import reduces, substituted, values, vectorise
from .folds import WINDOW

# Rows whose windows are folded together: more would not stay in registers with what they read.
_ROWS = 4


def tile_windows(kernel: Kernel) -> Kernel | None:
    """The kernel in pieces; None where it folds no windows."""
    nest = _window(kernel)
    if nest is None:
        return None
    parts = [vectorise(part) for part in _without_borders(kernel)]
    if nest.dot.combine != "dot":
        return replace(kernel, body=tuple(s for part in parts for s in part.body))
    return replace(kernel, body=tuple(s for part in parts for s in _joined_rows(part)))


def _window(kernel: Kernel) -> Nest | None:
    """The loops and the one fold of a kernel, if that runs over a window, in order."""
    loops: list[Loop] = []
    body: Sequence[Statement] = kernel.body
    while len(body) == 1 and isinstance(body[0], Loop) and body[0].kind == "parallel":
        loops.append(body[0])
        body = body[0].body
    if len(loops) < 2 or not all(isinstance(s, Let | Store) for s in body):
        return None
    folds = {fold for value in values(body) for fold in reduces(value)}
    if len(folds) != 1:
        return None
    (fold,) = folds
    steps = math.prod(axis.extent for axis in fold.axes)
    small = fold.lanes == 1 and len(fold.axes) > 1 and steps <= WINDOW
    return Nest(tuple(loops), fold, (), tuple(body)) if small else None


def _without_borders(kernel: Kernel) -> list[Kernel]:
    """The kernel cut so that no condition is left on rows inside, and strides are taken apart."""
    nest = _window(kernel)
    if nest is None or nest.dot.where is None:
        return [kernel]
    parts = without_strides(kernel, nest)
    if len(parts) == 1:
        parts = _cut(kernel, nest)
    return [kernel] if len(parts) == 1 else [p for part in parts for p in _without_borders(part)]


def _cut(kernel: Kernel, nest: Nest) -> list[Kernel]:
    for loop in nest.loops[:-1]:
        name, extent = loop.var, extent_of(loop)
        if nest.dot.where is None or name not in free_variables(nest.dot.where):
            continue
        first, last = inside(nest, name, extent)
        if extent > last - first > extent // 2:
            cuts = [(0, first), (first, last), (last, extent)]
            return [piece(kernel, nest, name, *cut) for cut in cuts if cut[0] < cut[1]]
    return [kernel]


# Rows together


def _joined_rows(kernel: Kernel) -> Sequence[Statement]:
    """The rows outside of a vector loop, four at a time."""
    loops: list[Loop] = []
    body: Sequence[Statement] = kernel.body
    while len(body) == 1 and isinstance(body[0], Loop):
        loops.append(body[0])
        body = body[0].body
    if len(loops) < 2 or loops[-1].kind != "vector":
        return kernel.body
    *outer, row, column = loops
    extent = extent_of(row)
    even = next((size for size in range(_ROWS, 1, -1) if extent % size == 0), _ROWS)
    tiles = balanced(extent, even)
    return [_around(outer, row, column, *tile) for tile in tiles]


def _around(
    outer: Sequence[Loop], row: Loop, column: Loop, first: int, count: int, size: int
) -> Statement:
    places = [add(mul(variable(row.var), size), first + n) for n in range(size)]
    written = [s for n in range(size) for s in _at_row(column.body, row.var, places[n], n)]
    lets = [s for s in written if isinstance(s, Let)]
    stores = [s for s in written if isinstance(s, Store)]
    body: tuple[Statement, ...] = (*lets, *stores)
    loops = [*outer, replace(row, upper=index(count))]
    statement: Statement = replace(column, body=body)
    for loop in reversed(loops):
        statement = replace(loop, body=(statement,))
    return statement


def _at_row(
    body: Sequence[Statement], name: str, place: Expr, number: int
) -> Iterator[Let | Store]:
    """The statements at one row, their lets under names of their own."""
    known: dict[str, Expr] = {name: place}
    for statement in body:
        assert isinstance(statement, Let | Store)
        new = substituted(statement, known)
        if isinstance(new, Let):
            known[new.name] = Variable(f"{new.name}.{number}", new.value.dtype)
            new = replace(new, name=f"{new.name}.{number}")
        assert isinstance(new, Let | Store)
        yield new
