"""Reverse mode of scan: the loop once more, in the other direction, of the body's vjp.

    forward    (consts, carries, xs)  ->  (carries, ys, stacks of what the backward reads)
    backward   (consts, d carries, sums, xs, stacks, d ys)  ->  (d carries, d consts, d xs)

What crosses from an iteration to its reverse (carries that it started from, results that would
take long to compute again) is stacked by the forward loop. The cotangents of the consts are
summed in a carry; pass split-scan takes such sums out of the loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphc.ir import Graph, Node, Value
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, Differentiator, Linearised


@dataclass(frozen=True)
class Loop:
    """How a scan's operands, and its region's inputs and outputs, divide.

    checkpoint   after how many iterations reverse mode keeps the carries, to compute all else
                 again; 0: it keeps what it reads of every iteration
    """

    length: int
    consts: int
    carries: int
    reverse: bool = False
    checkpoint: int = 0

    @property
    def first_slice(self) -> int:
        """Position of the first operand that is taken apart along axis 0."""
        return self.consts + self.carries

    def steps(self) -> range:
        forward = range(self.length)
        return forward[::-1] if self.reverse else forward

    def is_carry(self, position: int) -> bool:
        return self.consts <= position < self.first_slice


def loop_of(attrs: Attrs) -> Loop:
    return Loop(
        attrs["length"],
        attrs["consts"],
        attrs["carries"],
        attrs["reverse"],
        attrs.get("checkpoint", 0),
    )


def scan_vjp(b: Any, node: Node, cotangents: Cotangents) -> Cotangents:
    """Cotangents of a scan's operands by one more scan."""
    loop, (body,) = loop_of(node.attrs), node.regions
    wanted = [
        position
        for position, value in enumerate(node.operands)
        if value.dtype.is_float and (loop.is_carry(position) or b.wants(value))
    ]
    held = [p for p in range(len(body.inputs)) if not loop.is_carry(p)]
    again = loop.checkpoint == 1
    cut: Linearised = b.linearise(body, wanted, held, again)
    attrs = {
        "length": loop.length,
        "reverse": not loop.reverse,
        "consts": loop.consts,
        "carries": sum(position < loop.first_slice for position in wanted),
    }
    attrs |= {"checkpoint": 1} if again else {}
    operands = _backward_operands(b, node, loop, cotangents, wanted, cut)
    backward = _backward_body(cut, body, wanted, loop)
    results = b.emit("scan", operands, attrs, (backward,))
    by_position = dict(zip(_carries_first(wanted, loop), results, strict=True))
    return [by_position.get(position) for position in range(len(node.operands))]


def _carries_first(wanted: Sequence[int], loop: Loop) -> list[int]:
    """The wanted positions as the backward loop returns them: carries, consts, slices."""
    carries = [p for p in wanted if loop.is_carry(p)]
    consts = [p for p in wanted if p < loop.consts]
    return [*carries, *consts, *(p for p in wanted if p >= loop.first_slice)]


def _stacked(cut: Linearised, loop: Loop) -> list[Value]:
    """The saved values that are neither consts nor xs."""
    inputs = cut.forward.inputs
    held = {*inputs[: loop.consts], *inputs[loop.first_slice :]}
    return [value for value in cut.saved if value not in held]


def _backward_operands(
    b: Any,
    node: Node,
    loop: Loop,
    cotangents: Cotangents,
    wanted: Sequence[int],
    cut: Linearised,
) -> list[Value]:
    given = [
        b.zeros(value.type) if cotangent is None else cotangent
        for value, cotangent in zip(node.results, cotangents, strict=True)
        if value.dtype.is_float
    ]
    carried = sum(value.dtype.is_float for value in node.results[: loop.carries])
    sums = [b.zeros(node.operands[p].type) for p in wanted if p < loop.consts]
    xs = node.operands[loop.first_slice :]
    stacks = _stack(b, node, loop, cut)
    return [*node.operands[: loop.consts], *given[:carried], *sums, *xs, *stacks, *given[carried:]]


def _stack(b: Differentiator, node: Node, loop: Loop, cut: Linearised) -> list[Value]:
    """What is saved of each iteration, stacked: further results of the loop."""
    forward, needed = cut.forward, _stacked(cut, loop)
    outputs = len(node.regions[0].outputs)
    stacked = forward.outputs[loop.carries : outputs]
    missing = tuple(value for value in needed if value not in stacked)
    results = node.results
    if missing:
        longer = Graph(
            forward.name, forward.inputs, forward.nodes, forward.outputs[:outputs] + missing
        )
        results = b.extend(node, (longer,))
    position = {value: i for i, value in enumerate(stacked + missing)}
    return [results[loop.carries + position[value]] for value in needed]


def _backward_body(cut: Linearised, body: Graph, wanted: Sequence[int], loop: Loop) -> Graph:
    """(consts, d carries, sums, xs, stacks, d ys) -> (d carries, sums + d consts, d xs)."""
    b = Builder()
    known = {value: Value(value.type, value.name) for value in body.inputs}
    consts = [known[value] for value in body.inputs[: loop.consts]]
    xs = [known[value] for value in body.inputs[loop.first_slice :]]
    saved = {value: known.get(value, Value(value.type)) for value in cut.saved}
    stacks = [saved[value] for value in _stacked(cut, loop)]
    d_outputs = [Value(value.type) for value in body.outputs if value.dtype.is_float]
    carried = sum(value.dtype.is_float for value in body.outputs[: loop.carries])
    sums = {p: Value(body.inputs[p].type) for p in wanted if p < loop.consts}
    operands = [*(saved[value] for value in cut.saved), *d_outputs]
    found = dict(zip(wanted, b.inline(cut.backward, operands), strict=True))
    for position, so_far in sums.items():
        found[position] = _added(b, so_far, found[position])
    formal = (*consts, *d_outputs[:carried], *sums.values(), *xs, *stacks, *d_outputs[carried:])
    outputs = tuple(found[position] for position in _carries_first(wanted, loop))
    return Graph(cut.backward.name, formal, tuple(b.nodes), outputs)


def _added(b: Builder, so_far: Value, term: Value) -> Value:
    """The sum so far plus a term. Where the term is a sum that a loop inside starts with zero, that
    loop goes on with the sum so far: the same additions in the same order as of one long loop."""
    producers = {result: node for node in b.nodes for result in node.results}
    node = producers.get(term)
    if node is not None and node.op == "scan":
        number = node.results.index(term)
        place = loop_of(node.attrs).consts + number
        if _is_sum(node, number) and is_zero(node.operands[place], producers):
            operands = (*node.operands[:place], so_far, *node.operands[place + 1 :])
            b.nodes[b.nodes.index(node)] = replace(node, operands=operands)
            return term
    return b.add(so_far, term)


def _is_sum(node: Node, number: int) -> bool:
    """Whether a loop does nothing with a result but to add to it as a carry."""
    (body,), loop = node.regions, loop_of(node.attrs)
    if number >= loop.carries:
        return False
    carry, new = body.inputs[loop.consts + number], body.outputs[number]
    maker = body.producers.get(new)
    if maker is None or maker.op != "add" or maker.operands[0] is not carry:
        return False
    return body.users.get(carry) == (maker,) and maker.operands[1] is not carry


def is_zero(value: Value, producers: Mapping[Value, Node]) -> bool:
    """Whether the value is a constant zero, broadcast."""
    node = producers.get(value)
    while node is not None and node.op == "broadcast":
        node = producers.get(node.operands[0])
    if node is None or node.op != "constant" or node.result.type.size != 1:
        return False
    return not node.attrs["value"].data.any()
