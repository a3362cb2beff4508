"""Changed graphs and nodes; what does not change comes back as the same object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from graphc.ir import Graph, Node, Value


def same(new: Sequence[object], old: Sequence[object]) -> bool:
    """Whether two sequences hold the very same objects."""
    return len(new) == len(old) and all(a is b for a, b in zip(new, old, strict=True))


def with_nodes(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """The graph with other nodes that give the same values."""
    return graph if same(nodes, graph.nodes) else replace(graph, nodes=tuple(nodes))


def map_nodes(graph: Graph, change: Callable[[Node], Node]) -> Graph:
    """The graph with each of its nodes changed."""
    return with_nodes(graph, [change(node) for node in graph.nodes])


def map_regions(node: Node, change: Callable[[Graph], Graph]) -> Node:
    """The node with each of its regions changed."""
    if not node.regions:
        return node
    regions = tuple(change(region) for region in node.regions)
    return node if same(regions, node.regions) else replace(node, regions=regions)


def in_regions(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """The graph with each region of its nodes changed."""
    return map_nodes(graph, lambda node: map_regions(node, change))


def substitute(values: Iterable[Value], mapping: Mapping[Value, Value]) -> tuple[Value, ...]:
    """What stands for each value: another one, or itself."""
    return tuple(mapping.get(value, value) for value in values)


def over(node: Node, mapping: Mapping[Value, Value]) -> Node:
    """The node over what stands for its operands."""
    if mapping.keys().isdisjoint(node.operands):
        return node
    return replace(node, operands=substitute(node.operands, mapping))


def rewritten(graph: Graph, nodes: Iterable[Node], mapping: Mapping[Value, Value]) -> Graph:
    """The graph with other nodes, whose results stand for its old values."""
    updates = tuple((name, mapping.get(value, value)) for name, value in graph.updates)
    outputs = substitute(graph.outputs, mapping)
    return replace(graph, nodes=tuple(nodes), outputs=outputs, updates=updates)
