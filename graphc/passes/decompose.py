"""Composites opened into simpler operators, where a later stage has no rule for them.

    before  %1: f32[8,10] = log_softmax(%x) {axis=1}       # net.py:7
    after   %2: f32[8] = max(%x) {axes=(1,)}               # net.py:7
            …
            %1: f32[8,10] = sub(%5, %8)                    # net.py:7

A composite is one node because it has a stable formula, a vjp or a kernel of its own. Before
autodiff those without a vjp are opened, inside the functions of `grad` nodes; before fuse those
without a lowering. Where nothing is to be fused, those with a whole loop nest of their own are
opened before autodiff, so that what runs is what they stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.errors import ArgumentError
from graphc.ir import Graph, Node, Value
from graphc.ops.define import Op, get, table
from graphc.passes.base import Pass
from graphc.passes.changes import map_nodes, map_regions
from graphc.passes.rewrite import Rewriter, Rule, rewrite


@dataclass(frozen=True)
class Decompose(Pass):
    """Open composites: `lacking` is "vjp" or "lowering", or "fusion" for whole nests."""

    name: ClassVar[str] = "decompose"
    lacking: str = "lowering"

    def __post_init__(self) -> None:
        if self.lacking not in _LACKS:
            raise ArgumentError(
                f"decompose: lacking is {self.lacking!r}; expected {' or '.join(_LACKS)}"
            )

    def run(self, graph: Graph) -> Graph:
        lacks = _LACKS[self.lacking]
        rules: dict[str, list[Rule]] = {
            name: [_open] for name, op in table().items() if op.decompose is not None and lacks(op)
        }
        return _in_functions(graph, rules) if self.lacking == "vjp" else rewrite(graph, rules)


def _lacks_vjp(op: Op) -> bool:
    return op.vjp is None and not op.zero_gradient


def _lacks_lowering(op: Op) -> bool:
    return op.lower is None and op.nest is None


def _is_fused(op: Op) -> bool:
    return op.nest is not None


_LACKS = {"vjp": _lacks_vjp, "lowering": _lacks_lowering, "fusion": _is_fused}


def _open(rewriter: Rewriter, node: Node) -> Sequence[Value] | None:
    rule = get(node.op).decompose
    return rule(rewriter, node) if rule is not None else None


def _in_functions(graph: Graph, rules: dict[str, list[Rule]]) -> Graph:
    """The rules applied inside the functions of `grad` nodes alone."""

    def inside(node: Node) -> Node:
        change = rewrite if node.op == "grad" else _in_functions
        return map_regions(node, lambda region: change(region, rules))

    return map_nodes(graph, inside)
