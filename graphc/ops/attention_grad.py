"""The gradient of attention, from the log-sum-exp of each row instead of the probabilities.

    P = exp(scores - lse)                  dV = (P ∘ D)ᵀ dO
    dP = (dO Vᵀ) ∘ D                       dS = P ∘ (dP - δ)
    dQ = scale dS K                        dK = scale dSᵀ Q

δ is a row's Σ P dP = Σ dO O, less the cotangent of its log-sum-exp. Dao et al., arXiv:2205.14135.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.ops import attention_parts as parts
from graphc.ops.attention import dropout_factors, masked_scores, spread, type_of
from graphc.ops.attention_grad_nest import attention_grad_nest
from graphc.ops.attention_parts import Attention
from graphc.ops.attention_samples import grad_samples
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Regions, Types, define
from graphc.ops.numerics import NumpyArray, widened
from graphc.ops.rules import describe


def infer(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """dq, dk, dv; operands are attention's, then lse[B,H,L], delta[B,H,L] and dy[B,H,L,V]."""
    attention = parts.expect("attention_grad", types, attrs, more=3)
    dtype = types[0].dtype
    rows = TensorType(attention.scores_shape[:3], dtype)
    expected = (rows, rows, TensorType(attention.output_shape, dtype))
    if tuple(types[-3:]) != expected:
        raise ShapeError(
            f"attention_grad: lse, delta and dy are {describe(types[-3:])}, expected "
            f"{describe(expected)}"
        )
    return types[:3]


# Meaning


@widened
def meaning(*operands: NumpyArray, **attrs: Any) -> tuple[NumpyArray, ...]:
    attention = parts.read([type_of(x) for x in operands], attrs)
    q, k, v = operands[0], *(spread(x, attention) for x in operands[1:3])
    lse, delta, dy = operands[-3:]
    p = np.exp(
        masked_scores(operands, attention) - np.where(lse == -np.inf, np.inf, lse)[..., None]
    )
    factors = dropout_factors(operands, attention)
    dp = (dy @ np.swapaxes(v, -1, -2)) * factors
    ds = p * (dp - delta[..., None]) * attention.scale
    dk, dv = np.swapaxes(ds, -1, -2) @ q, np.swapaxes(p * factors, -1, -2) @ dy
    return ds @ k, _gathered(dk, attention), _gathered(dv, attention)


def _gathered(x: NumpyArray, attention: Attention) -> NumpyArray:
    batch, _, rows, width = x.shape
    split = x.reshape(batch, attention.key_heads, attention.group, rows, width)
    return np.asarray(split.sum(2))


# In primitives


def decompose(b: Builder, node: Node) -> Sequence[Value]:
    attention = parts.of(node)
    q, k, _ = node.operands[:3]
    p, ds = parts.score_gradient(b, node.operands, attention)
    keys = parts.spread_heads(b, k, attention)
    dq = b.scale(b.matmul(ds, keys), attention.scale)
    dk = b.scale(b.matmul(b.swap(ds), q), attention.scale)
    _, random_key = parts.optional(node, attention)
    used = parts.dropped(b, p, random_key, attention)
    dv = b.matmul(b.swap(used), node.operands[-1])
    return dq, parts.gather_heads(b, dk, attention), parts.gather_heads(b, dv, attention)


define(
    "attention_grad",
    infer=infer,
    meaning=meaning,
    decompose=decompose,
    nest=attention_grad_nest,
    samples=grad_samples,
    reduction=True,
    max_ulp=128,  # an exponential of s has about s times the error of s
)
