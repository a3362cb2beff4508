"""Elementwise loops that read along another index than they write along, through register tiles.

    parallel r, c:  store y[r, c] = f(x[c, r])            x's neighbours lie along r, y's along c
    =>
    parallel r.block, c.block:
        unroll q, vector l:  tile[q, l] = x[c.block + q, r.block + l]
        unroll q, vector l:  store y[r.block + q, c.block + l] = f(tile[l, q])

Both sides move whole vectors; the tile is transposed in registers. What does not fill a tile stays
as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.loops import (
    Buffer,
    Expr,
    Kernel,
    Let,
    Load,
    Local,
    Loop,
    Reduce,
    Statement,
    Store,
    add,
    index,
    load,
    mul,
    variable,
)
from graphc.loops.expressions import Literal, children, with_children
from graphc.loops.kernel import LoopKind
from graphc.target import Target

from .elementwise import loads, stride, substituted, values


@dataclass(frozen=True)
class _Crossing:
    """Loops over `row` and `column`; `tiles`: the loads along the row, each with its tile."""

    loops: tuple[Loop, ...]
    row: str
    column: str
    tiles: Mapping[Load, str]
    body: tuple[Statement, ...]

    def extent(self, name: str) -> int:
        return next(_extent(loop) for loop in self.loops if loop.var == name)


def tile_transposed(kernel: Kernel, target: Target) -> Kernel | None:
    """The tiled kernel, or None where no load crosses the stores."""
    crossing = _find(kernel)
    if crossing is None:
        return None
    side = target.vector_bytes // 4
    rows = crossing.extent(crossing.row) // side * side
    columns = crossing.extent(crossing.column) // side * side
    if not rows or not columns:
        return None
    pieces = [_tiled(kernel, crossing, rows, columns, side)]
    pieces += _rest(crossing, rows, columns)
    return replace(kernel, body=tuple(pieces))


def _find(kernel: Kernel) -> _Crossing | None:
    loops: list[Loop] = []
    body: Sequence[Statement] = kernel.body
    while len(body) == 1 and isinstance(body[0], Loop) and body[0].kind == "parallel":
        loops.append(body[0])
        body = body[0].body
    if len(loops) < 2 or not all(isinstance(s, Let | Store) for s in body):
        return None
    if any(map(_holds_reduce, values(body))):
        return None
    column = loops[-1].var
    stores = [s for s in body if isinstance(s, Store)]
    if not all(stride(s, column, kernel) == 1 and s.guard is None for s in stores):
        return None
    written = {s.buffer for s in stores}
    found = dict.fromkeys(load for value in values(body) for load in loads(value))
    crossing = [x for x in found if x.guard is None and stride(x, column, kernel) not in (0, 1)]
    rows = {_row_of(x, loops[:-1], kernel) for x in crossing}
    row = rows.pop() if len(rows) == 1 else None
    if row is None or any(x.buffer in written or x.dtype.itemsize != 4 for x in crossing):
        return None
    tiles = {x: f"tile.{number}" for number, x in enumerate(crossing)}
    return _Crossing(tuple(loops), row, column, tiles, tuple(body))


def _row_of(load: Load, loops: Sequence[Loop], kernel: Kernel) -> str | None:
    return next((x.var for x in loops if stride(load, x.var, kernel) == 1), None)


def _holds_reduce(expr: Expr) -> bool:
    return isinstance(expr, Reduce) or any(map(_holds_reduce, children(expr)))


def _extent(loop: Loop) -> int:
    assert isinstance(loop.upper, Literal)
    return int(loop.upper.value)


def _tiled(kernel: Kernel, crossing: _Crossing, rows: int, columns: int, side: int) -> Statement:
    blocks = {crossing.row: rows // side, crossing.column: columns // side}
    body: tuple[Statement, ...] = tuple(_filled(kernel, crossing, side))
    body += (_read(crossing, side),)
    for loop in reversed(crossing.loops):
        name, count = loop.var, _extent(loop)
        if name in blocks:
            name, count = f"{name}.block", blocks[name]
        body = (Loop("parallel", name, index(0), index(count), body),)
    return body[0]


def _place(name: str, side: int, offset: str) -> Expr:
    return add(mul(variable(f"{name}.block"), side), variable(offset))


def _across(side: int, body: tuple[Statement, ...]) -> Loop:
    inner = Loop("vector", "tile.l", index(0), index(side), body)
    return Loop("unroll", "tile.q", index(0), index(side), (inner,))


def _filled(kernel: Kernel, crossing: _Crossing, side: int) -> Iterator[Statement]:
    place = {
        crossing.row: _place(crossing.row, side, "tile.l"),
        crossing.column: _place(crossing.column, side, "tile.q"),
    }
    for crossed, name in crossing.tiles.items():
        yield Local(Buffer(name, (side, side), crossed.dtype, space="register"))
        at = (variable("tile.q"), variable("tile.l"))
        yield _across(side, (substituted(Store(name, at, crossed), place),))


def _read(crossing: _Crossing, side: int) -> Statement:
    place = {
        crossing.row: _place(crossing.row, side, "tile.q"),
        crossing.column: _place(crossing.column, side, "tile.l"),
    }
    body = tuple(substituted(_from_tiles(s, crossing.tiles), place) for s in crossing.body)
    return _across(side, body)


def _from_tiles(statement: Statement, tiles: Mapping[Load, str]) -> Statement:
    assert isinstance(statement, Let | Store)
    return replace(statement, value=_swapped(statement.value, tiles))


def _swapped(expr: Expr, tiles: Mapping[Load, str]) -> Expr:
    if isinstance(expr, Load) and expr in tiles:
        return load(tiles[expr], (variable("tile.l"), variable("tile.q")), expr.dtype)
    return with_children(expr, tuple(_swapped(part, tiles) for part in children(expr)))


def _rest(crossing: _Crossing, rows: int, columns: int) -> Iterator[Statement]:
    """The rows below the tiles, then the columns beside them."""
    if crossing.extent(crossing.row) > rows:
        yield _part(crossing, {crossing.row: (rows, crossing.extent(crossing.row))})
    if crossing.extent(crossing.column) > columns:
        beside = (columns, crossing.extent(crossing.column))
        yield _part(crossing, {crossing.row: (0, rows), crossing.column: beside})


def _part(crossing: _Crossing, ranges: Mapping[str, tuple[int, int]]) -> Statement:
    """The loops as they were, over part of their ranges."""
    start = {name: add(variable(name), lower) for name, (lower, _) in ranges.items() if lower}
    body = tuple(substituted(s, start) for s in crossing.body)
    for loop in reversed(crossing.loops):
        lower, upper = ranges.get(loop.var, (0, _extent(loop)))
        in_vectors = loop.var == crossing.column and upper - lower > 1
        kind: LoopKind = "vector" if in_vectors else "parallel"
        body = (Loop(kind, loop.var, index(0), index(upper - lower), body),)
    return body[0]
