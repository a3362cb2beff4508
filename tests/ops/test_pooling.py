"""Pooling against its definition, window by window, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from single_operator import NodeContext, graph_of, run_naive

from graphc import dtypes
from graphc.errors import ArgumentError, GraphcError, ShapeError
from graphc.ir import TensorType, Value
from graphc.loops import Reduce, variable
from graphc.ops import get, make_node
from graphc.ops.define import Sample
from graphc.ops.samples import real

Array = np.ndarray[Any, Any]


def run(op: str, *arrays: Array, **attrs: Any) -> Any:
    meaning = get(op).meaning
    assert meaning is not None
    return meaning(*arrays, **attrs)


def options(**changes: Any) -> dict[str, Any]:
    plain = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    return plain | {"ceil_mode": False} | changes


def test_max_keeps_the_tap_that_won() -> None:
    x = np.array([[[[1.0, 5.0, 2.0, 2.0], [3.0, 4.0, 2.0, 2.0]]]])
    y, position = run("max_pool2d", x, **options())
    assert y.tolist() == [[[[5, 2]]]]
    assert position.tolist() == [[[[1, 0]]]] and position.dtype == np.uint8


def test_nan_wins_and_padding_never_does() -> None:
    x = np.full((1, 1, 2, 3), -np.inf)
    x[0, 0, 1, 1:] = np.nan
    y, position = run("max_pool2d", x, **options(stride=(1, 1), padding=(1, 1)))
    np.testing.assert_array_equal(y[0, 0, 0], np.full(4, -np.inf))
    assert position[0, 0, 0, 0] == 3  # the one tap of this window that is not on padding
    assert np.isnan(y[0, 0, 1, 1:]).all() and position[0, 0, 1].tolist() == [1, 3, 2, 2]


def test_large_windows_number_their_taps_in_i32() -> None:
    _, position = run("max_pool2d", real((1, 1, 17, 17)), **options(kernel=(17, 17)))
    assert position.dtype == np.int32


def test_overlapping_windows_add_their_cotangents() -> None:
    x = np.zeros((1, 1, 3, 3))
    x[0, 0, 1, 1] = 1
    attrs = options(stride=(1, 1))
    y, position = run("max_pool2d", x, **attrs)
    dx = run("max_pool2d_grad", np.ones_like(y), position, input_size=(3, 3), **attrs)
    assert dx[0, 0].tolist() == [[0, 0, 0], [0, 4, 0], [0, 0, 0]]


@pytest.mark.parametrize(("stride", "has_sum"), [((2, 2), False), ((1, 2), True)])
def test_only_windows_that_overlap_need_a_sum(stride: tuple[int, int], has_sum: bool) -> None:
    attrs = options(stride=stride)
    y, position = run("max_pool2d", real((1, 1, 4, 4)), **attrs)
    sample = Sample((y, position), {**attrs, "input_size": (4, 4)})
    (node,) = graph_of("max_pool2d_grad", sample).nodes
    lower = get("max_pool2d_grad").lower
    assert lower is not None
    value = lower(NodeContext(node), tuple(variable(name) for name in "nchw"))
    assert isinstance(value, Reduce) == has_sum


def average_by_window(x: Array, attrs: dict[str, Any]) -> list[list[float]]:
    """Sums over the elements; the count takes padding in, but not what hangs over it."""
    (k, m), (s, t), (p, q) = attrs["kernel"], attrs["stride"], attrs["padding"]
    high, wide = x.shape
    sample = Sample((x[None, None],), attrs)
    outputs = graph_of("avg_pool2d", sample).outputs[0].shape[2:]
    rows = []
    for i in range(outputs[0]):
        row = []
        for j in range(outputs[1]):
            places = [(i * s - p + a, j * t - q + b) for a in range(k) for b in range(m)]
            inside = [x[h, w] for h, w in places if 0 <= h < high and 0 <= w < wide]
            counted = [1 for h, w in places if h < high + p and w < wide + q]
            row.append(sum(inside) / len(counted if attrs["count_include_pad"] else inside))
        rows.append(row)
    return rows


@pytest.mark.parametrize("sample", get("avg_pool2d").samples()[:-1], ids=lambda s: str(s.attrs))
def test_average_is_its_definition(sample: Sample) -> None:
    x = sample.arrays[0].astype(np.float64)
    expected = average_by_window(x[0, 0], dict(sample.attrs))
    np.testing.assert_allclose(run("avg_pool2d", x, **sample.attrs)[0, 0], expected)


def test_adaptive_windows_may_overlap() -> None:
    x = np.arange(5.0).reshape(1, 1, 1, 5)
    y = run("adaptive_avg_pool2d", x, output_size=(1, 3))
    assert y[0, 0, 0].tolist() == [0.5, 2.0, 3.5]  # elements 0-1, 1-3, 3-4


def test_infinity_stays_in_its_windows() -> None:
    x = np.zeros((1, 1, 1, 6), np.float32)
    x[..., 0] = np.inf
    attrs: dict[str, Any] = {
        "kernel": (1, 2),
        "stride": (1, 2),
        "padding": (0, 0),
        "ceil_mode": False,
        "count_include_pad": True,
    }
    (y,) = run_naive("avg_pool2d", Sample((x,), attrs))
    assert y[0, 0, 0].tolist() == [np.inf, 0, 0]
    assert run("avg_pool2d", x, **attrs)[0, 0, 0].tolist() == [np.inf, 0, 0]


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "error", "words"),
    [
        ("max_pool2d", [(1, 8, 8)], options(), ShapeError, "expected four dimensions"),
        (
            "max_pool2d",
            [(1, 1, 1, 4)],
            options(kernel=(2, 2), padding=(1, 0), dilation=(2, 1)),
            ShapeError,
            "wholly on the padding of height 1",
        ),
        (
            "avg_pool2d",
            [(1, 1, 4, 4)],
            {
                "kernel": (2, 2),
                "stride": (2, 2),
                "padding": (2, 0),
                "ceil_mode": False,
                "count_include_pad": True,
            },
            ArgumentError,
            "padding 2 is more than half of the kernel 2",
        ),
        (
            "adaptive_avg_pool2d",
            [(1, 1, 4, 4)],
            {"output_size": (0, 2)},
            ShapeError,
            "output size (0, 2)",
        ),
        (
            "max_pool2d_grad",
            [(1, 1, 2, 2), (1, 1, 2, 2)],
            options(input_size=(4, 4)),
            ShapeError,
            "expected positions u8[1,1,2,2]",
        ),
    ],
)
def test_operands_that_do_not_fit(
    op: str, shapes: list[tuple[int, ...]], attrs: Any, error: type[GraphcError], words: str
) -> None:
    values = [Value(TensorType(shape, dtypes.float32)) for shape in shapes]
    with pytest.raises(error, match=f"^{op}: ") as caught:
        make_node(op, values, attrs)
    assert words in str(caught.value)
