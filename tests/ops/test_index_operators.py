"""Gather, scatter and dynamic slices: order of additions, places outside, faults, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from single_operator import graph_of, run_naive

from graphc import dtypes
from graphc.errors import DTypeError, GraphcError, ShapeError
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder, get, make_node
from graphc.ops.define import Sample
from graphc.ops.evaluate import evaluate

Array = np.ndarray[Any, Any]
SINGLE = np.float32


def both(op: str, *arrays: Array, **attrs: Any) -> Array:
    """The result, which meaning and naive kernel must agree on to the bit."""
    sample = Sample(arrays, attrs)
    (kernel,) = run_naive(op, sample)
    ((meaning,), _) = evaluate(graph_of(op, sample), arrays)
    np.testing.assert_array_equal(kernel, meaning)
    return meaning


def test_additions_happen_in_the_order_of_the_positions() -> None:
    """1e8 + 1 - 1e8 is 0 in float32 in this order, and 1 in another."""
    updates = np.array([1e8, 1, -1e8, 1], SINGLE)
    indices = np.array([1, 1, 1, 0])
    assert both("scatter_add", np.zeros(2, SINGLE), indices, updates, axis=0).tolist() == [1, 0]
    assert both("scatter_add_elements", np.zeros(2, SINGLE), indices, updates, axis=0).tolist() == [
        1,
        0,
    ]
    swapped = updates[[0, 2, 1, 3]]
    assert both("scatter_add", np.zeros(2, SINGLE), indices, swapped, axis=0).tolist() == [1, 1]


def test_reads_outside_give_zero_and_additions_outside_are_dropped() -> None:
    table = np.array([[1, 2], [3, 4]], SINGLE)
    indices = np.array([1, -1, 2, 0])
    assert both("gather", table, indices, axis=0).tolist() == [[3, 4], [0, 0], [0, 0], [1, 2]]
    updates = np.full((4, 2), 10, SINGLE)
    assert both("scatter_add", table, indices, updates, axis=0).tolist() == [[11, 12], [13, 14]]


def test_numpy_indexing_says_the_same() -> None:
    x = np.arange(24, dtype=SINGLE).reshape(2, 3, 4)
    indices = np.array([[0, 2], [1, 1]])
    np.testing.assert_array_equal(both("gather", x, indices, axis=1), x[:, indices])
    along = np.array([[[2, 0, 1, 1]], [[0, 0, 2, 2]]])
    np.testing.assert_array_equal(
        both("gather_elements", x, along, axis=1), np.take_along_axis(x, along, 1)
    )


def test_dynamic_slices_hang_over_the_edge() -> None:
    x = np.arange(6.0).reshape(2, 3)
    slice_ = both("dynamic_slice", x, np.array([1, -1]), sizes=(2, 3))
    assert slice_.tolist() == [[0, 3, 4], [0, 0, 0]]
    update = np.full((2, 2), 9.0)
    assert both("dynamic_update", x, update, np.array([1, 2])).tolist() == [[0, 1, 2], [3, 4, 9]]


@pytest.mark.parametrize(
    ("op", "arrays", "attrs", "bad"),
    [
        ("gather", (np.zeros((3, 2)), np.array([0, 2])), {"axis": 0}, False),
        ("gather", (np.zeros((3, 2)), np.array([0, 2])), {"axis": 1}, True),
        ("gather", (np.zeros(3), np.array(-1)), {"axis": 0}, True),
        ("gather", (np.zeros(3), np.array([2, 3], np.uint8)), {"axis": 0}, True),
        ("gather", (np.zeros(0), np.zeros(0, np.int64)), {"axis": 0}, False),
        ("scatter_add", (np.zeros(3), np.array([3]), np.ones(1)), {"axis": 0}, True),
        ("gather_elements", (np.zeros((1, 2)), np.array([[0, 1]])), {"axis": 0}, True),
        ("dynamic_slice", (np.zeros((3, 2)), np.array([1, 0])), {"sizes": (2, 2)}, False),
        ("dynamic_slice", (np.zeros((3, 2)), np.array([2, 0])), {"sizes": (2, 2)}, True),
        ("dynamic_slice", (np.zeros(3), np.array([-1])), {"sizes": (1,)}, True),
        ("dynamic_update", (np.zeros(3), np.ones(2), np.array([1])), {}, False),
        ("dynamic_update", (np.zeros(3), np.ones(2), np.array([2])), {}, True),
        ("dynamic_update", (np.array(1.0), np.array(2.0), np.zeros(0, np.int64)), {}, False),
    ],
)
def test_faults(op: str, arrays: tuple[Array, ...], attrs: Any, bad: bool) -> None:
    graph = graph_of(op, Sample(arrays, attrs))
    fault = get(op).fault
    assert fault is not None
    b = Builder()
    flag = fault(b, graph.nodes[0])
    ((found,), _) = evaluate(Graph("fault", graph.inputs, tuple(b.nodes), (flag,)), arrays)
    assert found.shape == () and bool(found) == bad


def type_of(*shape: int, dtype: dtypes.DType = dtypes.float32) -> TensorType:
    return TensorType(shape, dtype)


INDEX = dtypes.int64


@pytest.mark.parametrize(
    ("op", "types", "attrs", "error", "words"),
    [
        ("gather", [type_of(3), type_of(2)], {"axis": 0}, DTypeError, "expected an integer type"),
        ("gather", [type_of(3), type_of(2, dtype=INDEX)], {"axis": 1}, ShapeError, "axis 1"),
        (
            "scatter_add",
            [type_of(3, 2), type_of(4, dtype=INDEX), type_of(4, 3)],
            {"axis": 0},
            ShapeError,
            "expected the shape (4, 2)",
        ),
        (
            "gather_elements",
            [type_of(3, 2), type_of(4, 3, dtype=INDEX)],
            {"axis": 0},
            ShapeError,
            "expected the shape of f32[3,2] except for axis 0",
        ),
        (
            "gather_elements",
            [type_of(3, 2), type_of(4, dtype=INDEX)],
            {"axis": 0},
            ShapeError,
            "except for axis 0",
        ),
        (
            "dynamic_slice",
            [type_of(3, 2), type_of(1, dtype=INDEX)],
            {"sizes": (1, 1)},
            DTypeError,
            "expected i64[2]",
        ),
        (
            "dynamic_update",
            [type_of(3), type_of(4), type_of(1, dtype=INDEX)],
            {},
            ShapeError,
            "sizes (4,) do not fit into f32[3]",
        ),
    ],
)
def test_operands_that_do_not_fit(
    op: str, types: list[TensorType], attrs: Any, error: type[GraphcError], words: str
) -> None:
    with pytest.raises(error, match=f"^{op}: ") as caught:
        make_node(op, [Value(type) for type in types], attrs)
    assert words in str(caught.value)
