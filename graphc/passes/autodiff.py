"""Gradients: `grad` nodes become the forward and the backward of the function they hold.

    before  %1: f32[], %2: f32[4] = grad(%x, %y) {argnums=(0,), value=true} { … }
    after   %3: f32[4] = mul(%x, %y)               # net.py:3
            %1: f32[] = sum(%3) {axes=(0,)}        # net.py:3
            %4: f32[4] = broadcast(%c1) {…}        # net.py:3
            %2: f32[4] = mul(%4, %y)               # net.py:3

Innermost nodes are expanded first, so that the gradient of a gradient is the same case again.
Backward nodes carry the lines of the model that they are the gradient of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import Graph, Node, Value
from graphc.ops.build import Builder
from graphc.passes.base import Pass
from graphc.passes.changes import map_regions, over, rewritten
from graphc.passes.clone import inline, live_nodes
from graphc.passes.reverse import reverse


@dataclass(frozen=True)
class Autodiff(Pass):
    """Expand every `grad` node by reverse mode, innermost first, regions included.

    recompute   the backward of a loop computes the iterations again from the carries that they
                started from, instead of reading results that the forward kept
    """

    name: ClassVar[str] = "autodiff"

    recompute: bool = False

    def run(self, graph: Graph) -> Graph:
        return expand(graph, self.recompute)


def expand(graph: Graph, recompute: bool = False) -> Graph:
    """The graph without `grad` nodes; the same object where there are none."""
    if not _has_gradients(graph):
        return graph
    nodes: list[Node] = []
    values: dict[Value, Value] = {}
    for node in graph.nodes:
        current = _over(node, values, recompute)
        if current.op == "grad":
            values.update(zip(node.results, _expand_node(current, nodes, recompute), strict=True))
        else:
            nodes.append(current)
    return rewritten(graph, nodes, values)


def _has_gradients(graph: Graph) -> bool:
    return any(node.op == "grad" for node in graph.every_node())


def _over(node: Node, values: dict[Value, Value], recompute: bool) -> Node:
    """The node over the new graph's values, with expanded regions."""
    return map_regions(over(node, values), lambda region: expand(region, recompute))


def _expand_node(node: Node, nodes: list[Node], recompute: bool) -> tuple[Value, ...]:
    """Append the function's forward and backward; the results of the `grad` node."""
    (function,) = node.regions
    _check_scalar(function, node)
    both = reverse(function, node.attrs["argnums"], (0,), recompute)
    both = replace(both, nodes=live_nodes(both.nodes, both.outputs))
    builder = Builder(node.source)
    seed = builder.array(np.ones((), function.outputs[0].dtype.numpy))
    nodes.extend(builder.nodes)
    outputs = inline(both, (*node.operands, seed), nodes)
    return _pick(node, outputs, len(function.outputs))


def _pick(node: Node, outputs: Sequence[Value], functions: int) -> tuple[Value, ...]:
    """(the value if asked, the further outputs if asked, the gradients)."""
    value = tuple(outputs[:1]) if node.attrs["value"] else ()
    aux = tuple(outputs[1:functions]) if node.attrs["aux"] else ()
    return value + aux + tuple(outputs[functions:])


def _check_scalar(function: Graph, node: Node) -> None:
    output = function.outputs[0]
    if output.shape != () or not output.dtype.is_float:
        raise ShapeError(
            f"grad: {function.name!r} gives {output.type}; expected one float number of shape () "
            f"({', '.join(node.source)})"
        )
