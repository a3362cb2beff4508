"""The shape of register tiles: which indexes their rows run over, how many vectors wide they are.

Any shape gives the same bits; the best makes the most products for each load, with sums enough to
hide the latency of the multiply-add, and all of it in registers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from graphc.loops import Axis, Expr, add, floordiv, mod, mul, variable
from graphc.target import Target

from .contraction_nest import WIDE, Nest

# Accumulators that hide the latency of two fused multiply-adds a cycle.
_ENOUGH = 10
# Starts of a load, on average.
_STARTS = 1.1
# Rows along the edge of a map that are taken before those of several images, which lie far apart,
# often in the same lines of the cache.
_ALONG_EDGE = 5
# Bytes that arrive from the second cache in a cycle.
_STREAM_BYTES = 24


@dataclass(frozen=True)
class Rows:
    """The indexes that the rows of a tile run over, the first in blocks, the others whole.

    A row number counts over the first, then the others, then the positions of the window.
    """

    names: tuple[str, ...]
    others: tuple[int, ...]
    window: tuple[Axis, ...]

    @property
    def step(self) -> int:
        """Tile rows for each value of the first index."""
        return math.prod(self.others) * math.prod(axis.extent for axis in self.window)

    def place(self, row: Expr, first: Expr) -> dict[str, Expr]:
        """Each index at a row number of the tile whose first index starts at `first`."""
        found: dict[str, Expr] = {}
        extents = [*self.others, *(axis.extent for axis in self.window)]
        names = [*self.names[1:], *(axis.name for axis in self.window)]
        for name, extent in zip(reversed(names), reversed(extents), strict=True):
            found[name] = mod(row, extent)
            row = floordiv(row, extent)
        found[self.names[0]] = add(first, row)
        return found


@dataclass(frozen=True)
class Tile:
    """`high` values of the first row index by `wide` columns; where its blocks start."""

    high: int
    wide: int
    first_row: int
    first_column: int

    @property
    def row_block(self) -> Expr:
        return add(mul(variable("row.block"), self.high), self.first_row)

    @property
    def column_block(self) -> Expr:
        return add(mul(variable("column.block"), self.wide), self.first_column)


class Shape:
    """How a contraction is cut in tiles.

    apart   the positions of the window meet conditions of their own, so each has its own tile
    """

    def __init__(self, nest: Nest, target: Target) -> None:
        self.nest = nest
        self.target = target
        self.apart = nest.has_conditions_on_window
        self.width = max(1, target.vector_bytes // nest.dot.dtype.itemsize)
        self.columns = nest.extent(nest.column)
        self.vectors = self._choose_vectors()
        self.rows = self._choose_rows(self.vectors)

    def _most_rows(self, vectors: int) -> int:
        """Rows whose accumulators fit in registers beside one row of b, an element of a and,
        without fma, a product."""
        spare = self.target.registers - vectors - (1 if self.target.fma else 2)
        return max(1, spare // vectors)

    def _choose_vectors(self) -> int:
        """Vectors side by side in a tile."""
        needed = -(-self.columns // self.width)
        choices = [v for v in (4, 3, 2, 6, 8, 1) if v <= needed or v == 1]
        return max(choices, key=lambda most: self._score(-(-needed // -(-needed // most))))

    def _score(self, vectors: int) -> float:
        """The part of the multiply-adds' peak that such tiles can reach; fewer loads win a tie.

        Two multiply-adds and two loads start in a cycle, and some loads start again, for lines that
        share a set. A panel of b that outgrows half of the first cache streams from the second.
        """
        high = self._rows_used(vectors)
        if high > self._most_rows(vectors):
            return -vectors  # not all stays in registers
        sums, loads = high * vectors, high + vectors
        row_bytes = vectors * self.width * self.nest.dot.dtype.itemsize
        streams = self.nest.depth * row_bytes > self.target.l1_bytes // 2
        stream_cycles = row_bytes / _STREAM_BYTES if streams else 0
        reached = sums / max(sums, _STARTS * loads, 2 * stream_cycles)
        return min(1, sums / _ENOUGH) * reached + sums / loads / 100

    def _rows_used(self, vectors: int) -> int:
        """Rows of a tile of so many vectors."""
        rows = self._choose_rows(vectors)
        first = self.nest.extent(rows.names[0])
        return rows.step * max(1, min(first, self._most_rows(vectors) // rows.step))

    def _choose_rows(self, vectors: int) -> Rows:
        """The fastest wide index, or the widest with others whole where registers are left."""
        nest, window = self.nest, () if self.apart else self.nest.window
        names = nest.rows()
        least = _ALONG_EDGE if self.apart else WIDE
        wide = [name for name in names if nest.extent(name) >= least]
        first = wide[-1] if wide else max(names, key=nest.extent)
        chosen, left = [first], self._most_rows(vectors) // nest.extent(first)
        left //= math.prod(axis.extent for axis in window)
        for name in sorted(set(names) - {first}, key=lambda n: (-nest.extent(n), names.index(n))):
            if nest.extent(name) <= left:
                chosen.append(name)
                left //= nest.extent(name)
        others = tuple(nest.extent(name) for name in chosen[1:])
        return Rows(tuple(chosen), others, window)

    def tiles(self) -> Iterator[tuple[int, list[tuple[Tile, int]]]]:
        """(column blocks, [(tile, row blocks) for each height]) for each width of tiles."""
        extent = self.nest.extent(self.rows.names[0])
        for first_column, column_tiles, wide in self._cut_columns():
            most = max(1, self._most_rows(-(-wide // self.width)) // self.rows.step)
            yield (
                column_tiles,
                [
                    (Tile(high, wide, first_row, first_column), row_tiles)
                    for first_row, row_tiles, high in balanced(extent, most)
                ],
            )

    def _cut_columns(self) -> Iterator[tuple[int, int, int]]:
        """(first, number of tiles, columns of each), nearly equal in vectors."""
        for first, count, vectors in balanced(-(-self.columns // self.width), self.vectors):
            start, wide = first * self.width, vectors * self.width
            last = self.columns - start - (count - 1) * wide
            if last >= wide:
                yield start, count, wide
                continue
            if count > 1:
                yield start, count - 1, wide
            yield start + (count - 1) * wide, 1, last


def balanced(extent: int, most: int) -> list[tuple[int, int, int]]:
    """(first, number, size) of tiles of nearly equal size: a short last one would run at the
    latency of its few sums.

    >>> balanced(32, 6)
    [(0, 2, 6), (12, 4, 5)]
    """
    tiles = -(-extent // most)
    small, larger = divmod(extent, tiles)
    cut = [(0, larger, small + 1)] * bool(larger)
    return cut + [(larger * (small + 1), tiles - larger, small)] * bool(tiles - larger)
