"""Nodes that every reader computes for itself, so that nothing of theirs is stored.

Three kinds: cheap nodes of one tensor that lies in memory in any case; chains, also of slow
functions, from one tensor that is kept for the backward anyway; and what comes in cheap steps from
one input, such as masks and safe indices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from graphc.ir import Node, Value
from graphc.passes.fusion_facts import Facts
from graphc.passes.kinds import Kind, is_cheap, may_repeat

_LONGEST_COPY = 3  # nodes in a chain that every reader computes again
_LONGEST_REPEAT = 8  # where its start is kept for a later reader in any case


def mark_copies(facts: Facts) -> None:
    """Enter them in `facts.copied`, and make them transparent."""
    _Copies(facts).mark()


class _Copies:
    """Looks at the nodes of a graph, first to last."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.copied = facts.copied

    def mark(self) -> None:
        for position, node in enumerate(self.facts.nodes):
            if self.facts.kinds[position] == "elementwise" and self._is_copied(node):
                self.facts.see_through([position])

    def _is_copied(self, node: Node) -> bool:
        (result,) = node.results
        readers = self.facts.readers(result)
        kinds = {self.facts.kinds[reader] for reader in readers}
        if self.facts.is_result(result):
            return False
        if (len(readers) > 1 or "mover" in kinds) and self._is_of_an_input(node, kinds):
            return True
        if len(readers) < 2 or not kinds <= {"elementwise", "reduction"}:
            return False
        if self._is_repeated(node):
            return True
        if not is_cheap(node):
            return False
        wide = {value for value in node.operands if not self.facts.is_small(value, result)}
        return len(wide) == 1 and self._is_at_hand(wide.pop(), node)

    def _is_of_an_input(self, node: Node, kinds: set[Kind]) -> bool:
        """Whether the node is computed in cheap steps from one input alone, which is always at
        hand: masks and safe indices of a batch's class numbers."""
        if not kinds <= {"elementwise", "reduction", "mover"} or not is_cheap(node):
            return False
        chain, bases = self._chain(node)
        cheap = all(is_cheap(self.facts.nodes[position]) for position in chain)
        if not cheap or len(chain) > _LONGEST_REPEAT or len(bases) != 1:
            return False
        if not bases <= self.facts.inputs:
            return False
        self._copy(chain)
        return True

    def _copy(self, chain: set[int]) -> None:
        for position in chain:
            self.copied[position] = len(chain)
        self.facts.see_through(chain)

    def _is_repeated(self, node: Node) -> bool:
        """Whether the node is computed from one tensor that is kept for later readers in any
        case, those of the backward: then they repeat it, and nothing else is kept."""
        (result,) = node.results
        if not self._is_kept(result):
            return False
        chain, bases = self._chain(node)
        if len(bases) != 1 or len(chain) > _LONGEST_REPEAT:
            return False
        (base,) = bases
        if not self._is_kept(base, chain) or max(self.facts.readers(base)) < max(
            self.facts.readers(result)
        ):
            return False
        self._copy(chain)
        return True

    def _chain(self, node: Node) -> tuple[set[int], set[Value]]:
        """(the node, and all before it that only it needs or that are copied; what these read)."""
        chain: set[int] = set()
        bases: set[Value] = set()
        waiting = [self.facts.position[node.results[0]]] if may_repeat(node) else []
        while waiting:
            position = waiting.pop()
            chain.add(position)
            member = self.facts.nodes[position]
            for value in member.operands:
                maker = self.facts.position.get(value)
                if maker is not None and (maker in chain or self._is_between(maker, chain)):
                    waiting += [] if maker in chain else [maker]
                elif not self.facts.is_small(value, member.results[0]):
                    bases.add(value)
        return chain, bases

    def _is_between(self, maker: int, chain: set[int]) -> bool:
        """Whether a node that a chain reads is copied anyway, or serves nothing else."""
        if maker in self.copied:
            return True
        node = self.facts.nodes[maker]
        if self.facts.kinds[maker] != "elementwise" or not may_repeat(node):
            return False
        return (
            not self.facts.is_result(node.results[0])
            and self.facts.readers(node.results[0]) <= chain
        )

    def _makers(self, node: Node) -> Iterator[int]:
        for value in node.operands:
            if value in self.facts.position:
                yield self.facts.position[value]

    def _is_kept(self, value: Value, but: Iterable[int] = ()) -> bool:
        """Whether a reader, other than `but`, meets what comes after a node that runs alone."""
        maker = self.facts.position.get(value)
        depth = 0 if maker is None else self._depths[maker]
        return any(self._reaches[reader] > depth for reader in self.facts.readers(value) - set(but))

    @cached_property
    def _reaches(self) -> list[int]:
        """The greatest level of what follows from each node element by element, itself too."""
        reaches = [0] * len(self.facts.nodes)
        for position in range(len(self.facts.nodes) - 1, -1, -1):
            node = self.facts.nodes[position]
            users = [
                self.facts.position[u.results[0]] for v in node.results for u in self._users(v)
            ]
            near = [
                reaches[u] for u in users if self.facts.kinds[u] in ("elementwise", "transparent")
            ]
            reaches[position] = max(self._level(node), *near, 0)
        return reaches

    def _users(self, value: Value) -> tuple[Node, ...]:
        return self.facts.graph.users.get(value, ())

    def _level(self, node: Node) -> int:
        return max((self._depths[maker] for maker in self._makers(node)), default=0)

    @cached_property
    def _depths(self) -> list[int]:
        """How many nodes that run alone come one after another up to each node, itself too."""
        alone = ("contraction", "window", "opaque")
        depths: list[int] = []
        for node, kind in zip(self.facts.nodes, self.facts.kinds, strict=True):
            level = max((depths[maker] for maker in self._makers(node)), default=0)
            depths.append(level + (kind in alone))
        return depths

    def _is_at_hand(self, value: Value, node: Node) -> bool:
        """Whether the value lies in memory in any case, or is computed from such in few steps.

        Its memory is then held until the last reader; a result of fewer bytes, such as a mask,
        would take less, unless the value is held that long anyway.
        """
        own = self.facts.position[node.results[0]]
        position = self.facts.position.get(value)
        steps = 1 if position is None else 1 + self.copied.get(position, 0)
        if steps > _LONGEST_COPY or not self._is_stored(value, own):
            return False
        smaller = node.results[0].dtype.itemsize < value.dtype.itemsize
        last = max(self.facts.readers(node.results[0]))
        if smaller and max(self.facts.readers(value)) < last:
            return False
        self.copied[own] = steps
        return True

    def _is_stored(self, value: Value, own: int) -> bool:
        position = self.facts.position.get(value)
        if position is None or position in self.copied:
            return True
        if self.facts.kinds[position] in ("opaque", "reduction"):
            return True
        others = (
            self.facts.readers(value) - self.facts.readers(self.facts.nodes[own].results[0]) - {own}
        )
        return any(self.facts.kinds[other] not in ("elementwise", "mover") for other in others)
