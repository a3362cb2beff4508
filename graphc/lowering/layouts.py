"""How state tensors lie in memory: as the operators that read them want, whatever the batch.

The first contraction that reads a parameter as its second operand decides; a tensor that meets it
elementwise (a moment of the optimizer, an average of weights) lies the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphc.ir import Graph, Value
from graphc.lowering.contraction import analyse
from graphc.lowering.places import row_major
from graphc.ops import get

Axes = tuple[int, ...]
Orders = Mapping[str, Axes]


def state_orders(graph: Graph, fixed: Orders) -> dict[str, tuple[int, ...]]:
    """{state name: order}; those in `fixed` stay as they are."""
    orders = dict(fixed)
    roots = {value: (value, row_major(value.shape)) for value in graph.state}
    for name, order in _contraction_operands(graph, roots):
        if name not in orders:
            orders[name] = order
    for group in _elementwise_company(graph):
        known = [orders[value.name] for value in group if value.name in orders]
        for value in group:
            if known and value.name not in orders and len(known[0]) == value.type.rank:
                orders[value.name] = known[0]
    return {value.name: orders.get(value.name, row_major(value.shape)) for value in graph.state}


def _contraction_operands(
    graph: Graph, roots: Mapping[Value, tuple[Value, Axes]]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """State tensors that a contraction reads as its second operand, and the order it wants.

    `roots`: values that show a state tensor, each with the tensor's dimension for each of its own.
    """
    origin = dict(roots)
    for node in graph.nodes:
        if node.op == "transpose" and node.operands[0] in origin:
            root, axes = origin[node.operands[0]]
            origin[node.result] = (root, tuple(axes[d] for d in node.attrs["axes"]))
        if node.op in ("group", "scan"):
            (region,) = node.regions
            inner = {
                formal: origin[actual]
                for formal, actual in zip(region.inputs, node.operands, strict=True)
                if actual in origin and formal.shape == actual.shape
            }
            yield from _contraction_operands(region, inner)
        contraction = analyse(node)
        order = None if contraction is None else contraction.order_of_b()
        if contraction is None or order is None:
            continue
        operand = node.operands[contraction.b[0]]
        if operand in origin:
            root, axes = origin[operand]
            yield root.name, tuple(axes[d] for d in order)


def _elementwise_company(graph: Graph) -> Iterator[list[Value]]:
    """State tensors of one shape that one elementwise node or group reads or updates together."""
    state = set(graph.state)
    updates = {value: name for name, value in graph.updates}
    by_name = {value.name: value for value in graph.state}
    reach: dict[Value, frozenset[Value]] = {value: frozenset((value,)) for value in graph.state}
    for node in graph.nodes:
        if not (get(node.op).elementwise or node.op == "group"):
            continue
        for result in node.results:
            near = [reach[v] for v in node.operands if v in reach and v.shape == result.shape]
            reach[result] = frozenset().union(*near)
    for result, name in updates.items():
        company = {v for v in reach.get(result, ()) if v in state} | {by_name[name]}
        shape = by_name[name].shape
        yield sorted((v for v in company if v.shape == shape), key=lambda v: v.name)
