"""Convolutions and matrix products: definitions in plain loops, refusals, and how they lower."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from single_operator import NodeContext, graph_of, run_naive

from graphc import dtypes
from graphc.errors import ArgumentError, DTypeError, GraphcError, ShapeError
from graphc.ir import TensorType, Value
from graphc.loops import Expr, Reduce, variable
from graphc.ops import Builder, get, make_node
from graphc.ops.define import Sample
from graphc.ops.samples import real

Array = np.ndarray[Any, Any]
PLAIN = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


def options(**changes: Any) -> dict[str, Any]:
    return PLAIN | changes


def convolve_in_loops(x: Array, w: Array, attrs: dict[str, Any]) -> Array:
    """y[n, o, i, j] = sum over c, k, l of x[n, c, i s - p + k d, ...] w[o, c, k, l]."""
    (sh, sw), (ph, pw), (dh, dw) = attrs["stride"], attrs["padding"], attrs["dilation"]
    filters, channels = w.shape[0] // attrs["groups"], w.shape[1]
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    high = (padded.shape[2] - dh * (w.shape[2] - 1) - 1) // sh + 1
    wide = (padded.shape[3] - dw * (w.shape[3] - 1) - 1) // sw + 1
    y = np.zeros((x.shape[0], w.shape[0], high, wide))
    for o, i, j in itertools.product(*map(range, y.shape[1:])):
        group = o // filters * channels
        for c, k, m in itertools.product(*map(range, w.shape[1:])):
            column = padded[:, group + c, i * sh + k * dh, j * sw + m * dw]
            y[:, o, i, j] += column * w[o, c, k, m]
    return y


@pytest.mark.parametrize("sample", get("conv2d").samples(), ids=lambda s: str(s.arrays[1].shape))
def test_conv2d_is_its_definition(sample: Sample) -> None:
    x, w = (array.astype(np.float64) for array in sample.arrays)
    attrs = dict(sample.attrs)
    meaning = get("conv2d").meaning
    assert meaning is not None
    np.testing.assert_allclose(meaning(x, w, **attrs), convolve_in_loops(x, w, attrs), atol=1e-12)


def test_taps_on_padding_are_not_multiplied() -> None:
    """With an infinite weight at the corner, padding would give NaN."""
    w = np.zeros((1, 1, 3, 3), np.float32)
    w[0, 0, 0, 0] = np.inf
    sample = Sample((np.ones((1, 1, 3, 3), np.float32), w), options(padding=(1, 1)))
    (y,) = run_naive("conv2d", sample)
    expected = np.zeros((1, 1, 3, 3))
    expected[0, 0, 1:, 1:] = np.inf
    np.testing.assert_array_equal(y, expected)
    meaning = get("conv2d").meaning
    assert meaning is not None
    np.testing.assert_array_equal(meaning(*sample.arrays, **sample.attrs), expected)


def lowered(op: str, sample: Sample) -> Expr:
    (node,) = graph_of(op, sample).nodes
    lower = get(op).lower
    assert lower is not None
    rank = node.result.type.rank
    value = lower(NodeContext(node), tuple(variable(f"i{axis}") for axis in range(rank)))
    assert not isinstance(value, tuple)
    return value


@pytest.mark.parametrize(
    ("op", "extents"),
    [
        ("matmul", [5]),
        ("conv2d", [3, 2, 4]),
        ("conv2d_input_grad", [3, 2, 6]),
        ("conv2d_weight_grad", [2, 5, 7]),
    ],
)
def test_a_contraction_is_one_dot_with_its_axes_in_order(op: str, extents: list[int]) -> None:
    x, w, dy = real((2, 4, 7, 8)), real((6, 4, 3, 2)), real((2, 6, 5, 7))
    sample = {
        "matmul": Sample((real((3, 5)), real((5, 2)))),
        "conv2d": Sample((x, w), options()),
        "conv2d_input_grad": Sample((dy, w), options(input_size=(7, 8))),
        "conv2d_weight_grad": Sample((x, dy), options(kernel_size=(3, 2))),
    }[op]
    value = lowered(op, sample)
    assert isinstance(value, Reduce) and value.combine == "dot" and len(value.body) == 2
    assert [axis.extent for axis in value.axes] == extents
    unguarded = value.where is None
    assert unguarded == (op != "conv2d_input_grad")
    assert "floordiv" not in repr(value)


def test_integers_multiply_exactly() -> None:
    a, b = np.array([[2**40, -3]]), np.array([[3], [5]])
    (y,) = run_naive("matmul", Sample((a, b)))
    assert y.tolist() == [[3 * 2**40 - 15]]


def test_the_gradient_of_a_shared_matrix_is_one_product() -> None:
    """For a[B, M, K] and b[K, N], db is one product over B * M rows, not B products."""
    a, b = (Value(TensorType(shape, dtypes.float32)) for shape in ((4, 3, 5), (5, 2)))
    node = make_node("matmul", (a, b))
    builder = Builder()
    vjp = get("matmul").vjp
    assert vjp is not None
    _, db = vjp(builder, node, [Value(node.result.type)])
    products = [n.operands[0].shape for n in builder.nodes if n.op == "matmul" and n.result is db]
    assert products == [(5, 12)]


def type_of(*shape: int, dtype: dtypes.DType = dtypes.float32) -> TensorType:
    return TensorType(shape, dtype)


@pytest.mark.parametrize(
    ("op", "types", "attrs", "error", "words"),
    [
        (
            "conv2d",
            (type_of(1, 3, 8, 8), type_of(4, 1, 3, 3)),
            options(),
            ShapeError,
            "conv2d: input has 3 channels, weight expects 1",
        ),
        (
            "conv2d",
            (type_of(1, 4, 8, 8), type_of(4, 1, 3, 3)),
            options(groups=2),
            ShapeError,
            "conv2d: input has 4 channels, weight expects 1 x 2 groups",
        ),
        (
            "conv2d",
            (type_of(1, 4, 8, 8), type_of(3, 2, 3, 3)),
            options(groups=2),
            ShapeError,
            "3 filters do not divide into 2 groups",
        ),
        ("conv2d", (type_of(3, 8, 8), type_of(4, 3, 3, 3)), options(), ShapeError, "f32[3,8,8]"),
        (
            "conv2d",
            (type_of(1, 3, 8, 8), type_of(4, 3, 3, 3, dtype=dtypes.float64)),
            options(),
            DTypeError,
            "one float type",
        ),
        (
            "conv2d",
            (type_of(1, 3, 2, 8), type_of(4, 3, 3, 3)),
            options(),
            ShapeError,
            "does not fit into height 2",
        ),
        (
            "conv2d",
            (type_of(1, 3, 8, 8), type_of(4, 3, 3, 3)),
            options(groups=0),
            ArgumentError,
            "groups is 0",
        ),
        (
            "conv2d_input_grad",
            (type_of(1, 4, 5, 6), type_of(4, 3, 3, 3)),
            options(input_size=(8, 8)),
            ShapeError,
            "cotangent has shape (1, 4, 5, 6), the convolution gives (1, 4, 6, 6)",
        ),
        ("matmul", (type_of(2, 3), type_of(4, 5)), {}, ShapeError, "has 3 columns"),
        ("matmul", (type_of(3), type_of(3, 5)), {}, ShapeError, "at least two dimensions"),
        ("matmul", (type_of(2, 4, 3), type_of(3, 3, 5)), {}, ShapeError, "do not broadcast"),
        (
            "matmul",
            (type_of(2, 3), type_of(3, 5, dtype=dtypes.int64)),
            {},
            DTypeError,
            "numbers of one type",
        ),
    ],
)
def test_operands_that_do_not_fit(
    op: str, types: tuple[TensorType, ...], attrs: Any, error: type[GraphcError], words: str
) -> None:
    with pytest.raises(error) as caught:
        make_node(op, [Value(type) for type in types], attrs)
    assert words in str(caught.value)
