"""Sums of products over two loops, in register tiles of all columns that fit beside six rows.

    let s = reduce dot (e) a[i, e] * b[e, j]      serial blocks: tile = 0
    store p[i, j] = f(s)                      =>      serial e: contract tile += a * b
                                                      unroll i: vector j: p[i, j] = f(tile)

Products are added in the order of the fold, so that no choice here changes a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from graphc.loops import (
    Buffer,
    Contract,
    Expr,
    Local,
    Loop,
    Reduce,
    Statement,
    Store,
    add,
    const,
    index,
    load,
    mul,
    variable,
)
from graphc.loops.build import call
from graphc.loops.kernel import LoopKind
from graphc.loops.substitute import substitute
from graphc.target import Target

from .elementwise import substituted

_ROW, _COLUMN, _TILE = "tile.row", "tile.column", "tile"

ROUND = "tile.round"


@dataclass(frozen=True)
class Beside:
    """What is done in each of at least so many rounds of a tile's sums; uses ROUND."""

    rounds: int
    statements: tuple[Statement, ...]


Fetch: TypeAlias = Callable[[Expr, int, int], Beside]
"""From a tile's number, that of all tiles and the steps of its sums."""


@dataclass(frozen=True)
class _Piece:
    """Tiles of one size, row after row of one column of them; `number` counts those before."""

    first_row: int
    row_tiles: int
    high: int
    first_column: int
    column_tiles: int
    wide: int
    number: int

    @property
    def tiles(self) -> int:
        return self.row_tiles * self.column_tiles


@dataclass(frozen=True)
class Product:
    """let name = reduce dot a * b; rest, over row and column."""

    name: str
    fold: Reduce
    row: str
    column: str
    rest: tuple[Statement, ...]

    def in_tiles(
        self, rows: int, columns: int, target: Target, fetch: Fetch
    ) -> Iterator[Statement]:
        pieces = _pieces(rows, columns, self.fold.dtype.itemsize, target)
        tiles = pieces[-1].number + pieces[-1].tiles
        for piece in pieces:
            row_block, column_block = variable("row.block"), variable("column.block")
            number = add(add(mul(column_block, piece.row_tiles), row_block), piece.number)
            tile = self._tile(piece, fetch(number, tiles, self.fold.axes[0].extent))
            inner = Loop("serial", row_block.name, index(0), index(piece.row_tiles), tile)
            yield Loop("serial", column_block.name, index(0), index(piece.column_tiles), (inner,))

    def _tile(self, piece: _Piece, beside: Beside) -> tuple[Statement, ...]:
        local = Buffer(_TILE, (piece.high, piece.wide), self.fold.dtype, space="register")
        at = (variable(_ROW), variable(_COLUMN))
        row = add(mul(variable("row.block"), piece.high), piece.first_row)
        column = add(mul(variable("column.block"), piece.wide), piece.first_column)
        place: dict[str, Expr] = {self.row: add(row, at[0]), self.column: add(column, at[1])}
        a, b = (substitute(part, place) for part in self.fold.body)
        products = self._sums(Contract(_TILE, _ROW, _COLUMN, a, b), beside)
        result = load(_TILE, at, local.dtype)
        finish = tuple(substituted(s, {**place, self.name: result}) for s in self.rest)
        return (
            Local(local),
            _over(local, (Store(_TILE, at, const(0, local.dtype)),)),
            products,
            _over(local, finish),
        )

    def _sums(self, products: Contract, beside: Beside) -> Loop:
        (axis,) = self.fold.axes
        if not beside.rounds:
            return Loop("serial", axis.name, index(0), index(axis.extent), (products,))
        steps = max(1, axis.extent // beside.rounds)
        first = mul(variable(ROUND), steps)
        end = call("min", add(first, steps), index(axis.extent))
        inner = Loop("serial", axis.name, first, end, (products,))
        rounds = -(-axis.extent // steps)
        return Loop("serial", ROUND, index(0), index(rounds), (*beside.statements, inner))


def _pieces(rows: int, columns: int, itemsize: int, target: Target) -> list[_Piece]:
    width = max(1, target.vector_bytes // itemsize)
    found: list[_Piece] = []
    number = 0
    for first_column, column_tiles, wide in _columns(columns, width, _widest(target)):
        used = -(-wide // width)
        most = max(1, (target.registers - _spare(target) - used) // used)
        for first_row, row_tiles, high in _balanced(rows, most):
            found.append(
                _Piece(first_row, row_tiles, high, first_column, column_tiles, wide, number)
            )
            number += found[-1].tiles
    return found


def _widest(target: Target) -> int:
    """Vectors side by side in a tile of six rows, beside a row of b and an element of a."""
    return max(1, min(4, (target.registers - _spare(target)) // 7))


def _spare(target: Target) -> int:
    """Registers for an element of a, and for a product where it is not added at once."""
    return 1 if target.fma else 2


def _over(tile: Buffer, body: tuple[Statement, ...]) -> Statement:
    kind: LoopKind = "vector" if tile.shape[1] > 1 else "unroll"
    inner = Loop(kind, _COLUMN, index(0), index(tile.shape[1]), body)
    return Loop("unroll", _ROW, index(0), index(tile.shape[0]), (inner,))


def _columns(extent: int, width: int, most: int) -> list[tuple[int, int, int]]:
    """(first, number of tiles, size) of nearly as many vectors each; the last may be cut off.

    >>> _columns(80, 16, 4), _columns(200, 16, 4)
    ([(0, 1, 48), (48, 1, 32)], [(0, 1, 64), (64, 2, 48), (160, 1, 40)])
    """
    cut = []
    for first, tiles, vectors in _balanced(-(-extent // width), most):
        size = vectors * width
        whole = min(tiles, (extent - first * width) // size)
        cut += [(first * width, whole, size)] * bool(whole)
        if whole < tiles:
            begin = (first + whole * vectors) * width
            cut.append((begin, 1, extent - begin))
    return cut


def _balanced(extent: int, most: int) -> list[tuple[int, int, int]]:
    """Tiles of nearly equal size: a short last one would run at the latency of its few sums."""
    tiles = -(-extent // most)
    small, larger = divmod(extent, tiles)
    cut = [(0, larger, small + 1)] * bool(larger)
    return cut + [(larger * (small + 1), tiles - larger, small)] * bool(tiles - larger)
