"""Which nodes depend on which, while nodes are being joined into groups.

Every node has the set of its ancestors as the bits of one integer. Joining nodes makes them one:
whatever depends on one of them then depends on all that any of them depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from graphc.ir import Node, Value


class Ancestry:
    """The ancestors of each node of a list in topological order, by position."""

    def __init__(self, nodes: Sequence[Node], positions: Mapping[Value, int]) -> None:
        """`positions` gives the node that computes a value."""
        self._ancestors: list[int] = []
        for node in nodes:
            found = 0
            for value in node.operands:
                position = positions.get(value)
                if position is not None:
                    found |= self._ancestors[position] | 1 << position
            self._ancestors.append(found)

    def any_depends(self, nodes: Iterable[int], on: int) -> bool:
        """Whether one of the nodes depends on one of the set `on`, a mask of positions."""
        return any(self._ancestors[node] & on for node in nodes)

    def join(self, members: Sequence[int]) -> None:
        """Make the members one, for all questions after."""
        group = mask_of(members)
        above = 0
        for member in members:
            above |= self._ancestors[member]
        above &= ~group
        ancestors = self._ancestors
        for position in range(min(members), len(ancestors)):
            if ancestors[position] & group:
                ancestors[position] |= above | group
        for member in members:
            ancestors[member] = above


def mask_of(positions: Iterable[int]) -> int:
    """The set of positions as bits.

    >>> bin(mask_of([0, 3]))
    '0b1001'
    """
    mask = 0
    for position in positions:
        mask |= 1 << position
    return mask
