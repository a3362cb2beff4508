"""What the attention operators share: their sizes and options, and scores written in primitives.

    scores = scale Q Kᵀ, then the mask, then causal      -inf where a key is not looked at
    P = softmax(scores)                                   a row without keys is all zeros
    O = (P ∘ D) V                                         D: 0 for dropped elements, else 1/(1 - p)

H query heads share Hk key heads: query head h reads key head h // (H / Hk).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.dtypes import bool_, float32, int64, uint32
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Types
from graphc.ops.random import SECOND_BLOCK
from graphc.ops.rules import describe, expect_dtype
from graphc.ops.samples import FLOATS


@dataclass(frozen=True)
class Attention:
    """The sizes and options of one attention.

    batch B, heads H, key_heads Hk, queries L, keys S, width E of queries and keys, value_width of
    values; the operands after q[B,H,L,E], k[B,Hk,S,E], v[B,Hk,S,V] are, where the options say so,
    a mask[B|1,H|1,L|1,S|1] (bool: true is looked at; float: added to the scores) and a key of
    random numbers u32[2].
    """

    batch: int
    heads: int
    key_heads: int
    queries: int
    keys: int
    width: int
    value_width: int
    scale: float
    causal: bool
    mask: bool
    dropout: float
    stream: int

    @property
    def group(self) -> int:
        """Query heads that share a key head."""
        return self.heads // max(self.key_heads, 1)

    @property
    def scores_shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.heads, self.queries, self.keys

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.heads, self.queries, self.value_width

    @property
    def key_position(self) -> int:
        """Which operand the key of random numbers is."""
        return 4 if self.mask else 3

    @property
    def operands(self) -> int:
        """How many operands q, k, v, mask and key are."""
        return 3 + self.mask + (self.dropout > 0)


def read(types: Types, attrs: Attrs) -> Attention:
    """The attention of operands that `expect` has passed."""
    q, k, v = types[:3]
    return Attention(
        q.shape[0],
        q.shape[1],
        k.shape[1],
        q.shape[2],
        k.shape[2],
        q.shape[3],
        v.shape[3],
        attrs["scale"],
        attrs["causal"],
        attrs["mask"],
        attrs["dropout"],
        attrs["stream"],
    )


def of(node: Node) -> Attention:
    return read([value.type for value in node.operands], node.attrs)


def expect(op: str, types: Types, attrs: Attrs, more: int = 0) -> Attention:
    """The attention. Raises unless operands (`more` after the usual ones) and options fit."""
    count = 3 + attrs["mask"] + (attrs["dropout"] > 0) + more
    if len(types) != count:
        raise ArgumentError(f"{op}: {len(types)} operands were given, {count} expected")
    q, k, v = types[:3]
    expect_dtype(op, q.dtype, FLOATS)
    if any(type.rank != 4 or type.dtype != q.dtype for type in (q, k, v)):
        raise ShapeError(
            f"{op}: operands are {describe((q, k, v))}; expected [B,H,L,E] of one type each"
        )
    _expect_sizes(op, q, k, v)
    attention = read(types, attrs)
    if attention.mask:
        _expect_mask(op, types[3], attention, q)
    if not 0 <= attention.dropout < 1:
        raise ArgumentError(f"{op}: dropout is {attention.dropout}, expected 0 to less than 1")
    if attention.dropout and not 0 <= attention.stream < SECOND_BLOCK:
        raise ArgumentError(f"{op}: stream is {attention.stream}")
    if attention.dropout and types[attention.key_position] != TensorType((2,), uint32):
        raise DTypeError(f"{op}: key is {types[attention.key_position]}, expected u32[2]")
    if attention.dropout and math.prod(attention.scores_shape) > 1 << 32:
        raise ShapeError(f"{op}: more than 2^32 scores cannot be dropped by a counter of 32 bits")
    return attention


def _expect_sizes(op: str, q: TensorType, k: TensorType, v: TensorType) -> None:
    batches = {type.shape[0] for type in (q, k, v)}
    if len(batches) > 1 or k.shape[:3] != v.shape[:3] or q.shape[3] != k.shape[3]:
        raise ShapeError(
            f"{op}: operands are {describe((q, k, v))}; expected q[B,H,L,E], k[B,Hk,S,E] and "
            "v[B,Hk,S,V]"
        )
    if q.shape[1] != k.shape[1] and (k.shape[1] == 0 or q.shape[1] % k.shape[1]):
        raise ShapeError(
            f"{op}: {q.shape[1]} query heads, {k.shape[1]} key heads; expected a multiple"
        )


def _expect_mask(op: str, mask: TensorType, attention: Attention, q: TensorType) -> None:
    if mask.dtype not in (bool_, q.dtype):
        raise DTypeError(f"{op}: mask is {mask}; expected bool or {q.dtype}")
    sizes = attention.scores_shape
    fits = mask.rank == 4 and all(n in (1, m) for n, m in zip(mask.shape, sizes, strict=True))
    if not fits:
        raise ShapeError(f"{op}: mask is {mask}; it does not broadcast to {list(sizes)}")


# Primitives


def spread_heads(b: Builder, x: Value, attention: Attention) -> Value:
    """[B, Hk, S, E] repeated to [B, H, S, E]."""
    batch, heads, rows, width = x.shape
    if attention.group == 1:
        return x
    wide = b.reshape(x, (batch, heads, 1, rows, width))
    wide = b.broadcast(wide, (batch, heads, attention.group, rows, width))
    return b.reshape(wide, (batch, attention.heads, rows, width))


def gather_heads(b: Builder, x: Value, attention: Attention) -> Value:
    """[B, H, S, E] summed to [B, Hk, S, E]: the transpose of `spread_heads`."""
    batch, _, rows, width = x.shape
    if attention.group == 1:
        return x
    split = b.reshape(x, (batch, attention.key_heads, attention.group, rows, width))
    return b.sum(split, (2,))


def scores(b: Builder, q: Value, keys: Value, mask: Value | None, attention: Attention) -> Value:
    """The scores [B, H, L, S] of q and of keys that `spread_heads` gave."""
    found = b.scale(b.matmul(q, b.swap(keys)), attention.scale)
    if mask is not None:
        wide = b.broadcast(mask, found.shape)
        if mask.dtype == bool_:
            found = b.where(wide, found, b.like(-math.inf, found))
        else:
            found = b.add(found, wide)
    if attention.causal:
        found = b.where(_earlier(b, found), found, b.like(-math.inf, found))
    return found


def _earlier(b: Builder, found: Value) -> Value:
    """Where the key's number is at most the query's."""
    query = b.iota(found.shape, 2, int64)
    return b.compare("le", b.iota(found.shape, 3, int64), query)


def dropped(b: Builder, x: Value, key: Value | None, attention: Attention) -> Value:
    """x ∘ D, drawn in float32 for any type of x."""
    if key is None:
        return x
    chance = b.op("random_uniform", key, shape=x.shape, dtype=float32, stream=attention.stream)
    kept = b.compare("ge", chance, b.like(attention.dropout, chance))
    return b.where(kept, b.scale(x, 1 / (1 - attention.dropout)), b.zeros(x.type))


def optional(node: Node, attention: Attention) -> tuple[Value | None, Value | None]:
    """(mask, key) of a node whose operands they are."""
    mask = node.operands[3] if attention.mask else None
    key = node.operands[attention.key_position] if attention.dropout else None
    return mask, key


def score_gradient(
    b: Builder, operands: Sequence[Value], attention: Attention
) -> tuple[Value, Value]:
    """(P, dS), both [B, H, L, S]."""
    q, k, v = operands[:3]
    lse, delta, dy = operands[-3:]
    mask = operands[3] if attention.mask else None
    random_key = operands[attention.key_position] if attention.dropout else None
    found = scores(b, q, spread_heads(b, k, attention), mask, attention)
    # Where nothing is looked at, every score less +inf has the exponential 0.
    nothing = b.compare("eq", lse, b.like(-math.inf, lse))
    base = b.where(nothing, b.like(math.inf, lse), lse)
    p = b.exp(b.sub(found, b.expand(base, (3,), found.shape)))
    dp = b.matmul(dy, b.swap(spread_heads(b, v, attention)))
    dp = dropped(b, dp, random_key, attention)
    return p, b.mul(p, b.sub(dp, b.expand(delta, (3,), dp.shape)))


def mask_gradient(b: Builder, operands: Sequence[Value], attention: Attention) -> Value:
    """dS, summed to the shape of an additive mask."""
    mask = operands[3]
    _, ds = score_gradient(b, operands, attention)
    axes = tuple(d for d in range(4) if mask.shape[d] == 1 and ds.shape[d] != 1)
    return b.reshape(b.sum(ds, axes), mask.shape)
