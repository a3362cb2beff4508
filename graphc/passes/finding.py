"""Finding composites written in primitives: looking back from a node, through views.

A finder remembers the nodes it passed, so that what replaces them carries the lines of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from graphc.ir import Node, Remark, Value
from graphc.ops.build import Builder
from graphc.ops.define import get
from graphc.passes.patterns import uniform_value
from graphc.passes.rewrite import Rewriter, Rule

Write: TypeAlias = Callable[[Builder], Value]

_VIEWS = frozenset({"broadcast", "reshape"})


@dataclass(frozen=True)
class Spread:
    """A value read at the indexes of a larger tensor.

    dims   for each of its dimensions that of the larger tensor; None where its extent is 1
    """

    value: Value
    dims: tuple[int | None, ...]

    @property
    def read_dims(self) -> tuple[int, ...]:
        """The dimensions of the larger tensor along which it varies."""
        return tuple(dim for dim in self.dims if dim is not None)


@dataclass
class Finder:
    """Looks at the producers of values in the graph that is being rewritten."""

    rewriter: Rewriter
    passed: list[Node] = field(default_factory=list)

    def node(self, value: Value, *ops: str) -> Node | None:
        """The node that computes the value, if it is one of these operators."""
        node = self.rewriter.producer(value)
        if node is None or node.op not in ops:
            return None
        self.passed.append(node)
        return node

    def number(self, value: Value) -> float | None:
        """The number that all elements of a constant equal."""
        element = uniform_value(self.rewriter, value)
        return None if element is None else float(element)

    def whole(self, value: Value) -> Spread:
        """The value as it is."""
        return self.seen(Spread(value, tuple(range(value.type.rank))))

    def seen(self, spread: Spread) -> Spread:
        """What a value shows, with its broadcasts and trivial reshapes taken off."""
        value, dims = spread.value, spread.dims
        while (node := self.rewriter.producer(value)) is not None and node.op in _VIEWS:
            found = _before(node, dims)
            if found is None:
                break
            self.passed.append(node)
            value, dims = node.operands[0], found
        dims = tuple(None if n == 1 else d for d, n in zip(dims, value.shape, strict=True))
        return Spread(value, dims)

    def fold(self, spread: Spread, op: str, rank: int) -> tuple[Value, tuple[int, ...]] | None:
        """(what is folded, over which dimensions) where a spread value is such a reduction of a
        tensor of `rank` dimensions and is read at the dimensions it keeps."""
        node = self.node(spread.value, op)
        if node is None or node.operands[0].type.rank != rank:
            return None
        axes = node.attrs["axes"]
        kept = [axis for axis in range(rank) if axis not in axes]
        aligned = all(
            dim is None or dim == axis for dim, axis in zip(spread.dims, kept, strict=True)
        )
        return (node.operands[0], axes) if aligned else None

    def mean(self, spread: Spread, rank: int) -> tuple[Value, tuple[int, ...]] | None:
        """(x, axes) where a spread value is the sum of x over axes, divided by their extent."""
        node = self.node(spread.value, "div", "mul")
        if node is None:
            return None
        for total, factor in both_ways(node):
            number = self.number(factor)
            found = self.fold(self.seen(Spread(total, spread.dims)), "sum", rank)
            if number is None or found is None:
                continue
            x, axes = found
            count = math.prod(x.shape[axis] for axis in axes)
            expected = count if node.op == "div" else 1.0 / count
            if math.isclose(number, expected, rel_tol=1e-6):
                return x, axes
        return None

    def square(self, value: Value) -> Value | None:
        """x where the value is x times x."""
        node = self.node(value, "mul")
        return node.operands[0] if node and node.operands[0] is node.operands[1] else None


def both_ways(node: Node) -> Sequence[tuple[Value, Value]]:
    """The operands of a node of two, in either order where the operator allows it."""
    a, b = node.operands
    return ((a, b), (b, a)) if node.op in ("mul", "add") else ((a, b),)


def _before(node: Node, dims: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
    """The dims of a view's operand, given those of its result; None: it regroups elements."""
    operand, result = node.operands[0].shape, node.result.shape
    if node.op == "broadcast":
        return dims[len(result) - len(operand) :]
    if [n for n in operand if n != 1] != [n for n in result if n != 1]:
        return None
    wide = iter([dim for dim, n in zip(dims, result, strict=True) if n != 1])
    return tuple(None if n == 1 else next(wide) for n in operand)


def finding_rule(find: Callable[[Finder, Node], Write | None], remarks: list[Remark]) -> Rule:
    """A rule of the driver: what `find` wants written carries the lines of all it passed, and
    `remarks` gets one of what was joined to which composite."""

    def rule(rewriter: Rewriter, node: Node) -> Sequence[Value] | None:
        finder = Finder(rewriter)
        write = find(finder, node)
        if write is None:
            return None
        start = len(rewriter.nodes)
        with rewriter.sources(*(passed.source for passed in finder.passed)):
            value = write(rewriter)
        remarks.extend(_made(rewriter.nodes[start:], [*reversed(finder.passed), node]))
        return (value,)

    return rule


def _made(written: Sequence[Node], joined: Sequence[Node]) -> list[Remark]:
    """A remark on the composite among what was written, if there is one."""
    composites = (node for node in reversed(written) if get(node.op).decompose is not None)
    made = next(composites, None)
    if made is None:
        return []
    words = ", ".join(dict.fromkeys(node.op for node in joined))
    return [Remark("recognise", f"joined {words}: one {made.op}", made.source)]
