"""Sets of bytes as sorted disjoint ranges."""

from __future__ import annotations

Range = tuple[int, int]
Ranges = tuple[Range, ...]


def union(ranges: Ranges, start: int, stop: int) -> Ranges:
    """The ranges and [start, stop).

    >>> union(((0, 4), (8, 12)), 4, 6)
    ((0, 6), (8, 12))
    """
    if start >= stop:
        return ranges
    before = [pair for pair in ranges if pair[1] < start]
    behind = [pair for pair in ranges if pair[0] > stop]
    met = [pair for pair in ranges if pair[1] >= start and pair[0] <= stop]
    low = min([start, *(pair[0] for pair in met)])
    high = max([stop, *(pair[1] for pair in met)])
    return (*before, (low, high), *behind)


def without(ranges: Ranges, start: int, stop: int) -> Ranges:
    """The ranges less [start, stop).

    >>> without(((0, 8),), 2, 4)
    ((0, 2), (4, 8))
    """
    left: list[Range] = []
    for low, high in ranges:
        parts = ((low, min(high, start)), (max(low, stop), high))
        left += [(a, b) for a, b in parts if a < b]
    return tuple(left)


def meets(ranges: Ranges, start: int, stop: int) -> bool:
    """Whether some byte of [start, stop) is in the ranges."""
    return any(low < stop and start < high for low, high in ranges)
