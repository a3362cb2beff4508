"""Activations, normalisations, convolutions, pooling and padding against direct NumPy."""

import math

import numpy as np
import pytest
from traced import check, normal, run_with_updates

import graphc
import graphc.functional as F
from graphc import nn
from graphc.errors import ArgumentError, ShapeError

X = normal(3, 6) * 2
E = X.astype(np.float64)
SIGMOID = 1 / (1 + np.exp(-E))
SOFTPLUS = np.log1p(np.exp(E))
ERF = np.vectorize(math.erf)(E / math.sqrt(2))
TANH_GELU = 0.5 * E * (1 + np.tanh(math.sqrt(2 / math.pi) * (E + 0.044715 * E**3)))

ACTIVATIONS = {
    "relu": np.maximum(E, 0),
    "relu6": np.clip(E, 0, 6),
    "leaky_relu": np.where(E > 0, E, 0.01 * E),
    "elu": np.where(E > 0, E, np.expm1(E)),
    "selu": 1.0507009873554805 * np.where(E > 0, E, 1.6732632423543772 * np.expm1(E)),
    "celu": np.where(E > 0, E, np.expm1(E)),
    "gelu": 0.5 * E * (1 + ERF),
    "silu": E * SIGMOID,
    "mish": E * np.tanh(SOFTPLUS),
    "softplus": SOFTPLUS,
    "sigmoid": SIGMOID,
    "logsigmoid": np.log(SIGMOID),
    "tanh": np.tanh(E),
    "hardtanh": np.clip(E, -1, 1),
    "hardsigmoid": np.clip(E + 3, 0, 6) / 6,
    "hardswish": E * np.clip(E + 3, 0, 6) / 6,
    "softsign": E / (1 + abs(E)),
    "softmax": np.exp(E) / np.exp(E).sum(-1, keepdims=True),
    "log_softmax": E - np.log(np.exp(E).sum(-1, keepdims=True)),
    "softmin": np.exp(-E) / np.exp(-E).sum(-1, keepdims=True),
    "glu": E[:, :3] * SIGMOID[:, 3:],
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    check(getattr(F, name), ACTIVATIONS[name].astype(np.float32), X)


def test_options_of_activations():
    check(lambda x: F.gelu(x, "tanh"), TANH_GELU.astype(np.float32), X)
    check(lambda x: F.elu(x, 0.5), np.where(E > 0, E, 0.5 * np.expm1(E)).astype(np.float32), X)
    check(lambda x: F.softmax(x, 0), (np.exp(E) / np.exp(E).sum(0)).astype(np.float32), X)
    check(lambda x: F.softmax(x, 0, "float64"), np.exp(E) / np.exp(E).sum(0), X)
    slopes = np.float32([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    check(F.prelu, np.where(E > 0, E, slopes * E).astype(np.float32), X, slopes)
    check(F.softplus, np.float32([0, 40]), np.float32([-200, 40]))


def standardised(x, axes, eps=1e-5):
    x = x.astype(np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def test_layer_group_and_rms_norm():
    x, w, b = normal(2, 6, 4), normal(6, 4, seed=1), normal(6, 4, seed=2)
    expected = standardised(x, (1, 2)) * w + b
    check(lambda x, w, b: F.layer_norm(x, (6, 4), w, b), expected.astype(np.float32), x, w, b)
    check(lambda x: F.layer_norm(x, 4), standardised(x, 2).astype(np.float32), x)
    check(lambda x, b: F.layer_norm(x, 4, None, b), (standardised(x, 2) + b[0]).astype(np.float32),
          x, b[0])  # fmt: skip
    groups = standardised(x.reshape(2, 3, 8), 2).reshape(x.shape)
    expected = groups * w[:, :1] + b[:, :1]
    check(
        lambda x, w, b: F.group_norm(x, 3, w, b), expected.astype(np.float32), x, w[:, 0], b[:, 0]
    )
    rms = x / np.sqrt((x.astype(np.float64) ** 2).mean(2, keepdims=True) + 0.1)
    check(lambda x, w: F.rms_norm(x, 4, w, 0.1), (rms * w[0]).astype(np.float32), x, w[0])


def test_batch_norm_trains_and_updates_its_buffers():
    x = normal(4, 3, 2, 2)
    model = nn.BatchNorm2d(3)
    found, updates = run_with_updates(model, x)
    np.testing.assert_allclose(found, standardised(x, (0, 2, 3)), rtol=1e-4, atol=1e-5)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(updates["running_mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(updates["running_var"], 0.9 + 0.1 * var, rtol=1e-4)
    assert updates["num_batches_tracked"] == 1
    model(x)
    np.testing.assert_allclose(model.running_mean, 0.1 * mean, rtol=1e-4, atol=1e-6)
    expected = (x - model.running_mean[:, None, None]) / np.sqrt(
        model.running_var[:, None, None] + 1e-5
    )
    np.testing.assert_allclose(model.eval()(x), expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_without_momentum_averages_all_batches():
    model = nn.BatchNorm1d(2, momentum=None)
    batches = [normal(8, 2, seed=seed) for seed in range(3)]
    for batch in batches:
        model(batch)
    mean = np.mean([batch.mean(0) for batch in batches], 0)
    np.testing.assert_allclose(model.running_mean, mean, rtol=1e-4, atol=1e-6)


def convolved(x, w, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """conv2d by its definition, one output at a time."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2])
    n, _, h, width = x.shape
    o, per_group, kh, kw = w.shape
    oh = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, oh, ow))
    for out in range(o):
        first = out // (o // groups) * per_group
        for i in range(oh):
            for j in range(ow):
                rows = slice(i * stride[0], i * stride[0] + dilation[0] * (kh - 1) + 1, dilation[0])
                cols = slice(j * stride[1], j * stride[1] + dilation[1] * (kw - 1) + 1, dilation[1])
                window = x[:, first : first + per_group, rows, cols]
                y[:, out, i, j] = (window * w[out]).sum((1, 2, 3))
    return y.astype(np.float32)


def test_conv2d():
    x, w, b = normal(2, 4, 7, 6), normal(6, 2, 3, 2, seed=1), normal(6, seed=2)
    expected = convolved(x, w, (2, 1), (1, 2), (2, 1), 2) + b[:, None, None]
    check(lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 2), (2, 1), 2), expected, x, w, b)
    dense = normal(6, 4, 3, 2, seed=1)
    same = convolved(np.pad(x, [(0, 0), (0, 0), (0, 0), (0, 1)]), dense, padding=(1, 0))
    check(lambda x, w: F.conv2d(x, w, padding="same"), same, x, dense)
    check(lambda x, w: F.conv2d(x, w), convolved(x[:1], dense)[0], x[0], dense)


def test_conv1d():
    x, w = normal(2, 4, 9), normal(6, 4, 3, seed=1)
    expected = convolved(x[:, :, None], w[:, :, None], (1, 2), (0, 1))[:, :, 0]
    check(lambda x, w: F.conv1d(x, w, stride=2, padding=1), expected, x, w)


def test_max_pool():
    x = normal(2, 3, 6, 6)
    blocks = x.reshape(2, 3, 3, 2, 3, 2).transpose(0, 1, 2, 4, 3, 5).reshape(2, 3, 3, 3, 4)
    check(lambda x: F.max_pool2d(x, 2), blocks.max(-1), x)
    tap = blocks.argmax(-1)
    rows, columns = np.indices((3, 3))
    where = (2 * rows + tap // 2) * 6 + 2 * columns + tap % 2
    check(lambda x: F.max_pool2d(x, 2, return_indices=True), (blocks.max(-1), where), x)
    check(lambda x: F.max_pool2d(x, 2), blocks[0].max(-1), x[0])


def test_average_pools():
    x = normal(2, 3, 6, 6)
    means = x.reshape(2, 3, 3, 2, 3, 2).mean((3, 5))
    check(lambda x: F.avg_pool2d(x, 2), means, x)
    check(lambda x: F.adaptive_avg_pool2d(x, (3, None)), x.reshape(2, 3, 3, 2, 6).mean(3), x)
    check(lambda x: F.adaptive_avg_pool2d(x, 1), x.mean((2, 3), keepdims=True), x)
    check(lambda x: F.avg_pool2d(x, 2, divisor_override=3), means * np.float32(4 / 3), x)


@pytest.mark.parametrize(
    "mode, numpy_mode",
    [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")],
)
def test_pad(mode, numpy_mode):
    x = normal(2, 3, 4)
    check(
        lambda x: F.pad(x, (1, 2, 0, 1), mode),
        np.pad(x, [(0, 0), (0, 1), (1, 2)], numpy_mode), x,
    )  # fmt: skip


def test_pad_by_a_value_and_cut():
    x = normal(2, 3, 4)
    expected = np.pad(x, [(0, 0), (0, 0), (0, 2)], constant_values=7)[..., 1:]
    check(lambda x: F.pad(x, (-1, 2), value=7), expected, x)


def test_linear_bilinear_and_normalize():
    x, w, b = normal(2, 3, 4), normal(5, 4, seed=1), normal(5, seed=2)
    check(F.linear, x @ w.T + b, x, w, b)
    y, cube = normal(2, 3, 6, seed=3), normal(5, 4, 6, seed=4)
    check(F.bilinear, np.einsum("nti,oij,ntj->nto", x, cube, y), x, y, cube, rtol=1e-4, atol=1e-5)
    norm = np.sqrt((x**2).sum(1, keepdims=True))
    check(F.normalize, x / norm, x)
    check(lambda x: F.vector_norm(x, 3, 0), (abs(x) ** 3).sum(0) ** (1 / np.float32(3)), x)
    check(lambda x: F.vector_norm(x, np.inf), abs(x).max(), x)


@pytest.mark.parametrize(
    "function, error, text",
    [
        (lambda x: F.linear(x, F.ones((5, 3))), ShapeError, "linear: input f32"),
        (lambda x: F.conv2d(x[0, 0], F.ones((1, 1, 3, 3))), ShapeError, "conv2d: input is f32"),
        (lambda x: F.conv2d(x, F.ones((1, 3, 3, 3)), None, 2, "same"), ArgumentError, "stride 1"),
        (lambda x: F.conv2d(x, F.ones((1, 3, 3, 3)), F.ones(2)), ShapeError, "bias is"),
        (lambda x: F.max_pool2d(x, (1, 2, 3)), ArgumentError, "one integer or two"),
        (lambda x: F.layer_norm(x, 7), ShapeError, "does not end in"),
        (lambda x: F.layer_norm(x, 8, F.ones(3)), ShapeError, "weight is"),
        (lambda x: F.group_norm(x, 2), ShapeError, "2 groups"),
        (lambda x: F.batch_norm(x, F.ones(4), F.ones(4)), ShapeError, "3 channels"),
        (lambda x: F.pad(x, (1,)), ArgumentError, "two a dimension"),
        (lambda x: F.pad(x, (9, 0), "reflect"), ShapeError, "takes 0 to 7"),
        (lambda x: F.pad(x, (1, 1), "mirror"), ArgumentError, "mode is 'mirror'"),
        (lambda x: F.dropout(x, 1.5), ArgumentError, "p is 1.5"),
        (lambda x: F.gelu(x, "sigmoid"), ArgumentError, "approximate"),
    ],
)  # fmt: skip
def test_errors_name_what_was_given_and_the_line(function, error, text):
    with pytest.raises(error, match=text) as raised:
        graphc.trace(function, graphc.Spec((2, 3, 8, 8)))
    assert "(test_traced_layers.py:" in str(raised.value)
