"""Copies of graphs inside others: inlining a region, and closing nodes into a region."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.ir import Graph, Node, Value
from graphc.passes.changes import substitute


def clone_node(node: Node, values: dict[Value, Value]) -> Node:
    """The node over `values`, with results of its own, which are entered into `values`."""
    results = tuple(Value(value.type, value.name) for value in node.results)
    operands = substitute(node.operands, values)
    copy = Node(node.op, operands, node.attrs, results, node.source, node.regions)
    values.update(zip(node.results, results, strict=True))
    return copy


def inline(region: Graph, operands: Sequence[Value], nodes: list[Node]) -> tuple[Value, ...]:
    """Append a copy of the region's nodes, applied to `operands`; its outputs."""
    values = dict(zip(region.inputs, operands, strict=True))
    nodes.extend(clone_node(node, values) for node in region.nodes)
    return tuple(values[value] for value in region.outputs)


def close(
    name: str, inputs: Sequence[Value], nodes: Sequence[Node], outputs: Sequence[Value]
) -> Graph:
    """A closed graph of copies: `inputs` become its inputs; all else must be computed inside."""
    values: dict[Value, Value] = {value: Value(value.type, value.name) for value in inputs}
    formal = tuple(values[value] for value in inputs)
    copies = tuple(clone_node(node, values) for node in nodes)
    return Graph(name, formal, copies, tuple(values[value] for value in outputs))


def live_nodes(nodes: Sequence[Node], wanted: Iterable[Value]) -> tuple[Node, ...]:
    """The nodes that `wanted` depends on, in their order."""
    needed = set(wanted)
    kept: list[Node] = []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.results):
            kept.append(node)
            needed.update(node.operands)
    return tuple(reversed(kept))
