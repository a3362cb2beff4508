"""Multi-head attention, as torch.nn's.

Vaswani et al., Attention is all you need, 2017.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.dtypes import DType
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.frontends.nn import init
from graphc.frontends.nn.attention_prefix import PrefixedAttention
from graphc.frontends.nn.cache import KeyValueCache
from graphc.frontends.nn.linear import Linear
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F
from graphc.frontends.tracing.convert import whole_number
from graphc.frontends.tracing.functional_attention import Attended, attend


class Projection(Module):
    """The query, key or value projection of a MultiheadAttention, which owns its weight.

    It is called with the input and the product, which several projections share, and returns the
    product; adapters know it by its name (`self_attn.q_proj`) and add to it.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, input: Any, projected: Any) -> Any:
        return projected

    def weight_rows(self) -> tuple[Parameter, slice]:
        """The parameter of the attention that holds the weight, and its rows."""
        owner = self._owner() if self._owner is not None else None
        assert isinstance(owner, MultiheadAttention)
        return owner.projection(self.number)


class MultiheadAttention(PrefixedAttention):
    """Attention in `num_heads` heads of the projected query, key and value.

    query[L, N, E], key[S, N, kdim], value[S, N, vdim], N first where `batch_first`, or none.

    key_padding_mask[N, S], attn_mask[L, S] or [N num_heads, L, S]: bool, true where a key is NOT
    looked at, or float, added to the scores. `is_causal` says that attn_mask, which may then be
    left out, lets query i look at keys 0 … i. The result is (output, weights): the weights are
    [N, L, S] averaged over the heads, [N, num_heads, L, S] not averaged, None unless
    `need_weights`; a program that does not use them does not compute them.

    num_kv_heads: fewer heads of keys and values, each looked at by num_heads / num_kv_heads heads
    of queries (Ainslie et al., arXiv:2305.13245); torch's has no such option.

    With a `cache` (of `make_cache`) and a `position`, a number or i32[], the inputs are those of
    the positions from there on: their keys and values are written into the cache, and every query
    looks at the positions up to its own; attn_mask [L, length] and key_padding_mask are then of
    all positions of the cache. With a cache and no `key`, the keys are those that `remember` wrote.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: Any = None,
        num_kv_heads: int | None = None,
    ) -> None:
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ArgumentError(
                f"MultiheadAttention: embed_dim {embed_dim} is no multiple of {num_heads} heads"
            )
        self.embed_dim = whole_number(embed_dim, "MultiheadAttention: embed_dim")
        self.num_heads = whole_number(num_heads, "MultiheadAttention: num_heads")
        self.dropout = dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first, self.add_zero_attn = batch_first, add_zero_attn
        self.head_dim = embed_dim // num_heads
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if self.num_kv_heads < 1 or num_heads % self.num_kv_heads:
            raise ArgumentError(
                f"MultiheadAttention: {num_heads} heads are no multiple of {num_kv_heads} key heads"
            )
        self.kv_width = self.num_kv_heads * self.head_dim
        self._make_projections(bias, dtype)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, dtype=dtype)
        if bias:
            self.out_proj.bias = Parameter((embed_dim,), init.zeros, dtype)
        for name in ("bias_k", "bias_v"):
            drawn = Parameter((1, 1, self.kv_width), _normal_row(self.kv_width), dtype)
            self.register_parameter(name, drawn if add_bias_kv else None)
        self.q_proj, self.k_proj, self.v_proj = (Projection(number) for number in range(3))

    def _make_projections(self, bias: bool, dtype: Any) -> None:
        total = self.embed_dim + 2 * self.kv_width
        shapes = {"in_proj_weight": (total, self.embed_dim)}
        if not self.kdim == self.vdim == self.embed_dim:
            sizes = (
                (self.embed_dim, self.embed_dim),
                (self.kv_width, self.kdim),
                (self.kv_width, self.vdim),
            )
            shapes = {f"{name}_proj_weight": sizes[n] for n, name in enumerate("qkv")}
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            made = Parameter(shapes[name], init.xavier_uniform, dtype) if name in shapes else None
            self.register_parameter(name, made)
        zeros = Parameter((total,), init.zeros, dtype)
        self.register_parameter("in_proj_bias", zeros if bias else None)

    def key_type(self) -> tuple[int, DType]:
        return self.kv_width, self.projection(1)[0].dtype

    def projection(self, number: int) -> tuple[Parameter, slice]:
        """The parameter and its rows that project the query (0), the key (1) or the value (2)."""
        together = self._parameters["in_proj_weight"]
        if together is not None:
            return together, self._rows(number)
        own = self._parameters[f"{'qkv'[number]}_proj_weight"]
        assert own is not None
        return own, slice(0, own.shape[0])

    def _rows(self, number: int) -> slice:
        """Where the query (0), the key (1) or the value (2) begins and ends among all three."""
        ends = (0, *(self.embed_dim + n * self.kv_width for n in range(3)))
        return slice(ends[number], ends[number + 1])

    def make_cache(
        self, rows: int, length: int, whole: bool = False, beams: int = 1
    ) -> KeyValueCache:
        """For `rows` sequences of up to `length` positions: `forward`'s `cache`, or, as a `whole`,
        `remember`'s. See KeyValueCache."""
        dtype = self.projection(0)[0].dtype
        return KeyValueCache(rows, length, self.kv_width, None, dtype, whole, beams)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        cache: KeyValueCache | None = None,
        position: Any = None,
    ) -> tuple[Any, Any]:
        attn_mask = _checked_mask("attn_mask", attn_mask)
        key_padding_mask = _checked_mask("key_padding_mask", key_padding_mask)
        batched = query.ndim == 3
        if cache is not None and key is None:
            return self._look_back(query, key_padding_mask, cache)
        inputs = [self._batch_first(x, batched) for x in (query, key, value)]
        q, k, v = self._projected(*_shared(inputs, (query, key, value)))
        if cache is not None:
            q, k, v, attn_mask = _cached(cache, q, k, v, attn_mask, position)
            is_causal = False  # the mask says it
        k, v, added = self._with_more_keys(k, v)
        keys = k.shape[1]
        # The kernel's own causal mask cannot be told of keys that are added behind.
        causal = is_causal and not added
        if is_causal and added and attn_mask is None:
            attn_mask = F.asarray(np.triu(np.ones((q.shape[1], keys - added), bool), 1))
        mask = None if causal else _extended(attn_mask, added)
        mask = self._merged(mask, _extended(key_padding_mask, added), q, keys)
        attended = self._attend(q, k, v, mask, causal)
        output = F.reshape(F.transpose(attended.output, (0, 2, 1, 3)), (*inputs[0].shape[:2], -1))
        output = self._as_given(self.out_proj(output), batched)
        if not need_weights:
            return output, None
        weights = attended.weights()
        if average_attn_weights:
            weights = F.mean(weights, axis=1)
        return output, weights if batched else weights[0]

    def _look_back(self, query: Any, padding: Any, cache: KeyValueCache) -> tuple[Any, None]:
        """Attention to the keys that a cache holds as a whole.

        query[R, L, E], R a multiple of the cache's rows N: rows n R/N … look at keys of row n.
        """
        given = self._batch_first(query, True)
        rows, length = given.shape[:2]
        if rows % cache.rows:
            raise ShapeError(
                f"MultiheadAttention: {rows} rows look at a cache of {cache.rows}; "
                "expected a multiple"
            )
        # Queries of rows that share keys are queries of one row.
        together = F.reshape(given, (cache.rows, rows // cache.rows * length, -1))
        q = self._project(0, together)
        k, v, added = self._with_more_keys(cache.keys, cache.values)
        mask = self._merged(None, _extended(padding, added), q, k.shape[1])
        output = self._attend(q, k, v, mask, False).output
        output = F.reshape(F.transpose(output, (0, 2, 1, 3)), (rows, length, -1))
        return self._as_given(self.out_proj(output), True), None

    def remember(self, key: Any, value: Any, cache: KeyValueCache) -> None:
        """Project key and value, of 3 dimensions, into a cache that `forward` with no key reads."""
        k, v = (self._batch_first(x, True) for x in (key, value))
        cache.store(self._project(1, k), self._project(2, v))

    def _project(self, number: int, x: Any) -> Any:
        """The query (0), the key (1) or the value (2) alone, [N, length, width]."""
        weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[number]
        rows, bias = self._rows(number), self.in_proj_bias
        weight = self.in_proj_weight[rows] if weight is None else weight
        plain = F.linear(x, weight, None if bias is None else bias[rows])
        return (self.q_proj, self.k_proj, self.v_proj)[number](x, plain)

    def _batch_first(self, x: Any, batched: bool) -> Any:
        """[N, L, E]."""
        if x.ndim != (3 if batched else 2):
            raise ShapeError(
                f"MultiheadAttention: an input of {x.ndim} dimensions; expected query, key and "
                "value of 3 each, or of 2 without a batch"
            )
        if not batched:
            return F.expand_dims(x, 0)
        return x if self.batch_first else F.transpose(x, (1, 0, 2))

    def _as_given(self, x: Any, batched: bool) -> Any:
        if not batched:
            return x[0]
        return x if self.batch_first else F.transpose(x, (1, 0, 2))

    def _projected(self, query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
        """q, k, v [N, length, width]; one product for inputs that are one tensor."""
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if weight is None or key is not value:
            return self._project(0, query), self._project(1, key), self._project(2, value)
        if query is key:
            ends = [self.embed_dim, self.embed_dim + self.kv_width]
            q, k, v = F.split(F.linear(query, weight, bias), ends, axis=-1)
            return self.q_proj(query, q), self.k_proj(key, k), self.v_proj(value, v)
        first = self.embed_dim
        both = F.linear(key, weight[first:], None if bias is None else bias[first:])
        k, v = F.split(both, 2, axis=-1)
        return self._project(0, query), self.k_proj(key, k), self.v_proj(value, v)

    def _with_more_keys(self, k: Any, v: Any) -> tuple[Any, Any, int]:
        """k and v with learned keys and one of zeros behind, where these are asked for."""
        given, wide = k.shape[1], (k.shape[0], 1, self.kv_width)
        if self.bias_k is not None:
            k = F.concatenate([k, F.broadcast_to(self.bias_k, wide)], axis=1)
            v = F.concatenate([v, F.broadcast_to(self.bias_v, wide)], axis=1)
        k, v, _ = self.with_prefix(k, v)
        if self.add_zero_attn:
            zeros = F.zeros(wide, dtype=k.dtype)
            k, v = F.concatenate([k, zeros], axis=1), F.concatenate([v, zeros], axis=1)
        return k, v, k.shape[1] - given

    def _merged(self, attn_mask: Any, padding: Any, q: Any, keys: int) -> Any:
        """One mask for the scores [N, heads, L, S]: float, or bool, true where a key is seen."""
        found = []
        if attn_mask is not None:
            found.append(self._four(attn_mask, q, keys))
        if padding is not None:
            padding = padding if padding.ndim == 2 else F.expand_dims(padding, 0)
            if padding.shape not in ((q.shape[0], keys), (1, keys)):
                raise ShapeError(
                    f"MultiheadAttention: key_padding_mask is {padding.type}; expected "
                    f"[{q.shape[0]}, {keys}]"
                )
            found.append(F.reshape(padding, (padding.shape[0], 1, 1, keys)))
        if not found:
            return None
        if all(mask.dtype.kind == "bool" for mask in found):
            hidden = found[0] if len(found) == 1 else F.logical_or(*found)
            return F.logical_not(hidden)
        return sum((_additive(mask, q.dtype) for mask in found[1:]), _additive(found[0], q.dtype))

    def _four(self, mask: Any, q: Any, keys: int) -> Any:
        """attn_mask as [N or 1, heads or 1, L, S]."""
        count, queries = q.shape[:2]
        if mask.ndim == 2 and mask.shape == (queries, keys):
            return F.reshape(mask, (1, 1, queries, keys))
        if mask.shape == (count, 1, queries, keys):  # a cache's
            return mask
        if mask.ndim == 3 and mask.shape == (count * self.num_heads, queries, keys):
            return F.reshape(mask, (count, self.num_heads, queries, keys))
        raise ShapeError(
            f"MultiheadAttention: attn_mask is {mask.type}; expected [{queries}, {keys}] or "
            f"[{count * self.num_heads}, {queries}, {keys}]"
        )

    def _attend(self, q: Any, k: Any, v: Any, mask: Any, causal: bool) -> Attended:
        q, k, v = (self._heads(x) for x in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        return attend(q, k, v, mask, dropout, causal, 1 / math.sqrt(self.head_dim))

    def _heads(self, x: Any) -> Any:
        """[N, length, width] as [N, heads, length, head_dim]."""
        split = F.reshape(x, (*x.shape[:2], -1, self.head_dim))
        return F.transpose(split, (0, 2, 1, 3))

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"


def _normal_row(width: int) -> init.normal:
    """torch's xavier_normal of (1, 1, width): it counts `width` inputs and outputs each."""
    return init.normal(0.0, math.sqrt(2 / (2 * width)))


def _checked_mask(name: str, given: Any) -> Any:
    """A mask as a tensor. Raises DTypeError for one of whole numbers, which could mean either."""
    if given is None:
        return None
    mask = F.asarray(given)
    if mask.dtype.kind != "bool" and not mask.dtype.is_float:
        raise DTypeError(
            f"MultiheadAttention: {name} is {mask.type}; expected bool, true where a key is not "
            "looked at, or float, which is added to the scores"
        )
    return mask


def _shared(inputs: list[Any], given: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """The inputs, one object where one was given."""
    query, key, value = inputs
    if given[1] is given[0]:
        key = query
    if given[2] is given[0]:
        value = query
    if given[2] is given[1]:
        value = key
    return query, key, value


def _cached(
    cache: KeyValueCache, q: Any, k: Any, v: Any, attn_mask: Any, position: Any
) -> tuple[Any, Any, Any, Any]:
    """Queries, all keys, all values, and the mask with what comes after each query."""
    if position is None:
        raise ArgumentError("MultiheadAttention: a cache needs the position of the inputs")
    keys, values = cache.append(k, v, position)
    later = cache.hidden(position, q.shape[1])
    if cache.beams > 1:
        if attn_mask is not None:
            raise ArgumentError("MultiheadAttention: a cache of beams takes no attn_mask")
        q = F.reshape(q, (keys.shape[0], -1, q.shape[2]))
    if attn_mask is None:
        mask = later
    elif attn_mask.dtype.kind == "bool":
        mask = F.logical_or(attn_mask, later)
    else:
        mask = attn_mask + _additive(later, q.dtype)
    return q, keys, values, mask


def _extended(mask: Any, added: int) -> Any:
    """A mask that lets the added keys be looked at."""
    if mask is None or not added:
        return mask
    return F.concatenate([mask, F.zeros((*mask.shape[:-1], added), dtype=mask.dtype)], axis=-1)


def _additive(mask: Any, dtype: Any) -> Any:
    """-inf where a bool mask hides a key, 0 elsewhere."""
    if mask.dtype.kind == "bool":
        return F.where(mask, F.asarray(-math.inf, dtype=dtype), F.asarray(0.0, dtype=dtype))
    return F.astype(mask, dtype)
