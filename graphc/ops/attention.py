"""Attention: softmax(scale Q Kᵀ + mask) V as one operator, with masks and dropout inside.

Its second result, the logarithm of the sum of each row's exponentials, is all that the backward
needs to make the probabilities anew (Dao et al., arXiv:2205.14135). What stands between the two
products are options (a mask, causal order, dropout) and no sub-graph: a kernel leaves whole blocks
out for them, which it could not read off a graph, and other functions of the scores are rare.
A row that looks at no key gives zeros, and its log-sum-exp is -inf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc import dtypes
from graphc.ir import Node, TensorType, Value
from graphc.ops import attention_parts as parts
from graphc.ops.attention_nest import attention_nest
from graphc.ops.attention_parts import Attention
from graphc.ops.attention_samples import samples
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, Regions, Types, define
from graphc.ops.numerics import NumpyArray, widened
from graphc.ops.random import threefry

_OPTIONS = ("scale", "causal", "mask", "dropout", "stream")


def infer(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """Output [B, H, L, V] and log-sum-exp [B, H, L]."""
    attention = parts.expect("attention", types, attrs)
    dtype = types[0].dtype
    return (
        TensorType(attention.output_shape, dtype),
        TensorType(attention.scores_shape[:3], dtype),
    )


# Meaning


@widened
def meaning(*operands: NumpyArray, **attrs: Any) -> tuple[NumpyArray, NumpyArray]:
    attention = parts.read([type_of(x) for x in operands], attrs)
    found = masked_scores(operands, attention)
    greatest = np.max(found, -1, keepdims=True, initial=-np.inf)
    powers = np.exp(found - np.where(greatest == -np.inf, 0, greatest))
    total = powers.sum(-1, keepdims=True)
    p = powers / np.where(total == 0, 1, total) * dropout_factors(operands, attention)
    lse = np.where(greatest == -np.inf, 0, greatest) + np.log(total)
    return p @ spread(operands[2], attention), lse[..., 0]


def masked_scores(operands: Sequence[NumpyArray], attention: Attention) -> NumpyArray:
    """[B, H, L, S], -inf where a key is not looked at."""
    q, k = operands[0], spread(operands[1], attention)
    found = attention.scale * (q @ np.swapaxes(k, -1, -2))
    if attention.mask:
        mask = operands[3]
        found = np.where(mask, found, -np.inf) if mask.dtype == bool else found + mask
    if attention.causal:
        earlier = np.tri(attention.queries, attention.keys, dtype=bool)
        found = np.where(earlier, found, -np.inf)
    return np.asarray(found)


def spread(x: NumpyArray, attention: Attention) -> NumpyArray:
    return np.repeat(x, attention.group, axis=1)


def dropout_factors(operands: Sequence[NumpyArray], attention: Attention) -> NumpyArray:
    """D: 0 for dropped probabilities, else 1/(1 - p), as `random_uniform` with `ge` draws them."""
    if not attention.dropout:
        return np.ones((), np.float64)
    key = operands[attention.key_position]
    counters = np.arange(math.prod(attention.scores_shape), dtype=np.uint32)
    words = threefry(key, counters, np.full(1, attention.stream, np.uint32))[0]
    chance = (words >> np.uint32(8)) * 2.0**-24
    kept = chance.reshape(attention.scores_shape) >= np.float32(attention.dropout)
    return np.where(kept, 1 / (1 - attention.dropout), 0)


def type_of(x: NumpyArray) -> TensorType:
    return TensorType(x.shape, dtypes.get(x.dtype))


# In primitives


def decompose(b: Builder, node: Node) -> Sequence[Value]:
    """The scores in memory, and a softmax that is zero where nothing is looked at."""
    attention = parts.of(node)
    q, k, v = node.operands[:3]
    mask, key = parts.optional(node, attention)
    found = parts.scores(b, q, parts.spread_heads(b, k, attention), mask, attention)
    greatest = b.op("stop_gradient", b.max(found, (3,)))
    nothing = b.compare("eq", greatest, b.like(-math.inf, greatest))
    base = b.where(nothing, b.zeros(greatest.type), greatest)
    powers = b.exp(b.sub(found, b.expand(base, (3,), found.shape)))
    total = b.sum(powers, (3,))
    empty = b.compare("eq", total, b.zeros(total.type))
    divisor = b.where(empty, b.like(1, total), total)
    p = b.div(powers, b.expand(divisor, (3,), found.shape))
    p = parts.dropped(b, p, key, attention)
    lse = b.where(empty, b.like(-math.inf, total), b.add(base, b.log(divisor)))
    return b.matmul(p, parts.spread_heads(b, v, attention)), lse


# Derivative


def vjp(b: Any, node: Node, cotangents: Cotangents) -> Cotangents:
    """dS = P ∘ (dP - δ) with δ = Σ dO ∘ O - d(lse): see `attention_grad`."""
    attention = parts.of(node)
    output, lse = node.results
    dy, dlse = cotangents
    dy = b.zeros(output.type) if dy is None else dy
    delta = b.sum(b.mul(dy, output), (3,))
    if dlse is not None:
        delta = b.sub(delta, dlse)
    attrs = {name: node.attrs[name] for name in _OPTIONS}
    dq, dk, dv = b.emit("attention_grad", (*node.operands, lse, delta, dy), attrs)
    rest: list[Value | None] = [None] * (attention.operands - 3)
    if attention.mask and b.wants(node.operands[3]):
        rest[0] = parts.mask_gradient(b, (*node.operands, lse, delta, dy), attention)
    return dq, dk, dv, *rest


define(
    "attention",
    infer=infer,
    meaning=meaning,
    vjp=vjp,
    decompose=decompose,
    nest=attention_nest,
    samples=samples,
    reduction=True,
    max_ulp=32,
)
