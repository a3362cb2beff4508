"""scaled_dot_product_attention, with torch.nn.functional's arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.dtypes import bool_, float32
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.tracing.convert import ArrayLike, as_tensor, cast, emit
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_elementwise import add, exp, multiply, subtract
from graphc.frontends.tracing.functional_logic import equal, greater_equal, where
from graphc.frontends.tracing.functional_products import matmul, same_type
from graphc.frontends.tracing.functional_shapes import (
    broadcast_to,
    expand_dims,
    repeat,
    reshape,
    swapaxes,
)
from graphc.frontends.tracing.recorder import current
from graphc.frontends.tracing.tensor import Tensor


@face()
def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale Q Kᵀ + mask) V of query[…, H, L, E], key[…, Hk, S, E], value[…, Hk, S, V].

    attn_mask   broadcasts to […, H, L, S]: bool, true where a key is looked at, or float, added
    dropout_p   chance that a probability is dropped, always (as torch's: pass 0 in evaluation)
    is_causal   query i looks at keys 0 … i
    scale       1 / sqrt(E) where it is None
    enable_gqa  H may be a multiple of Hk; query head h reads key head h // (H / Hk)

    Leading dimensions may be missing, or more. A query that may look at no key gives zeros, where
    torch's is not a number on some of its paths. Raises ShapeError for shapes that do not fit.
    """
    q, k, v = same_type(query, key, value)
    _expect_operands(q, k, v, enable_gqa)
    mask = None if attn_mask is None else as_tensor(attn_mask)
    chosen = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else float(scale)
    return attend(q, k, v, mask, float(dropout_p), bool(is_causal), chosen).output


@dataclass(frozen=True)
class Attended:
    """An attention in the trace: its output, and what its probabilities can be made of."""

    output: Tensor
    operands: tuple[Tensor, ...]
    attrs: dict[str, Any]
    lse: Tensor
    all_dropped: bool

    def weights(self) -> Tensor:
        """The probabilities [B, H, L, S] that met the values: after dropout."""
        q, k = self.operands[:2]
        group = q.shape[1] // max(k.shape[1], 1)
        scores = multiply(matmul(q, swapaxes(repeat(k, group, 1), 2, 3)), self.attrs["scale"])
        scores = self._masked(scores)
        base = where(equal(self.lse, -math.inf), math.inf, self.lse)
        weights = exp(subtract(scores, expand_dims(base, -1)))
        if self.all_dropped:
            return multiply(weights, 0)
        if not self.attrs["dropout"]:
            return weights
        draw = {"shape": weights.shape, "dtype": float32, "stream": self.attrs["stream"]}
        chance = emit("random_uniform", self.operands[-1], **draw)
        share = 1 / (1 - self.attrs["dropout"])
        kept = greater_equal(chance, self.attrs["dropout"])
        return where(kept, multiply(weights, share), 0)

    def _masked(self, scores: Tensor) -> Tensor:
        if self.attrs["mask"]:
            mask = self.operands[3]
            is_bool = mask.dtype == bool_
            scores = where(mask, scores, -math.inf) if is_bool else add(scores, mask)
        if self.attrs["causal"]:
            earlier = np.tril(np.ones(scores.shape[-2:], np.bool_))
            scores = where(earlier, scores, -math.inf)
        return scores


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout: float,
    causal: bool,
    scale: float,
) -> Attended:
    """Attention of tensors of one type that fit; see `scaled_dot_product_attention`."""
    if not 0 <= dropout <= 1:
        raise ArgumentError(f"scaled_dot_product_attention: dropout_p is {dropout}; not 0 to 1")
    shape = (*q.shape[:-1], v.shape[-1])
    operands = [_four(tensor) for tensor in (q, k, v)]
    if mask is not None:
        operands.append(_mask(mask, q, k))
    # A rate of 1 would divide by 0: all is dropped after a pass without.
    rate = 0.0 if dropout == 1 else dropout
    attrs: dict[str, Any] = {"scale": scale, "causal": causal, "mask": mask is not None}
    attrs |= {"dropout": rate, "stream": 0}
    if rate > 0:
        attrs["stream"] = current().session.next_stream()
        operands.append(current().key())
    output, lse = current().emit("attention", operands, attrs)
    if dropout == 1:
        output = multiply(output, 0)
    return Attended(reshape(output, shape), tuple(operands), attrs, lse, dropout == 1)


def _expect_operands(q: Tensor, k: Tensor, v: Tensor, grouped: bool) -> None:
    found = f"query {q.type}, key {k.type}, value {v.type}"
    if any(x.ndim < 2 or x.ndim != q.ndim or not x.dtype.is_float for x in (q, k, v)):
        raise ShapeError(
            f"scaled_dot_product_attention: {found}; expected floats of one rank, 2 or more"
        )
    heads = 1 if q.ndim == 2 else q.shape[-3]
    key_heads = 1 if k.ndim == 2 else k.shape[-3]
    alike = q.shape[:-3] == k.shape[:-3] and k.shape[:-1] == v.shape[:-1]
    if not alike or q.shape[-1] != k.shape[-1]:
        raise ShapeError(
            f"scaled_dot_product_attention: {found}; expected […,H,L,E], […,H,S,E], […,H,S,V]"
        )
    if heads != key_heads and not (grouped and key_heads and heads % key_heads == 0):
        hint = "a multiple" if grouped else "as many (or enable_gqa=True)"
        raise ShapeError(
            f"scaled_dot_product_attention: {heads} query heads for {key_heads} key heads; "
            f"expected {hint}"
        )


def _four(x: Tensor) -> Tensor:
    """[…, H, L, E] as [B, H, L, E]."""
    heads = 1 if x.ndim == 2 else x.shape[-3]
    batch = math.prod(x.shape[:-3])
    return reshape(x, (batch, heads, *x.shape[-2:]))


def _mask(mask: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """A mask as [B or 1, H or 1, L or 1, S or 1]."""
    scores = (*q.shape[:-1], k.shape[-2])
    wide = (1,) * (len(scores) - mask.ndim) + mask.shape
    fits = len(wide) == len(scores) and all(n in (1, m) for n, m in zip(wide, scores, strict=True))
    if not fits:
        raise ShapeError(
            f"scaled_dot_product_attention: attn_mask is {mask.type}; it does not broadcast to "
            f"{list(scores)}"
        )
    if mask.dtype != bool_:
        if not mask.dtype.is_float:
            raise ArgumentError(
                f"scaled_dot_product_attention: attn_mask is {mask.type}; expected bool or float"
            )
        mask = cast(mask, q.dtype)
    leading = wide[:-3]
    if any(n != 1 for n in leading) and leading != scores[:-3]:
        wide = (*scores[:-3], *wide[-3:])
        mask = broadcast_to(reshape(mask, (1,) * (len(wide) - mask.ndim) + mask.shape), wide)
    heads = 1 if len(wide) == 2 else wide[-3]
    return reshape(mask, (math.prod(wide[:-3]), heads, *wide[-2:]))
