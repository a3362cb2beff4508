"""Results go straight into the outputs where they may, and nothing that nobody reads is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.dtypes import float32, int64
from graphc.ir import Graph, TensorType, Value
from graphc.loops.evaluate import run_schedule
from graphc.lowering.lower import lower
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate

Array = NDArray[Any]


ATTENTION = {"scale": 0.6, "causal": False, "mask": False, "dropout": 0.0, "stream": 3}


def lowered(graph: Graph, *arrays: Array, rtol: float = 1e-6) -> tuple[list[str], list[Array]]:
    """(the names of the launches, the outputs), after checking these against the meanings."""
    schedule = lower(graph)
    memory = dict(zip(schedule.inputs, arrays, strict=True))
    run_schedule(schedule, memory)
    found = [memory[name] for name in schedule.outputs]
    for got, want in zip(found, evaluate(graph, arrays)[0], strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)
    return [step.name for step in schedule.steps], found  # type: ignore[union-attr]  # launches


def graph_of(b: Builder, inputs: tuple[Value, ...], *outputs: Value) -> Graph:
    return Graph("results", inputs, tuple(b.nodes), outputs)


def floats(*shape: int) -> Array:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def test_an_output_is_stored_where_it_is_given_out_and_read_there() -> None:
    x = Value(TensorType((3, 4), float32), "x")
    b = Builder()
    y = b.exp(x)
    z = b.sum(y, (1,))
    names, _ = lowered(graph_of(b, (x,), y, z), floats(3, 4))
    assert names == ["exp", "sum"]


def test_what_is_given_out_twice_or_is_an_input_or_view_is_copied() -> None:
    x = Value(TensorType((3, 4), float32), "x")
    b = Builder()
    y = b.exp(x)
    turned = b.transpose(y, (1, 0))
    names, _ = lowered(graph_of(b, (x,), y, y, x, turned), floats(3, 4))
    assert names == ["exp", "output", "output", "output", "output"]


def test_another_order_than_the_output_has_is_copied() -> None:
    x = Value(TensorType((1, 2, 4, 4), float32), "x")
    w = Value(TensorType((3, 2, 3, 3), float32), "w")
    b = Builder()
    options: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    y = b.op("conv2d", x, w, **options)
    names, _ = lowered(graph_of(b, (x, w), y), floats(1, 2, 4, 4), floats(3, 2, 3, 3))
    assert names == ["layout", "conv2d", "output"]


def test_positions_that_nobody_reads_are_not_stored() -> None:
    x = Value(TensorType((1, 2, 4, 4), float32), "x")
    b = Builder()
    options: dict[str, Any] = {"padding": (0, 0), "dilation": (1, 1), "ceil_mode": False}
    y, _ = b.emit("max_pool2d", [x], {"kernel": (2, 2), "stride": (2, 2), **options})
    graph = graph_of(b, (x,), y)
    lowered(graph, floats(1, 2, 4, 4))
    (kernel,) = lower(graph).kernels.values()
    assert [buffer.access for buffer in kernel.buffers] == ["in", "out"]


def test_a_tensor_that_is_only_reshaped_lies_so_that_this_is_a_view() -> None:
    x = Value(TensorType((4, 3, 2), float32), "x")
    b = Builder()
    y = b.exp(b.transpose(x, (1, 0, 2)))
    flat = b.op("neg", b.reshape(y, (3, 8)))
    names, _ = lowered(graph_of(b, (x,), flat), floats(4, 3, 2))
    assert names == ["exp", "neg"]


def test_scatter_into_zeros_needs_no_memory_of_zeros() -> None:
    x = Value(TensorType((4, 3), float32), "x")
    at = Value(TensorType((4,), int64), "at")
    b = Builder()
    zeros = b.zeros(TensorType((6, 3), float32))
    y = b.op("scatter_add", zeros, at, x, axis=0)
    rows = np.array([1, 5, 1, 0], np.int64)
    names, _ = lowered(graph_of(b, (x, at), y), floats(4, 3), rows)
    assert names == ["scatter_add"]


def test_parts_of_a_tensor_are_read_where_they_lie() -> None:
    x = Value(TensorType((2, 5, 24), float32), "x")
    b = Builder()
    parts = [
        b.transpose(
            b.reshape(
                b.op("slice", x, start=(0, 0, 8 * n), stop=(2, 5, 8 * n + 8), step=(1, 1, 1)),
                (2, 5, 2, 4),
            ),
            (0, 2, 1, 3),
        )
        for n in range(3)
    ]
    y = b.emit("attention", parts, ATTENTION)[0]
    names, _ = lowered(graph_of(b, (x,), y), floats(2, 5, 24), rtol=1e-5)
    assert names == ["attention", "output"]


def test_a_reshape_of_a_part_that_joins_dimensions_is_a_copy() -> None:
    x = Value(TensorType((3, 4, 6), float32), "x")
    b = Builder()
    part = b.op("slice", x, start=(0, 1, 0), stop=(3, 3, 6), step=(1, 1, 1))
    y = b.exp(b.reshape(part, (6, 6)))
    names, _ = lowered(graph_of(b, (x,), y), floats(3, 4, 6))
    assert names == ["reshape", "exp"]


def test_an_output_that_is_a_reshape_is_stored_as_what_it_was() -> None:
    x = Value(TensorType((3, 4), float32), "x")
    b = Builder()
    y = b.reshape(b.exp(x), (2, 6))
    names, _ = lowered(graph_of(b, (x,), y), floats(3, 4))
    assert names == ["exp"]
    names, _ = lowered(graph_of(b, (x,), y, b.reshape(y, (12,))), floats(3, 4))
    assert names == ["exp", "output", "output"]
