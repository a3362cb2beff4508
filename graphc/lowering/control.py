"""Loops and branches: the launches of a region inside a Repeat or a Branch.

A scan's carries have memory of their own, which an iteration reads and, at its end, writes anew.
The slices that it takes from stacks, or adds to them, are places at an offset that depends on the
iteration, so nothing is copied to take a stack apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from graphc.ir import Graph, Node, Value
from graphc.loops import Argument, Branch, Expr, Repeat, Step, add, index, mul, sub, variable
from graphc.lowering.places import Place, row_major

if TYPE_CHECKING:
    from graphc.lowering.lower import Lowering


def lower_scan(lowering: Lowering, node: Node) -> None:
    """A Repeat over the region; results are the carries' memory and the stacks."""
    (body,) = node.regions
    consts, carries = node.attrs["consts"], node.attrs["carries"]
    length = node.attrs["length"]
    places = [lowering.materialise(value) for value in node.operands]
    held = [_own(lowering, place, node) for place in places[consts : consts + carries]]
    name = f"t.{len(lowering.storages)}"
    number: Expr = variable(name)
    if node.attrs["reverse"]:
        number = sub(index(length - 1), number)
    slices = [
        _slice(_outermost(lowering, place, node), number) for place in places[consts + carries :]
    ]
    stacks = [
        lowering.temporary(value.shape, value.dtype, row_major(value.shape), node.source)
        for value in node.results[carries:]
    ]
    with _inside(lowering) as steps:
        lowering.places.update(zip(body.inputs, [*places[:consts], *held, *slices], strict=True))
        lowering.sweep(body, {})
        for value, stack in zip(body.outputs[carries:], stacks, strict=True):
            lowering.copy(lowering.materialise(value), _slice(stack, number), "stack", node.source)
        _carry_on(lowering, body.outputs[:carries], held, node)
    lowering.steps.append(Repeat(name, length, tuple(steps)))
    lowering.places.update(zip(node.results, [*held, *stacks], strict=True))


def _own(lowering: Lowering, start: Place, node: Node) -> Place:
    """Memory for a carry, holding its first value."""
    made = lowering.temporary(start.shape, start.dtype, start.order, node.source)
    lowering.copy(start, made, "carry", node.source)
    return made


def _outermost(lowering: Lowering, place: Place, node: Node) -> Place:
    """The stack with its first dimension outermost in memory."""
    if place.order[0] == 0:
        return place
    return lowering.relay(place, row_major(place.shape), node.source)


def _slice(stack: Place, number: Expr) -> Place:
    """One slice along the first dimension."""
    size = 1
    for extent in stack.shape[1:]:
        size *= extent
    order = tuple(d - 1 for d in stack.order[1:])
    offset = add(stack.offset, mul(number, size))
    return replace(stack, shape=stack.shape[1:], order=order, offset=offset)


def _carry_on(
    lowering: Lowering, values: Sequence[Value], held: Sequence[Place], node: Node
) -> None:
    """Store the new carries; one that is another carry's old value is set aside first."""
    storages = {place.storage for place in held}
    news = []
    for value, place in zip(values, held, strict=True):
        new = lowering.materialise(value)
        if new.storage in storages and new != place:
            new = _own(lowering, new, node)
        news.append(new)
    for new, place in zip(news, held, strict=True):
        if new != place:
            lowering.copy(new, place, "carry", node.source)


def lower_cond(lowering: Lowering, node: Node) -> None:
    """A Branch; both arms leave their results in the same memory."""
    flag, *operands = [lowering.materialise(value) for value in node.operands]
    results = [
        lowering.temporary(value.shape, value.dtype, row_major(value.shape), node.source)
        for value in node.results
    ]
    arms = [_arm(lowering, region, operands, results, node) for region in node.regions]
    lowering.steps.append(Branch(Argument(flag.storage, flag.offset), *arms))
    lowering.places.update(zip(node.results, results, strict=True))


def _arm(
    lowering: Lowering,
    region: Graph,
    operands: Sequence[Place],
    results: Sequence[Place],
    node: Node,
) -> tuple[Step, ...]:
    with _inside(lowering) as steps:
        lowering.places.update(zip(region.inputs, operands, strict=True))
        lowering.sweep(region, {})
        for value, place in zip(region.outputs, results, strict=True):
            lowering.copy(lowering.materialise(value), place, "result", node.source)
    return tuple(steps)


@contextmanager
def _inside(lowering: Lowering) -> Iterator[list[Step]]:
    """Steps made in the body go to a list of their own; layouts made there stay there."""
    outer, relaid = lowering.steps, dict(lowering.relaid)
    lowering.steps = []
    yield lowering.steps
    lowering.steps, lowering.relaid = outer, relaid
