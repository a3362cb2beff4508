"""Stacks that a loop stores over: each iteration reads its slice, then needs it no more.

    %ys = scan(%xs) { return f(%x) }       ys takes over the memory of xs, if nothing else reads it

An LSTM's input products become its gates, and those their gradients, in the same memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from graphc.ir import Node, Value
from graphc.lowering.places import START, Place
from graphc.lowering.updates import last_readers, slice_in_place
from graphc.ops.scan_gradient import Loop

if TYPE_CHECKING:
    from graphc.lowering.lower import Lowering


def overwritten_stacks(
    lowering: Lowering, node: Node, loop: Loop, stacks: Sequence[Place]
) -> dict[Value, Place]:
    """{y of the body: the stack, one of those given, that its slices are stored over}.

    Only for the loops of the graph itself: of a loop in a loop it is not known here who else
    reads its operands.
    """
    (body,) = node.regions
    taken: dict[Value, Place] = {}
    dying = list(_dying(lowering, node, loop, stacks))
    for y in body.outputs[loop.carries :]:
        for formal, place in dying:
            free = y not in taken and place not in taken.values() and formal.type == y.type
            if free and slice_in_place(body, formal, y):
                taken[y] = place
    return taken


def _dying(
    lowering: Lowering, node: Node, loop: Loop, stacks: Sequence[Place]
) -> Iterator[tuple[Value, Place]]:
    """(formal, stack) of the xs that nothing reads but this loop."""
    graph, places = lowering.graph, lowering.places
    if node not in graph.nodes:
        return
    position = graph.nodes.index(node)
    last = last_readers(graph)
    values = [*graph.inputs, *graph.state, *(v for n in graph.nodes for v in n.results)]
    first = loop.first_slice
    formals = node.regions[0].inputs[first:]
    for operand, formal, place in zip(node.operands[first:], formals, stacks, strict=True):
        there = [v for v in values if v in places and places[v].storage == place.storage]
        readers = [last.get(value, -1) for value in there]
        passed = [v for v in node.operands if v in there]
        if passed == [operand] and max(readers) == position and _is_whole(lowering, place):
            yield formal, place


def _is_whole(lowering: Lowering, place: Place) -> bool:
    """Whether the place is all of a temporary, its first dimension outermost."""
    storage = lowering.storages[place.storage]
    whole = storage.size == math.prod(place.shape) and place.offset == START
    return storage.purpose == "temporary" and whole and place.order[0] == 0
