"""One operator alone: as a graph of one node, and as a naive kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc import dtypes
from graphc.ir import Graph, Node, TensorType, Value
from graphc.loops import Buffer, Expr, Kernel, Loop, Statement, Store, index, load, variable
from graphc.loops.evaluate import run_kernel
from graphc.loops.kernel import Access
from graphc.ops import get, make_node
from graphc.ops.define import Sample

Array = np.ndarray[Any, Any]


def type_of(array: Array) -> TensorType:
    return TensorType(array.shape, dtypes.get(array.dtype))


def graph_of(op: str, sample: Sample) -> Graph:
    """A graph whose inputs are the sample's arrays and whose outputs are the node's results."""
    inputs = tuple(Value(type_of(x), f"x{i}") for i, x in enumerate(sample.arrays))
    node = make_node(op, inputs, sample.attrs, sample.regions)
    return Graph(op, inputs, (node,), node.results)


def meaning_of(op: str, sample: Sample) -> tuple[Array, ...]:
    meaning = get(op).meaning
    assert meaning is not None
    keywords = dict(sample.attrs) | ({"regions": sample.regions} if sample.regions else {})
    found = meaning(*sample.arrays, **keywords)
    return tuple(map(np.asarray, found if isinstance(found, tuple) else (found,)))


class NodeContext:
    """A node whose operands are buffers x0, x1, ... and whose results are y0, y1, ..."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.counts = 0
        access: Access = "inout" if get(node.op).lower is None else "out"
        self.results = tuple(
            Buffer(f"y{i}", v.shape, v.dtype, access=access) for i, v in enumerate(node.results)
        )

    def operand(
        self,
        position: int,
        index: Sequence[Expr],
        guard: Expr | None = None,
        fill: int | float | bool = 0,
    ) -> Expr:
        dtype = self.node.operands[position].dtype
        return load(f"x{position}", index, dtype, guard, fill)

    def fresh(self, prefix: str) -> str:
        self.counts += 1
        return f"{prefix}_{self.counts}"


def naive_kernel(node: Node) -> Kernel:
    """Parallel loops over the results around its value at an index, or the node's own nest."""
    record, context = get(node.op), NodeContext(node)
    operands = tuple(
        Buffer(f"x{i}", value.shape, value.dtype) for i, value in enumerate(node.operands)
    )
    assert record.lower or record.nest
    body = _loops(context) if record.lower or not record.nest else record.nest(context)
    return Kernel(node.op, operands + context.results, tuple(body))


def _loops(context: NodeContext) -> Sequence[Statement]:
    lower = get(context.node.op).lower
    assert lower is not None
    shape = context.results[0].shape
    at: tuple[Expr, ...] = tuple(variable(f"i{axis}") for axis in range(len(shape)))
    values = lower(context, at)
    values = values if isinstance(values, tuple) else (values,)
    body: tuple[Statement, ...] = tuple(
        Store(result.name, at, value) for result, value in zip(context.results, values, strict=True)
    )
    for axis in reversed(range(len(shape))):
        body = (Loop("parallel", f"i{axis}", index(0), index(shape[axis]), body),)
    return body


def run_naive(op: str, sample: Sample) -> tuple[Array, ...]:
    """The results of the naive kernel on the sample's arrays."""
    (node,) = graph_of(op, sample).nodes
    results = [np.zeros(value.shape, value.dtype.numpy) for value in node.results]
    arrays = {f"x{i}": np.array(x) for i, x in enumerate(sample.arrays)}
    arrays |= {f"y{i}": y for i, y in enumerate(results)}
    run_kernel(naive_kernel(node), arrays)
    return tuple(results)
