"""What the generated tests run conv_pool2d on."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ops.define import Sample
from graphc.ops.samples import real

# x, w, (stride, padding, dilation, groups), window, its stride
_Pair = tuple[int, int]
_Case = tuple[tuple[int, ...], tuple[int, ...], tuple[int, int, int, int], _Pair, _Pair]
_CASES: tuple[_Case, ...] = (
    ((2, 3, 6, 6), (4, 3, 3, 3), (1, 0, 1, 1), (2, 2), (2, 2)),
    ((1, 2, 6, 8), (3, 2, 3, 2), (1, 1, 1, 1), (2, 3), (2, 3)),
    ((1, 4, 9, 7), (2, 2, 2, 3), (2, 1, 1, 2), (2, 2), (3, 2)),
    ((2, 1, 8, 8), (2, 1, 2, 2), (1, 0, 2, 1), (3, 3), (3, 3)),
    ((1, 3, 3, 5), (2, 3, 1, 1), (1, 0, 1, 1), (1, 1), (1, 2)),
    ((0, 2, 6, 6), (2, 2, 3, 3), (1, 0, 1, 1), (2, 2), (2, 2)),
)
_KINDS = (
    ("max", "relu"),
    ("max", "none"),
    ("max", "tanh"),
    ("max", "sigmoid"),
    ("max", "leaky_relu"),
    ("average", "relu"),
    ("average", "none"),
)


def block_samples() -> list[Sample]:
    """Every geometry with max of relu, every kind with some; with and without a bias; NaN."""
    found = [_sample(case, "max", "relu", number % 2 == 0) for number, case in enumerate(_CASES)]
    for number, (pool, activation) in enumerate(_KINDS[1:]):
        found += [_sample(_CASES[(number + k) % 6], pool, activation, k > 0) for k in range(3)]
    return [*found, _special("max", "relu"), _special("max", "none"), _special("average", "relu")]


def _sample(case: _Case, pool: str, activation: str, bias: bool) -> Sample:
    x, w, _, _, _ = case
    scale = 0.25 if activation in ("tanh", "sigmoid") else 2.0  # no ties where they saturate
    arrays = [real(x, -scale, scale, seed=1), real(w, seed=2)]
    if bias:
        arrays.append(real((w[0],), seed=3))
    return Sample(tuple(arrays), _attrs(case, pool, activation))


def _attrs(case: _Case, pool: str, activation: str) -> dict[str, Any]:
    _, _, (stride, padding, dilation, groups), kernel, pool_stride = case
    attrs: dict[str, Any] = {
        "stride": (stride, stride),
        "padding": (padding, padding),
        "dilation": (dilation, dilation),
        "groups": groups,
        "kernel": kernel,
        "pool_stride": pool_stride,
        "pool": pool,
        "activation": activation,
    }
    return {**attrs, "slope": 0.1} if activation == "leaky_relu" else attrs


def _special(pool: str, activation: str) -> Sample:
    """NaN, infinities, ties and zeros of both signs, through a 1 x 1 convolution."""
    values = np.round(real((2, 1, 8, 8), seed=4))
    values[0, 0, 0:3, 1:4] = np.nan
    values[0, 0, 4:6, :4] = np.inf
    values[0, 0, 6:, :4] = -np.inf
    values[1, 0, :4] = -0.0
    weight = np.ones((1, 1, 1, 1), np.float32)
    case: _Case = (values.shape, weight.shape, (1, 0, 1, 1), (2, 2), (2, 2))
    return Sample((values, weight), _attrs(case, pool, activation), (), False)
