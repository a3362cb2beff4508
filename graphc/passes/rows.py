"""Normalisation by rows: reductions over the trailing dimensions, read back at the full shape.

    full     f32[64,512]    exp(x - max), the quotient, …
    reduced  f32[64]        max, sum, rsqrt(variance + eps), … (or f32[64,1])

A group that holds both runs row by row: the row stays in cache between the passes over it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from graphc.passes.fusion_facts import Facts
from graphc.passes.kinds import folded_axes
from graphc.passes.routes import Route, routes_from

# Fewer rows would leave threads idle, unless the whole tensor is small.
_LEAST_ROWS = 8
_SMALL_ELEMENTS = 4096


@dataclass(frozen=True)
class Rows:
    """Elementwise nodes of one shape and what reductions leave of it.

    full      the shape of the elementwise nodes
    kept      how many leading dimensions count rows
    is_whole  a row lies together in memory; else nothing of the full shape may be stored by rows
    """

    full: tuple[int, ...]
    kept: int
    is_whole: bool = True

    def is_reduced(self, shape: tuple[int, ...]) -> bool:
        """Whether the shape has one element a row."""
        rest = shape[self.kept :]
        return shape[: self.kept] == self.full[: self.kept] and all(n == 1 for n in rest)

    @property
    def row_elements(self) -> int:
        return math.prod(self.full[self.kept :])


def rows_of(facts: Facts, reduction: int) -> Rows | None:
    """The rows that a reduction folds; None: it folds other dimensions, or there are too few."""
    node = facts.nodes[reduction]
    is_whole = node.operands[0] not in facts.images or len(folded_axes(node)) == 3
    full = node.operands[0].shape
    kept = len(full) - len(folded_axes(node))
    if folded_axes(node) != tuple(range(kept, len(full))):
        return None
    enough = math.prod(full[:kept]) >= _LEAST_ROWS or math.prod(full) <= _SMALL_ELEMENTS
    return Rows(full, kept, is_whole) if enough else None


@dataclass(frozen=True)
class RowPath:
    """Nodes of one element a row, from a reader of the full shape back to its reductions."""

    rows: Rows
    nodes: frozenset[int]


def find_row_path(
    facts: Facts, start: int, full: tuple[int, ...], free: list[bool]
) -> RowPath | None:
    """The path from `start` back to reductions of rows of the shape `full`; None: there is none.

    `free` says which nodes are in no group yet. All reductions must fold the same dimensions.
    """
    found: set[int] = set()
    rows: list[Rows] = []

    def visit(position: int) -> bool:
        """Whether a reduction was reached; enters the nodes on the way."""
        if position in found:
            return True
        if not free[position]:
            return False
        kind = facts.kinds[position]
        if kind == "reduction":
            reached = _same_rows(facts, position, full, rows)
        elif kind == "elementwise":
            reached = sum(map(visit, _row_producers(facts, position))) > 0
        else:
            return False
        if reached:
            found.add(position)
        return reached

    if not visit(start) or not all(_is_reduced(facts, p, rows[0]) for p in found):
        return None
    return RowPath(rows[0], frozenset(found))


def _same_rows(facts: Facts, position: int, full: tuple[int, ...], rows: list[Rows]) -> bool:
    """Whether a reduction folds rows of `full`, the same as those in `rows`, which it enters."""
    own = rows_of(facts, position)
    if own is None or own.full != full or (rows and rows[0] != own):
        return False
    rows.append(own)
    return True


def _row_producers(facts: Facts, reader: int) -> Iterator[int]:
    """What an elementwise node of one element a row reads at its own row."""
    shape = facts.nodes[reader].results[0].shape
    routes: dict[int, list[Route]] = {}
    for route in routes_from(facts, reader):
        routes.setdefault(route.producer, []).append(route)
    for producer, ways in routes.items():
        if all(way.is_direct or way.reads_rows(shape) for way in ways):
            yield producer


def _is_reduced(facts: Facts, position: int, rows: Rows) -> bool:
    return rows.is_reduced(facts.nodes[position].results[0].shape)
