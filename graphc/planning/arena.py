"""Offsets in one arena for blocks with lifetimes: close to the least arena, quickly.

Blocks whose lifetimes meet must not share bytes. The least arena is NP-hard to find (dynamic
storage allocation: Garey and Johnson, problem SR2), so blocks are placed one at a time, each into
the smallest gap between the blocks it meets that holds it (best fit), else above them. The order
decides: by size, by size times lifetime, and by start are tried, then a search moves the blocks
that reach highest to earlier places in the best order found. All of it is deterministic, bounded
by a number of placements instead of a clock, and stops at the lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]

# The search may place so many blocks in all: about 0.15 s.
PLACEMENTS = 6_000
# Rounds of the search; few of them help after the first dozens.
ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes (a multiple of the alignment) that are taken during some spans of positions."""

    size: int
    spans: tuple[Span, ...]

    @property
    def positions(self) -> int:
        return sum(last - first + 1 for first, last in self.spans)


def live_bytes(blocks: Sequence[Block], positions: int) -> NDArray[np.int64]:
    """The sum of the sizes of live blocks, by position; its maximum is the arena's lower bound."""
    change = np.zeros(positions + 1, np.int64)
    for block in blocks:
        for first, last in block.spans:
            change[first] += block.size
            change[last + 1] -= block.size
    return np.cumsum(change)[:-1]


def assign_offsets(blocks: Sequence[Block], bound: int) -> list[int]:
    """Offsets of the blocks, such that blocks which are live at one position do not overlap.

    Sizes are multiples of the alignment, and so are the offsets then. `bound` is the lower bound
    of the arena: the search stops there.
    """
    search = _Search(blocks, bound)
    search.run()
    return search.offsets


# Orders of placement: the key of a block.
_ORDERS: tuple[Callable[[Block], tuple[int, ...]], ...] = (
    lambda block: (-block.size, block.spans[0][0]),
    lambda block: (-block.size * block.positions, block.spans[0][0]),
    lambda block: (block.spans[0][0], -block.size),
)


class _Search:
    def __init__(self, blocks: Sequence[Block], bound: int) -> None:
        self.blocks = blocks
        self.bound = bound
        self.placements = max(PLACEMENTS, len(blocks))
        self.offsets: list[int] = []
        self.order: list[int] = []
        self.height = -1

    @property
    def finished(self) -> bool:
        return self.height == self.bound or self.placements < len(self.blocks)

    def run(self) -> None:
        for key in _ORDERS:
            if self.height < 0 or not self.finished:
                self._try(sorted(range(len(self.blocks)), key=lambda i: key(self.blocks[i])))
        neighbours = self._neighbours()
        while not self.finished and (order := next(neighbours, None)):
            self._try(order)

    def _try(self, order: list[int]) -> None:
        """Place in this order; keep it if no arena so far is smaller."""
        self.placements -= len(order)
        offsets = _place_all(self.blocks, order)
        height = max((offsets[i] + self.blocks[i].size for i in order), default=0)
        if self.height < 0 or height <= self.height:
            self.offsets, self.order, self.height = offsets, order, height

    def _neighbours(self) -> Iterator[list[int]]:
        """Orders near the best one: a block that reaches highest is placed earlier."""
        random = Random(0)
        for turn in range(ROUNDS):
            top = [i for i in self.order if self.offsets[i] + self.blocks[i].size == self.height]
            moved = top[turn % len(top)]
            place = self.order.index(moved)
            target = 0 if turn < len(top) else random.randrange(place + 1)
            rest = [i for i in self.order if i != moved]
            yield [*rest[:target], moved, *rest[target:]]


def _place_all(blocks: Sequence[Block], order: list[int]) -> list[int]:
    shelf = _Shelf(sum(len(block.spans) for block in blocks))
    offsets = [0] * len(blocks)
    for i in order:
        offsets[i] = shelf.place(blocks[i])
    return offsets


class _Shelf:
    """Placed blocks, one row a span, sorted by offset."""

    def __init__(self, rows: int) -> None:
        self.count = 0
        self.first = np.empty(rows, np.int32)
        self.last = np.empty(rows, np.int32)
        self.low = np.empty(rows, np.int64)
        self.high = np.empty(rows, np.int64)

    def place(self, block: Block) -> int:
        """The offset of the block, which is put there."""
        offset = self._best_fit(self._meeting(block.spans), block.size)
        for span in block.spans:
            self._insert(span, offset, block.size)
        return offset

    def _meeting(self, spans: tuple[Span, ...]) -> NDArray[np.intp]:
        """Rows that are live at some position of the spans, by offset."""
        first, last = self.first[: self.count], self.last[: self.count]
        found = np.zeros(self.count, np.bool_)
        for start, stop in spans:
            found |= (first <= stop) & (last >= start)
        return np.flatnonzero(found)

    def _best_fit(self, rows: NDArray[np.intp], size: int) -> int:
        """The start of the smallest gap between the rows that holds the size, else their top."""
        if not len(rows):
            return 0
        ends = np.maximum.accumulate(self.high[rows])
        starts = np.empty_like(ends)
        starts[0] = 0
        starts[1:] = ends[:-1]
        gaps = self.low[rows] - starts
        fitting = np.flatnonzero(gaps >= size)
        if not len(fitting):
            return int(ends[-1])
        return int(starts[fitting[gaps[fitting].argmin()]])

    def _insert(self, span: Span, offset: int, size: int) -> None:
        row = int(self.low[: self.count].searchsorted(offset, side="right"))
        self._shift(self.first, row, span[0])
        self._shift(self.last, row, span[1])
        self._shift(self.low, row, offset)
        self._shift(self.high, row, offset + size)
        self.count += 1

    def _shift(self, column: NDArray[Any], row: int, value: int) -> None:
        """Put a value at the row, those from there on one row further."""
        column[row + 1 : self.count + 1] = column[row : self.count]
        column[row] = value
