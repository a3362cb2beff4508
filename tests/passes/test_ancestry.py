"""Ancestors while nodes are joined: against a search through the joined graph."""

from __future__ import annotations

from random import Random

import pytest

from graphc.dtypes import float32
from graphc.ir import TensorType, Value
from graphc.ops import Builder
from graphc.passes.ancestry import Ancestry, mask_of

SCALAR = TensorType((), float32)


class JoinedGraph:
    """Nodes by position, what each reads, and the groups so far."""

    def __init__(self, reads: list[list[int]]) -> None:
        self.reads = reads
        self.group = {node: [node] for node in range(len(reads))}

    def ancestors(self, node: int) -> set[int]:
        """All that a node's group depends on, groups taken whole; not the group itself."""
        found: set[int] = set()
        waiting = [*self.group[node]]
        while waiting:
            for source in self.reads[waiting.pop()]:
                new = set(self.group[source]) - found
                found |= new
                waiting += new
        return found

    def may_join(self, members: list[int]) -> bool:
        """Whether nothing outside depends on a member and is depended on by another."""
        between = set().union(*map(self.ancestors, members)) - set(members)
        return all(self.ancestors(node).isdisjoint(members) for node in between)

    def join(self, members: list[int]) -> None:
        for member in members:
            self.group[member] = members


@pytest.mark.parametrize("seed", range(12))
def test_ancestors_follow_the_joins(seed: int) -> None:
    random = Random(seed)
    b, x = Builder(), Value(SCALAR, "x")
    values, reads = [x], []
    for number in range(40):
        chosen = [random.randrange(max(0, number - 8), number + 1) for _ in range(2)]
        values.append(b.add(values[chosen[0]], values[chosen[1]]))
        reads.append([place - 1 for place in chosen if place])
    graph = JoinedGraph(reads)
    ancestry = Ancestry(b.nodes, {node.result: i for i, node in enumerate(b.nodes)})
    joins = 0
    for _ in range(60):
        parts = random.sample(range(40), random.choice([2, 2, 3]))
        members = sorted({node for part in parts for node in graph.group[part]})
        if len(members) == 1 or not graph.may_join(members):
            continue
        joins += 1
        graph.join(members)
        ancestry.join(members)
        for node in range(40):
            found = {other for other in range(40) if ancestry.any_depends([node], mask_of([other]))}
            assert found == graph.ancestors(node) - set(graph.group[node])
    assert joins > 2
