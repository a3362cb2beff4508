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

from dataclasses import dataclass
from typing import ClassVar

from graphc.ir import Graph, Node, Value
from graphc.passes.base import Pass
from graphc.passes.changes import map_regions, with_nodes
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
    return with_nodes(graph, kept)


def _clean(node: Node, needed: set[Value]) -> Node:
    """The node with nothing dead in its regions, nor a result that only its region needs."""
    if not node.regions:
        return node
    return map_regions(prune_node(node, needed), remove_dead)
