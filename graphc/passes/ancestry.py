"""Which nodes depend on which, while nodes are being joined into groups.

Every node has the set of its ancestors as the bits of one integer. Joining nodes makes them one:
whatever depends on one of them then depends on all that any of them depends on. The change goes
from reader to reader and ends where it is no news: who depends on the last node of a group mostly
depends on all of it anyway, so that a join takes a few steps, however long the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from graphc.ir import Node, Value


class Ancestry:
    """The ancestors of each node of a list in topological order, by position."""

    def __init__(self, nodes: Sequence[Node], positions: Mapping[Value, int]) -> None:
        """`positions` gives the node that computes a value."""
        self._ancestors: list[int] = []
        self._readers: list[list[int]] = [[] for _ in nodes]
        self._joined: dict[int, Sequence[int]] = {}
        for number, node in enumerate(nodes):
            found = 0
            for value in node.operands:
                position = positions.get(value)
                if position is not None:
                    found |= self._ancestors[position] | 1 << position
                    self._readers[position].append(number)
            self._ancestors.append(found)

    def any_depends(self, nodes: Iterable[int], on: int) -> bool:
        """Whether one of the nodes depends on one of the set `on`, a mask of positions."""
        return any(self._ancestors[node] & on for node in nodes)

    def join(self, members: Sequence[int]) -> None:
        """Make the members one, for all questions after; no other node may lie between them."""
        group = mask_of(members)
        above = 0
        for member in members:
            above |= self._ancestors[member]
            self._joined[member] = members
        above &= ~group
        for member in members:
            self._ancestors[member] = above
        self._tell_readers(members, above | group)

    def _tell_readers(self, members: Sequence[int], news: int) -> None:
        """Give all that depends on the members the ancestors `news`.

        What has them all has told its readers: nobody depends on less than what it reads.
        """
        told = set(members)
        waiting = [reader for member in members for reader in self._readers[member]]
        while waiting:
            reader = waiting.pop()
            if reader in told or self._ancestors[reader] & news == news:
                continue
            for other in self._joined.get(reader, (reader,)):
                self._ancestors[other] |= news
                waiting += self._readers[other]


def mask_of(positions: Iterable[int]) -> int:
    """The set of positions as bits.

    >>> bin(mask_of([0, 3]))
    '0b1001'
    """
    mask = 0
    for position in positions:
        mask |= 1 << position
    return mask
