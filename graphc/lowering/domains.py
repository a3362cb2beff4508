"""Over which indices a launch runs, and in which order its results lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from graphc.ir import Graph, Node, Value
from graphc.lowering.contraction import analyse
from graphc.lowering.places import Place, row_major
from graphc.ops import get


def group_domain(region: Graph) -> tuple[int, ...]:
    """The results' shape, or what a reduction leaves whose value is read back at full shape."""
    shapes = {value.shape for value in region.outputs}
    full = max(shapes, key=lambda shape: (len(shape), math.prod(shape)))
    made = {value for node in region.nodes for value in node.results}
    domain = full
    for node in region.nodes:
        if not get(node.op).reduction or get(node.op).contraction:
            continue
        left = node.results[0].shape
        inner = node.operands[0].shape
        row_wise = inner[: len(left)] == left and len(inner) > len(left)
        if row_wise and len(left) < len(domain) and _read_back(node, region, made, full):
            domain = left
    return domain


def _read_back(node: Node, region: Graph, made: set[Value], full: tuple[int, ...]) -> bool:
    """Whether something of the full shape in the region depends on the node."""
    reached = set(node.results)
    for other in region.nodes:
        if reached & set(other.operands):
            reached.update(other.results)
    wide = {value for value in reached if value.type.size > node.results[0].type.size}
    return bool(wide) or any(value.shape != node.results[0].shape for value in region.outputs)


def result_order(
    nodes: Sequence[Node],
    value: Value,
    places: Mapping[Value, Place],
    producers: Mapping[Value, Node],
) -> tuple[int, ...]:
    """The order of a launch's result: a contraction's, else that of an operand it follows."""
    contractions = [node for node in nodes if get(node.op).contraction]
    for node in contractions:
        if node.results[0].shape == value.shape:
            order = _contraction_order(node, places)
            if order is not None:
                return order
    operands = [v for node in nodes for v in node.operands if v in places]
    same_shape = [places[v] for v in operands if v.shape == value.shape]
    if same_shape:
        return same_shape[0].order
    same_rank = [places[v] for v in operands if len(v.shape) == len(value.shape)]
    if same_rank:
        return max(same_rank, key=lambda place: math.prod(place.shape)).order
    return _reduced_order(nodes, value, places)


def _contraction_order(node: Node, places: Mapping[Value, Place]) -> tuple[int, ...] | None:
    contraction = analyse(node)
    if contraction is None:
        return None
    a = places.get(node.operands[contraction.a[0]])
    if not contraction.last(None if a is None else a.order):
        return None
    free = a is None or (a.is_row_major and contraction.columns)
    wanted = contraction.order_of_a() if a is None or free else a.order
    return contraction.order_of_result(wanted)


def _reduced_order(
    nodes: Sequence[Node], value: Value, places: Mapping[Value, Place]
) -> tuple[int, ...]:
    """What a reduction leaves of its operand's order."""
    for node in nodes:
        axes = node.attrs.get("axes")
        place = places.get(node.operands[0]) if node.operands else None
        reduces = get(node.op).reduction and isinstance(axes, tuple) and place is not None
        if reduces and place is not None and node.results[0].shape == value.shape:
            gone = set(axes) if isinstance(axes, tuple) else set()
            kept = [d for d in range(len(place.shape)) if d not in gone]
            return tuple(kept.index(d) for d in place.order if d in kept)
    return row_major(value.shape)
