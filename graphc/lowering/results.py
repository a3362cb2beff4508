"""Where a launch's results go: straight into the outputs, and in the order that readers need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from graphc.ir import Graph, Node, Value
from graphc.lowering.places import Place, reshaped, row_major
from graphc.ops import get

_NOT_STORED = frozenset({"scan", "cond", "constant", "iota"})


def straight_outputs(graph: Graph) -> dict[Value, int]:
    """{value: number of the output} of what a launch may store as the output itself, or as what
    the output is a reshape of.

    Inputs and state that are given out, other views, new values of the state, and what is given
    out twice are copied instead.
    """
    made = {
        value
        for node in graph.nodes
        for value in node.results
        if node.op not in _NOT_STORED and not get(node.op).view
    }
    made -= {value for _, value in graph.updates}
    sources = [_before_reshapes(graph, value) for value in graph.outputs]
    counts = Counter(sources)
    return {v: n for n, v in enumerate(sources) if v in made and counts[v] == 1}


def _before_reshapes(graph: Graph, value: Value) -> Value:
    node = graph.producers.get(value)
    while node is not None and node.op == "reshape":
        value = node.operands[0]
        node = graph.producers.get(value)
    return value


def readable_order(
    graph: Graph, nodes: Sequence[Node], value: Value, order: tuple[int, ...]
) -> tuple[int, ...]:
    """`order`, or row-major where the value is read by reshapes alone that then are views.

    Else each of them would be a copy. A product keeps its order, which its tiles need.
    """
    users = graph.users.get(value, ())
    if not users or any(user.op != "reshape" for user in users):
        return order
    if any(get(node.op).contraction for node in nodes) or len(order) != value.type.rank:
        return order
    place = Place("", value.shape, value.dtype, order)
    moves = all(reshaped(place, user.result.shape) is None for user in users)
    return row_major(value.shape) if moves else order


def is_read(graph: Graph, value: Value) -> bool:
    """Whether a node reads the value, or the graph gives it out."""
    return bool(graph.users.get(value)) or value in graph.results
