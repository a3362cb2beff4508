"""Shrink: from a graph that shows a fault to a small one that still shows it.

    small = shrink(step.graph, lambda graph: find_difference(graph) is not None)
    print(small)                                 # its text is the whole report

State becomes inputs first and updates become outputs, so that the small graph runs on made arrays;
`grad` nodes are expanded where it fails without them too. Then outputs are dropped and runs of
nodes are cut out, their results taken from new inputs: half of all nodes at once, then a quarter,
down to single ones (A. Zeller, R. Hildebrandt, "Simplifying and isolating failure-inducing input",
2002).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from graphc.errors import ArgumentError
from graphc.ir import Graph, Node, Value
from graphc.passes.changes import over, substitute
from graphc.passes.clone import live_nodes
from graphc.tools.bisect import without_gradients

Fails = Callable[[Graph], bool]


def shrink(graph: Graph, fails: Fails) -> Graph:
    """A smaller graph for which `fails` still holds. Raises ArgumentError where it never did."""
    graph = without_state(graph)
    if not fails(graph):
        raise ArgumentError(f"{graph.name} does not fail on made inputs, so nothing can be shrunk")
    expanded = without_gradients(graph)
    graph = expanded if expanded is graph or fails(expanded) else graph
    graph = _first(_single_outputs(graph), fails) or graph
    size = len(graph.nodes)
    while size := min(size, len(graph.nodes)):
        smaller = _first(_cuts(graph, size), fails)
        if smaller is None:
            size //= 2
        else:
            graph = smaller
    return graph


def _first(graphs: Iterator[Graph], fails: Fails) -> Graph | None:
    return next((graph for graph in graphs if fails(graph)), None)


def without_state(graph: Graph) -> Graph:
    """The same nodes, with state as inputs and updates as outputs."""
    return replace(
        graph,
        inputs=(*graph.inputs, *graph.state),
        outputs=(*graph.outputs, *(value for _, value in graph.updates)),
        state=(),
        updates=(),
    )


def _single_outputs(graph: Graph) -> Iterator[Graph]:
    if len(graph.outputs) > 1:
        for value in graph.outputs:
            yield _pruned(replace(graph, outputs=(value,)))


def _cuts(graph: Graph, size: int) -> Iterator[Graph]:
    """The graph without `size` nodes in a row, for each such run, the last first."""
    for end in range(len(graph.nodes), 0, -size):
        start = max(0, end - size)
        cut = _without(graph, graph.nodes[start:end])
        if len(cut.nodes) < len(graph.nodes):
            yield cut


def _without(graph: Graph, nodes: tuple[Node, ...]) -> Graph:
    """Nodes left out; those of their results that are still read become inputs."""
    gone = set(map(id, nodes))
    kept = tuple(node for node in graph.nodes if id(node) not in gone)
    read = {value for node in kept for value in node.operands}
    lost = [value for node in nodes for value in node.results if value in read]
    outputs = tuple(v for v in graph.outputs if not any(v in node.results for node in nodes))
    if not outputs:  # the last node is gone: what it read is computed instead
        made = {value for node in kept for value in node.results}
        outputs = tuple(v for v in nodes[-1].operands if v in made)
    return _pruned(replace(graph, inputs=(*graph.inputs, *lost), nodes=kept, outputs=outputs))


def _pruned(graph: Graph) -> Graph:
    """Without nodes and inputs that nothing reads; inputs get names of their own."""
    nodes = live_nodes(graph.nodes, graph.outputs)
    read = {*graph.outputs, *(value for node in nodes for value in node.operands)}
    kept = [value for value in graph.inputs if value in read]
    names = {value: Value(value.type, f"x{number}") for number, value in enumerate(kept)}
    renamed = tuple(over(node, names) for node in nodes)
    return Graph(graph.name, tuple(names.values()), renamed, substitute(graph.outputs, names))
