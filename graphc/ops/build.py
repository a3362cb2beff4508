"""Writing graphs from rules: what vjps, decompositions, optimizers and tracing share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphc.dtypes import DType
from graphc.ir import Array, Attribute, Graph, Node, TensorType, Value
from graphc.ops.define import Regions, make_node


class Builder:
    """Appends typed nodes; every node gets the builder's current source lines.

    >>> import graphc.dtypes as dtypes
    >>> b = Builder(source=("net.py:3",))
    >>> x = b.constant(2.0, dtypes.float32, (2, 3))
    >>> str(b.mul(x, x).type)
    'f32[2,3]'
    """

    def __init__(self, source: tuple[str, ...] = ()) -> None:
        self.nodes: list[Node] = []
        self.source = source

    def emit(
        self,
        op: str,
        operands: Sequence[Value],
        attrs: Mapping[str, Attribute] | None = None,
        regions: Regions = (),
    ) -> tuple[Value, ...]:
        """Append a node and return its results."""
        node = make_node(op, operands, attrs, regions, self.source)
        self.nodes.append(node)
        return node.results

    def op(self, name: str, *operands: Value, regions: Regions = (), **attrs: Any) -> Value:
        """Append a node of one result and return it."""
        (result,) = self.emit(name, operands, attrs, regions)
        return result

    # Graphs

    def inline(self, graph: Graph, operands: Sequence[Value]) -> tuple[Value, ...]:
        """Append a closed graph's nodes, with their own source lines, applied to `operands`."""
        values = dict(zip(graph.inputs, operands, strict=True))
        for node in graph.nodes:
            inputs = [values[value] for value in node.operands]
            copy = make_node(node.op, inputs, node.attrs, node.regions, node.source)
            self.nodes.append(copy)
            values.update(zip(node.results, copy.results, strict=True))
        return tuple(values[value] for value in graph.outputs)

    def extend(
        self, node: Node, regions: Regions, attrs: Mapping[str, Attribute] | None = None
    ) -> tuple[Value, ...]:
        """Let a node return more: the same operator with other regions takes its place.

        Its first results are the old node's. A node that is not of this builder stays, and the
        new one is appended.
        """
        longer = make_node(node.op, node.operands, attrs or node.attrs, regions, node.source)
        if node not in self.nodes:
            self.nodes.append(longer)
            return longer.results
        results = node.results + longer.results[len(node.results) :]
        self.nodes[self.nodes.index(node)] = replace(longer, results=results)
        return results

    # Constants

    def array(self, data: Any) -> Value:
        """A constant of any shape."""
        return self.op("constant", value=Array(data))

    def constant(self, value: float | bool, dtype: DType, shape: Sequence[int] = ()) -> Value:
        """A scalar literal, broadcast to `shape`."""
        return self.broadcast(self.array(np.asarray(value, dtype.numpy)), shape)

    def zeros(self, type: TensorType) -> Value:
        return self.constant(0, type.dtype, type.shape)

    def like(self, value: float | bool, x: Value) -> Value:
        """A constant of x's shape and dtype."""
        return self.constant(value, x.dtype, x.shape)

    def iota(self, shape: Sequence[int], axis: int, dtype: DType) -> Value:
        return self.op("iota", shape=tuple(shape), axis=axis, dtype=dtype)

    # Elementwise

    def add(self, a: Value, b: Value) -> Value:
        return self.op("add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.op("sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.op("mul", a, b)

    def div(self, a: Value, b: Value) -> Value:
        return self.op("div", a, b)

    def scale(self, x: Value, factor: float) -> Value:
        """x times a literal."""
        return self.mul(x, self.like(factor, x))

    def shift(self, x: Value, amount: float) -> Value:
        """x plus a literal."""
        return self.add(x, self.like(amount, x))

    def neg(self, x: Value) -> Value:
        return self.op("neg", x)

    def exp(self, x: Value) -> Value:
        return self.op("exp", x)

    def log(self, x: Value) -> Value:
        return self.op("log", x)

    def sqrt(self, x: Value) -> Value:
        return self.op("sqrt", x)

    def compare(self, relation: str, a: Value, b: Value) -> Value:
        """`relation` is lt, le, gt, ge, eq or ne."""
        return self.op(relation, a, b)

    def where(self, condition: Value, yes: Value, no: Value) -> Value:
        return self.op("where", condition, yes, no)

    def cast(self, x: Value, dtype: DType) -> Value:
        return x if x.dtype == dtype else self.op("cast", x, dtype=dtype)

    # Shapes

    def broadcast(self, x: Value, shape: Sequence[int]) -> Value:
        return x if x.shape == tuple(shape) else self.op("broadcast", x, shape=tuple(shape))

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        return x if x.shape == tuple(shape) else self.op("reshape", x, shape=tuple(shape))

    def transpose(self, x: Value, axes: Sequence[int]) -> Value:
        unchanged = tuple(axes) == tuple(range(x.type.rank))
        return x if unchanged else self.op("transpose", x, axes=tuple(axes))

    def expand(self, x: Value, axes: Sequence[int], shape: Sequence[int]) -> Value:
        """Undo a reduction over `axes`: x repeated along them, with the shape before it."""
        kept = tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
        return self.broadcast(self.reshape(x, kept), shape)

    # Reductions

    def sum(self, x: Value, axes: Sequence[int]) -> Value:
        return self.op("sum", x, axes=tuple(axes)) if axes else x

    def max(self, x: Value, axes: Sequence[int]) -> Value:
        return self.op("max", x, axes=tuple(axes)) if axes else x

    def mean(self, x: Value, axes: Sequence[int]) -> Value:
        """Sum divided by the number of elements, in x's float type."""
        count = 1
        for axis in axes:
            count *= x.shape[axis]
        total = self.sum(x, axes)
        return self.div(total, self.like(count, total))

    # Products

    def matmul(self, a: Value, b: Value) -> Value:
        return self.op("matmul", a, b)

    def swap(self, x: Value) -> Value:
        """The last two dimensions exchanged."""
        axes = [*range(x.type.rank - 2), x.type.rank - 1, x.type.rank - 2]
        return self.transpose(x, axes)
