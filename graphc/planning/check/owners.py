"""A map from bytes to who has them: sorted disjoint ranges, each with an owner.

A range is found by bisection, and painting one replaces what it covers, so that a plan of many
buffers is played in a time that hardly grows faster than its length.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Generic, TypeVar

Owner = TypeVar("Owner")


class Owners(Generic[Owner]):
    """Bytes and their owners; neighbouring ranges of one owner are one range.

    >>> owners = Owners()
    >>> owners.paint(0, 8, "a"), owners.paint(4, 6, "b")
    ([], [(4, 6, 'a')])
    >>> list(owners)
    [(0, 4, 'a'), (4, 6, 'b'), (6, 8, 'a')]
    >>> owners.has(0, 4, "a"), owners.has(0, 6, "a"), owners.any_in(7, 99)
    (True, False, 'a')
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._owners: list[Owner] = []

    def __iter__(self) -> Iterator[tuple[int, int, Owner]]:
        return zip(self._starts, self._stops, self._owners, strict=True)

    def copy(self) -> Owners[Owner]:
        made = Owners[Owner]()
        made._starts, made._stops = self._starts.copy(), self._stops.copy()
        made._owners = self._owners.copy()
        return made

    def has(self, start: int, stop: int, owner: Owner) -> bool:
        """Whether all bytes of [start, stop) are the owner's."""
        if start >= stop:
            return True
        place = bisect_right(self._starts, start) - 1
        return place >= 0 and self._stops[place] >= stop and self._owners[place] == owner

    def any_in(self, start: int, stop: int) -> Owner | None:
        """An owner of some byte of [start, stop); None: nobody has one."""
        place = bisect_right(self._stops, start)
        found = start < stop and place < len(self._starts) and self._starts[place] < stop
        return self._owners[place] if found else None

    def paint(self, start: int, stop: int, owner: Owner) -> list[tuple[int, int, Owner]]:
        """Give [start, stop) to an owner; what others, or the same, had of it."""
        if start >= stop:
            return []
        low = bisect_right(self._stops, start)
        high = bisect_left(self._starts, stop, low)
        taken = [
            (max(a, start), min(b, stop), who)
            for a, b, who in zip(
                self._starts[low:high], self._stops[low:high], self._owners[low:high], strict=True
            )
        ]
        around = self._left_over(start, stop, low, high)
        self._replace(low, high, [*around[0], (start, stop, owner), *around[1]])
        return taken

    def _left_over(
        self, start: int, stop: int, low: int, high: int
    ) -> tuple[list[tuple[int, int, Owner]], list[tuple[int, int, Owner]]]:
        """What the first and the last of some ranges have outside of [start, stop)."""
        if low == high:
            return [], []
        first, last = self._starts[low], self._stops[high - 1]
        before = [(first, start, self._owners[low])] if first < start else []
        behind = [(stop, last, self._owners[high - 1])] if stop < last else []
        return before, behind

    def _replace(self, low: int, high: int, pieces: list[tuple[int, int, Owner]]) -> None:
        """Put pieces for ranges low ... high - 1, joined with neighbours of the same owner."""
        if low > 0 and self._stops[low - 1] == pieces[0][0]:
            low -= 1
            pieces.insert(0, (self._starts[low], self._stops[low], self._owners[low]))
        if high < len(self._starts) and self._starts[high] == pieces[-1][1]:
            pieces.append((self._starts[high], self._stops[high], self._owners[high]))
            high += 1
        joined = pieces[:1]
        for a, b, who in pieces[1:]:
            if joined[-1][1] == a and joined[-1][2] == who:
                joined[-1] = (joined[-1][0], b, who)
            else:
                joined.append((a, b, who))
        self._starts[low:high] = [a for a, _, _ in joined]
        self._stops[low:high] = [b for _, b, _ in joined]
        self._owners[low:high] = [who for _, _, who in joined]


def shared(left: Owners[Owner], right: Owners[Owner]) -> Owners[Owner]:
    """The bytes that have the same owner in both."""
    made = Owners[Owner]()
    ours, others = iter(left), iter(right)
    one, other = next(ours, None), next(others, None)
    while one is not None and other is not None:
        start, stop = max(one[0], other[0]), min(one[1], other[1])
        if one[2] == other[2]:
            made.paint(start, stop, one[2])
        if one[1] == stop or one[1] <= other[0]:
            one = next(ours, None)
        else:
            other = next(others, None)
    return made
