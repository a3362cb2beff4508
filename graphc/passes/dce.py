"""Dead code: what no output and no update needs is removed.

    before  %1: f32[4] = exp(%x)
            %2: f32[4] = tanh(%x)
            return %1
    after   %1: f32[4] = exp(%x)
            return %1

A scan whose final carry or stacked output nobody reads loses it, in its region too, and with it
the constants, carries and slices that only it needed; so does a cond. A gradient through a loop
saves no more than what its backward reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from graphc.ir import Graph, Node, Value
from graphc.passes.base import Pass
from graphc.passes.prune import prune_node


@dataclass(frozen=True)
class Dce(Pass):
    """Remove the nodes that nothing needs, regions included."""

    name: ClassVar[str] = "dce"

    def run(self, graph: Graph) -> Graph:
        return remove_dead(graph)


def remove_dead(graph: Graph) -> Graph:
    """The graph without dead nodes; the same object where there are none."""
    needed = set(graph.results)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.results):
            continue
        current = _clean(node, needed)
        kept.append(current)
        needed.update(current.operands)
    kept.reverse()
    if len(kept) == len(graph.nodes) and _same(kept, graph.nodes):
        return graph
    return replace(graph, nodes=tuple(kept))


def _clean(node: Node, needed: set[Value]) -> Node:
    """The node with nothing dead in its regions, nor a result that only its region needs."""
    if not node.regions:
        return node
    node = prune_node(node, needed)
    regions = tuple(remove_dead(region) for region in node.regions)
    return node if _same(regions, node.regions) else replace(node, regions=regions)


def _same(new: Iterable[object], old: Iterable[object]) -> bool:
    return all(a is b for a, b in zip(new, old, strict=True))
