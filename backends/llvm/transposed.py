"""Elementwise loops that read along another index than they write along, through register tiles.

    parallel r, c:  store y[r, c] = f(x[c, r])            x's neighbours lie along r, y's along c
    =>
    parallel r.group, c.group, r.block, c.block:          tiles of a group lie in a near cache
        unroll q, vector l:  tile[q, l] = x[c.place + q, r.place + l]
        unroll q, vector l:  store y[r.place + q, c.place + l] = f(tile[l, q])

Both sides move whole vectors; the tile is transposed in registers. Tiles at the edges hold fewer
rows or columns.
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
from graphc.target import Target

from .elementwise import loads, stride, substituted, values

# Elements: rows that read whole lines of each column one after the other, and as many columns as
# leave these lines near until the next rows read on.
_GROUP_ROWS, _GROUP_COLUMNS = 64, 256


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
    rows, columns = crossing.extent(crossing.row), crossing.extent(crossing.column)
    if rows < side or columns < side:
        return None
    pieces = tuple(
        _tiled(crossing, side, _Range(crossing.row, *r), _Range(crossing.column, *c))
        for r in _ranges(rows, side, _GROUP_ROWS)
        for c in _ranges(columns, side, _GROUP_COLUMNS)
    )
    return replace(kernel, body=pieces)


@dataclass(frozen=True)
class _Range:
    """Indices from `start` on that groups of blocks of `length` (at most a tile's side) cover."""

    name: str
    start: int
    length: int
    blocks: int
    groups: int

    def place(self, offset: str) -> Expr:
        """The index of the tile's row or column `offset`."""
        group, block = (variable(name) for name, _ in self.loops())
        tile = add(mul(group, self.blocks), block)
        return add(add(mul(tile, self.length), self.start), variable(offset))

    def loops(self) -> tuple[tuple[str, int], tuple[str, int]]:
        return (f"{self.name}.group", self.groups), (f"{self.name}.block", self.blocks)


def _ranges(extent: int, side: int, group: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, length, blocks, groups): whole tiles, then what is left."""
    tiles, rest = divmod(extent, side)
    blocks = max(n for n in range(1, group // side + 1) if tiles % n == 0)
    yield 0, side, blocks, tiles // blocks
    if rest:
        yield tiles * side, rest, 1, 1


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


def _tiled(crossing: _Crossing, side: int, rows: _Range, columns: _Range) -> Statement:
    body: tuple[Statement, ...] = tuple(_filled(crossing, side, rows, columns))
    body += (_read(crossing, rows, columns),)
    apart = [(x.var, _extent(x)) for x in crossing.loops if x.var not in (rows.name, columns.name)]
    groups, blocks = zip(rows.loops(), columns.loops(), strict=True)
    shared_out = sorted(groups, key=lambda loop: -loop[1])
    nest = [*apart, *shared_out, *blocks]
    for name, count in reversed(nest):
        body = (Loop("parallel", name, index(0), index(count), body),)
    return body[0]


def _across(height: int, width: int, body: tuple[Statement, ...]) -> Loop:
    inner = Loop("vector", "tile.l", index(0), index(width), body)
    return Loop("unroll", "tile.q", index(0), index(height), (inner,))


def _filled(crossing: _Crossing, side: int, rows: _Range, columns: _Range) -> Iterator[Statement]:
    place = {rows.name: rows.place("tile.l"), columns.name: columns.place("tile.q")}
    for crossed, name in crossing.tiles.items():
        yield Local(Buffer(name, (side, side), crossed.dtype, space="register"))
        at = (variable("tile.q"), variable("tile.l"))
        store = substituted(Store(name, at, crossed), place)
        yield _across(columns.length, rows.length, (store,))


def _read(crossing: _Crossing, rows: _Range, columns: _Range) -> Statement:
    place = {rows.name: rows.place("tile.q"), columns.name: columns.place("tile.l")}
    body = tuple(substituted(_from_tiles(s, crossing.tiles), place) for s in crossing.body)
    return _across(rows.length, columns.length, body)


def _from_tiles(statement: Statement, tiles: Mapping[Load, str]) -> Statement:
    assert isinstance(statement, Let | Store)
    return replace(statement, value=_swapped(statement.value, tiles))


def _swapped(expr: Expr, tiles: Mapping[Load, str]) -> Expr:
    if isinstance(expr, Load) and expr in tiles:
        return load(tiles[expr], (variable("tile.l"), variable("tile.q")), expr.dtype)
    return with_children(expr, tuple(_swapped(part, tiles) for part in children(expr)))
