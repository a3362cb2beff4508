"""The last pass: nodes that run together become `group` nodes. It only groups.

    before  %1: f32[64,512] = matmul(%x, %w)                 # net.py:7
            %2: f32[64,512] = broadcast(%b) {…}              # net.py:7
            %3: f32[64,512] = add(%1, %2)                    # net.py:7
            %4: f32[64,512] = tanh(%3)                       # net.py:8
    after   %4: f32[64,512] = group(%x, %w, %b) {name="matmul_add_tanh", reason="…"} { … }

From the last node to the first, every elementwise node and reduction that is in no group yet is
the root of one, which takes in what it reads as far as the rules of growth.py allow:

- elementwise chains and trees, read through views; several results of one shape
- a reduction with its elementwise producers and the elementwise consumers of its result
- normalisations by rows: several reductions over the trailing dimensions with all between
- a product, or a pooling, with its epilogue; nothing is pulled into its operands
- updates of the state, one group for a parameter and its moments

Then groups over the same elements that read each other or one tensor are joined (siblings.py),
and sums of columns join the sweep over their elements (column_sums.py).
Cheap nodes of several readers are computed in each. Single nodes stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphc.ir import Graph, Node, Remark
from graphc.passes.ancestry import Ancestry
from graphc.passes.base import Pass
from graphc.passes.changes import map_nodes, map_regions
from graphc.passes.column_sums import join_column_sums
from graphc.passes.copies import mark_copies
from graphc.passes.fusion_facts import Facts
from graphc.passes.grouping import Draft, assemble, draft_groups
from graphc.passes.growth import Growth
from graphc.passes.rewrite import union
from graphc.passes.siblings import join_siblings


@dataclass(frozen=True)
class Fuse(Pass):
    """Group the nodes that will run together; remarks say why, and why not."""

    name: ClassVar[str] = "fuse"

    def run(self, graph: Graph) -> Graph:
        return fuse(graph)


def fuse(graph: Graph) -> Graph:
    """The graph with its groups and remarks; the same object where nothing may be grouped."""
    graph = map_nodes(graph, _fuse_regions)
    facts = Facts(graph)
    mark_copies(facts)
    growths = grow_groups(facts)
    drafts = draft_groups(facts, growths)
    refused = [remark for growth in reversed(growths) for remark in _refusals(facts, growth)]
    if not drafts:
        return graph.with_remarks(*refused) if refused else graph
    return assemble(facts, drafts).with_remarks(*map(_made, drafts), *refused)


def grow_groups(facts: Facts) -> list[Growth]:
    """All groups, those of one node too, the last of the graph first."""
    ancestry = Ancestry(facts.nodes, facts.position)
    free = [kind != "transparent" for kind in facts.kinds]
    groups: list[Growth] = []
    for root in range(len(facts.nodes) - 1, -1, -1):
        if not free[root] or facts.kinds[root] not in ("elementwise", "reduction"):
            continue
        growth = Growth(facts, ancestry, free, root)
        growth.grow()
        if growth.is_read_midway:
            ancestry.join(growth.members)
        for member in growth.members:
            free[member] = False
        groups.append(growth)
    return join_column_sums(facts, ancestry, join_siblings(facts, ancestry, groups))


def _fuse_regions(node: Node) -> Node:
    return node if node.op == "group" else map_regions(node, fuse)


def _made(draft: Draft) -> Remark:
    words = ", ".join(node.op for node in draft.nodes)
    return Remark("fuse", f"joined {words}: {draft.group.describe()}", draft.source)


def _refusals(facts: Facts, growth: Growth) -> list[Remark]:
    root = facts.nodes[growth.root]
    remarks = []
    for candidate, reason in sorted(growth.refusals.items()):
        other = facts.nodes[candidate]
        text = f"{other.op} not joined to {root.op}: {reason}"
        remarks.append(Remark("fuse", text, union(other.source, root.source)))
    return remarks
