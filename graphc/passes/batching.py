"""Nodes of a loop's body, applied to all iterations at once.

A value of the body either varies from iteration to iteration, and is then a stack [T, …], or is
the same in all. A node of which no operand varies is taken as it is; one with a varying operand
is written anew with one more dimension in front:

    body     %p: f32[32,512] = matmul(%x, %w)          %x varies, %w does not
    batched  %1: f32[3200,40] = reshape(%xs)
             %2: f32[3200,512] = matmul(%1, %w)
             %3: f32[100,32,512] = reshape(%2)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphc.ir import Node, Value
from graphc.ops.build import Builder
from graphc.ops.define import get
from graphc.passes.clone import clone_node


@dataclass(frozen=True)
class Batched:
    """A value of the body for all iterations: a stack [T, …] if it varies, else the value."""

    value: Value
    varies: bool


class Batch:
    """Writes the nodes of a body, for all iterations at once, to a builder.

    known     what is there already, by the body's values
    nodes     the body's
    varying   the body's values that differ by iteration
    """

    def __init__(
        self, builder: Builder, length: int, nodes: Sequence[Node], varying: Container[Value]
    ) -> None:
        self.builder = builder
        self.length = length
        self.nodes = nodes
        self.producers = {value: node for node in nodes for value in node.results}
        self.varying = varying
        self.known: dict[Value, Batched] = {}

    def can(self, value: Value) -> bool:
        """Whether the value follows from what is known by nodes that have a rule."""
        missing = self._missing(value)
        made = {*self.known, *(result for node in missing for result in node.results)}
        return value in made and all(
            has_rule(node, self.varying) and made.issuperset(node.operands) for node in missing
        )

    def of(self, value: Value) -> Batched:
        """The value for all iterations; what it needs is written too."""
        for node in self._missing(value):
            self._write(node)
        return self.known[value]

    def _missing(self, value: Value) -> list[Node]:
        """The nodes between what is known and the value, in the order of the body."""
        if value in self.known:
            return []
        needed = {value}
        found: list[Node] = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.results):
                found.append(node)
                needed.update(v for v in node.operands if v not in self.known)
        return found[::-1]

    def stack(self, value: Value) -> Value:
        """The value as a stack [T, …], repeated if it does not vary."""
        return self.stacked(self.of(value))

    def stacked(self, item: Batched) -> Value:
        if item.varies:
            return item.value
        return self.builder.broadcast(item.value, (self.length, *item.value.shape))

    def _write(self, node: Node) -> None:
        operands = [self.known[value] for value in node.operands]
        self.builder.source = node.source
        if any(item.varies for item in operands):
            rule = _RULES.get(node.op, _elementwise)
            result = rule(self, node, operands)
            self.known[node.results[0]] = Batched(result, True)
            return
        values = {v: item.value for v, item in zip(node.operands, operands, strict=True)}
        copy = clone_node(node, values)
        self.builder.nodes.append(copy)
        for old, new in zip(node.results, copy.results, strict=True):
            self.known[old] = Batched(new, False)


def has_rule(node: Node, varying: Container[Value]) -> bool:
    """Whether the node can be batched where its operands in `varying` differ by iteration."""
    fits = _CONDITIONS.get(node.op)
    if fits is not None:
        return fits(node, [value in varying for value in node.operands])
    return node.op in _RULES or (get(node.op).elementwise and len(node.results) == 1)


Rule: TypeAlias = Callable[[Batch, Node, Sequence[Batched]], Value]


def _elementwise(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    stacks = [batch.stacked(item) for item in operands]
    (result,) = batch.builder.emit(node.op, stacks, node.attrs)
    return result


def _matmul(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    """Rows of all iterations in one product where the right matrix is the same in all."""
    b, (left, right) = batch.builder, operands
    shape = (batch.length, *node.result.shape)
    if not right.varies and right.value.type.rank == 2:
        *rows, columns = left.value.shape
        flat = b.reshape(left.value, (math.prod(rows), columns))
        return b.reshape(b.matmul(flat, right.value), shape)
    rank = node.result.type.rank
    return b.matmul(_led(b, left, rank), _led(b, right, rank))


def _led(b: Builder, item: Batched, rank: int) -> Value:
    """A stack whose iterations have `rank` dimensions: leading ones of extent 1 are put in."""
    if not item.varies:
        return item.value
    length, *shape = item.value.shape
    return b.reshape(item.value, (length, *(1,) * (rank - len(shape)), *shape))


def _broadcast(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    shape = node.attrs["shape"]
    led = _led(batch.builder, operands[0], len(shape))
    return batch.builder.broadcast(led, (batch.length, *shape))


def _reshape(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    return batch.builder.reshape(operands[0].value, (batch.length, *node.attrs["shape"]))


def _transpose(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    axes = (0, *(axis + 1 for axis in node.attrs["axes"]))
    return batch.builder.transpose(operands[0].value, axes)


def _concat(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    stacks = [batch.stacked(item) for item in operands]
    return batch.builder.op("concat", *stacks, axis=node.attrs["axis"] + 1)


def _with_front(**front: Any) -> Rule:
    """Attributes of one entry a dimension get one more, in front."""

    def rule(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
        own = {"length": batch.length}
        added = {name: own.get(entry, entry) for name, entry in front.items()}
        attrs: dict[str, Any] = dict(node.attrs)
        attrs |= {name: (added[name], *attrs[name]) for name in added}
        return batch.builder.op(node.op, operands[0].value, **attrs)

    return rule


def _along_axes(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    attrs: dict[str, Any] = dict(node.attrs)
    attrs["axes"] = tuple(axis + 1 for axis in attrs["axes"])
    return batch.builder.op(node.op, operands[0].value, **attrs)


def _along_axis(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    attrs: dict[str, Any] = dict(node.attrs)
    attrs["axis"] += 1
    return batch.builder.op(node.op, operands[0].value, **attrs)


def _convolution(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    """Images of all iterations as one batch; the weights are the same in all."""
    b, (images, weights) = batch.builder, operands
    length, rows, *shape = images.value.shape
    flat = b.reshape(images.value, (length * rows, *shape))
    (found,) = b.emit(node.op, (flat, weights.value), node.attrs)
    return b.reshape(found, (length, *node.result.shape))


def _gather(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    """Rows of one table, by the indices of all iterations."""
    (found,) = batch.builder.emit(node.op, [item.value for item in operands], node.attrs)
    return found


def _source(batch: Batch, node: Node, operands: Sequence[Batched]) -> Value:
    raise AssertionError(f"{node.op} has no operand that could vary")


_RULES: Mapping[str, Rule] = {
    "constant": _source,
    "iota": _source,
    "matmul": _matmul,
    "broadcast": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "concat": _concat,
    "slice": _with_front(start=0, stop="length", step=1),
    "pad": _with_front(low=0, high=0, interior=0),
    "flip": _along_axes,
    "conv2d": _convolution,
    "conv2d_input_grad": _convolution,
    "gather": _gather,
    **dict.fromkeys(("sum", "prod", "max", "min", "any", "all"), _along_axes),
    **dict.fromkeys(("argmax", "argmin", "cumsum"), _along_axis),
}

# Which operands may vary, for operators whose rule does not take them all.
_CONDITIONS: Mapping[str, Callable[[Node, Sequence[bool]], bool]] = {
    "conv2d": lambda node, varies: not varies[1],
    "conv2d_input_grad": lambda node, varies: not varies[1],
    "gather": lambda node, varies: node.attrs["axis"] == 0 and not varies[0],
}
