"""What the attention operators are tried on: every mask, odd lengths, one key, no key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.ops.define import Sample
from graphc.ops.numerics import NumpyArray
from graphc.ops.samples import real, truth

_KEY = np.array([0x243F6A88, 0x85A308D3], np.uint32)


def options(**changed: Any) -> dict[str, Any]:
    plain = {"scale": 0.6, "causal": False, "mask": False, "dropout": 0.0, "stream": 3}
    return plain | changed


def operands(
    batch: int, heads: int, key_heads: int, lengths: tuple[int, int], widths: tuple[int, int]
) -> tuple[NumpyArray, ...]:
    queries, keys = lengths
    return (
        real((batch, heads, queries, widths[0]), seed=1),
        real((batch, key_heads, keys, widths[0]), seed=2),
        real((batch, key_heads, keys, widths[1]), seed=3),
    )


def samples() -> Sequence[Sample]:
    """Small ones that are differentiated, and blocks of every kind that are not."""
    small = operands(1, 2, 2, (3, 4), (2, 3))
    grouped = operands(1, 4, 2, (3, 3), (2, 2))
    found = [Sample(arrays, attrs) for arrays, attrs in _plain(small, grouped)]
    found += _masked(small)
    long = operands(1, 2, 1, (70, 133), (5, 17))
    even = operands(1, 1, 1, (64, 128), (16, 16))
    shapes = [long, even, operands(2, 1, 1, (130, 64), (4, 4)), operands(1, 1, 1, (1, 65), (3, 1))]
    found += [Sample(arrays, options(), differentiable=False) for arrays in shapes]
    found += [Sample(arrays, options(causal=True), differentiable=False) for arrays in shapes]
    found += [Sample((*long, _KEY), options(dropout=0.3, causal=True), differentiable=False)]
    return [*found, *_edges()]


def _plain(
    small: tuple[NumpyArray, ...], grouped: tuple[NumpyArray, ...]
) -> list[tuple[tuple[NumpyArray, ...], Mapping[str, Any]]]:
    one = operands(2, 1, 1, (1, 1), (1, 1))
    return [
        (small, options()),
        (small, options(causal=True, scale=1.0)),
        (grouped, options()),
        ((*grouped, _KEY), options(dropout=0.4)),
        (one, options()),
    ]


def _masked(small: tuple[NumpyArray, ...]) -> list[Sample]:
    """Boolean and additive masks of every extent, with dropout; a row that sees nothing."""
    bias = real((1, 2, 3, 4), seed=4)
    padding = np.array([True, True, False, True]).reshape(1, 1, 1, 4)
    blind = truth((1, 1, 3, 4), seed=5)
    blind[0, 0, 1] = False
    masks = [bias, padding, np.ones((1, 2, 3, 1), bool)]
    found = [Sample((*small, mask), options(mask=True)) for mask in masks]
    found.append(Sample((*small, bias[:, :1, :1]), options(mask=True, causal=True)))
    found.append(Sample((*small, padding, _KEY), options(mask=True, dropout=0.5)))
    # The log-sum-exp of a row that sees nothing is -inf, which has no differences.
    return [*found, Sample((*small, blind), options(mask=True), differentiable=False)]


def _edges() -> list[Sample]:
    """No keys, no queries; scores so large that only the greatest counts; NaN."""
    none = operands(1, 1, 1, (2, 0), (2, 2))
    q, k, v = operands(1, 1, 1, (2, 3), (2, 2))
    broken = q.copy()
    broken[0, 0, 1, 0] = np.nan
    return [
        Sample(none, options(), differentiable=False),
        Sample(operands(1, 1, 1, (0, 2), (2, 2)), options(), differentiable=False),
        Sample((q, k, v), options(scale=1e4), differentiable=False),
        Sample((broken, k, v), options(), differentiable=False),
    ]


def grad_samples() -> Sequence[Sample]:
    """Attention's samples with a log-sum-exp near theirs, and any δ and dO; a row of nothing."""
    found = [_with_gradient(sample) for sample in samples()]
    *operands, lse, delta, dy = found[0].arrays
    lse = lse.copy()
    lse[0, 0, 0] = -np.inf
    return [*found, Sample((*operands, lse, delta, dy), found[0].attrs, (), False)]


def _with_gradient(sample: Sample) -> Sample:
    q, k, v = sample.arrays[:3]
    scale = min(float(str(sample.attrs["scale"])), 1.0)
    keys = np.repeat(k, q.shape[1] // k.shape[1], axis=1)
    lse = np.log(np.exp(scale * (q @ np.swapaxes(keys, -1, -2))).sum(-1) + 1e-3)
    delta, dy = real(lse.shape, seed=7), real((*lse.shape, v.shape[3]), seed=8)
    attrs = {**sample.attrs, "scale": scale}
    return Sample((*sample.arrays, lse, delta, dy), attrs, (), sample.differentiable)
