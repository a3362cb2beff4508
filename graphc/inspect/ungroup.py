"""Single fusions undone, to see what they give: groups of one kind, composites of one operator.

    before  %4: f32[64,512] = group(%x, %w, %b) {name="matmul_add_tanh", …} { … }
    after   %1: f32[64,512] = matmul(%x, %w)
            …
            %4: f32[64,512] = tanh(%3)

The kinds of groups: what a group's main operator is, or that it updates the state.

    products     a matrix product or convolution with its epilogue
    poolings     a pooling, or its gradient, with its epilogue
    reductions   a reduction with what feeds it and what reads it, row by row or not
    updates      a parameter's update, and those of its optimizer's moments
    elementwise  all others
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir import Graph, Node, Value
from graphc.ops.define import get, table
from graphc.passes.base import Pass
from graphc.passes.changes import map_regions, over, rewritten
from graphc.passes.clone import inline
from graphc.passes.kinds import kind_of
from graphc.passes.rewrite import Rewriter, rewrite

KINDS = ("products", "poolings", "reductions", "updates", "elementwise")
_MAIN = {"contraction": "products", "window": "poolings", "reduction": "reductions"}


@dataclass(frozen=True)
class Ungroup(Pass):
    """Replace the groups of a kind by their nodes."""

    name: ClassVar[str] = "ungroup"
    kind: str = "elementwise"

    def run(self, graph: Graph) -> Graph:
        updating = frozenset(value for _, value in graph.updates)
        nodes: list[Node] = []
        values: dict[Value, Value] = {}
        for node in graph.nodes:
            node = over(node, values)
            if node.op == "group" and kind_of_group(node, updating) == self.kind:
                inlined = inline(node.regions[0], node.operands, nodes)
                values.update(zip(node.results, inlined, strict=True))
            else:
                nodes.append(node if node.op == "group" else map_regions(node, self.run))
        return rewritten(graph, nodes, values)


@dataclass(frozen=True)
class Open(Pass):
    """Replace the composites of an operator by what they stand for; before autodiff."""

    name: ClassVar[str] = "open"
    op: str = "attention"

    def run(self, graph: Graph) -> Graph:
        return rewrite(graph, {self.op: [_open]})


def _open(rewriter: Rewriter, node: Node) -> Sequence[Value] | None:
    rule = get(node.op).decompose
    return None if rule is None else rule(rewriter, node)


def whole_nests() -> list[str]:
    """Composites that have a loop nest of their own, by name: each is a fusion.

    Their gradients come and go with them.
    """
    found = (op for op in table().values() if op.decompose is not None and op.nest is not None)
    return sorted(op.name for op in found if not op.name.endswith("_grad"))


def kind_of_group(node: Node, updating: Set[Value]) -> str:
    """Which of KINDS a group is; `updating` holds the new values of the state."""
    if not updating.isdisjoint(node.results):
        return "updates"
    kinds = {kind_of(inner, frozenset()) for inner in node.regions[0].nodes}
    return next((name for kind, name in _MAIN.items() if kind in kinds), "elementwise")
