"""Transformers, as torch.nn's: encoder and decoder layers, stacks of them, and both together.

Vaswani et al., Attention is all you need, 2017; norm_first: Xiong et al., arXiv:2002.04745.

Masks are MultiheadAttention's: bool, true where a key is NOT looked at, or float. An `is_causal`
says that the mask beside it, which may then be left out, is the causal one; it makes blocks of
keys that nothing looks at cost nothing.

Layers and stacks decode a few positions at a time with a `cache` (of `make_cache`) and the
`position` of their inputs: see MultiheadAttention.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.frontends.nn import init
from graphc.frontends.nn.attention import MultiheadAttention
from graphc.frontends.nn.cache import DecoderLayerCache, KeyValueCache, parts_of
from graphc.frontends.nn.containers import ModuleList
from graphc.frontends.nn.linear import Linear
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.normalization import Dropout, LayerNorm
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F

Activation = str | Callable[[Any], Any]


def activation_of(activation: Activation) -> Callable[[Any], Any]:
    """A function: "relu" and "gelu" by name. Raises ArgumentError for other names."""
    if callable(activation):
        return activation
    named: dict[str, Callable[[Any], Any]] = {"relu": F.relu, "gelu": F.gelu}
    if activation not in named:
        raise ArgumentError(f"activation is {activation!r}; expected 'relu', 'gelu' or a function")
    return named[activation]


class _Layer(Module):
    """What encoder and decoder layers share: self attention and two linear layers."""

    norms: int

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"bias": bias, "batch_first": batch_first, "dtype": dtype}
        self.norm_first = norm_first
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, **options)
        self._make_cross(d_model, nhead, dropout, options)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, dtype=dtype)
        for number in range(1, self.norms + 1):
            norm = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, dtype=dtype)
            self.register_module(f"norm{number}", norm)
        for number in range(1, self.norms + 1):
            self.register_module(f"dropout{number}", Dropout(dropout))
        self.activation = activation_of(activation)

    def _make_cross(self, d_model: int, nhead: int, dropout: float, options: Any) -> None:
        """A decoder's second attention."""

    def _around(self, number: int, x: Any, part: Callable[[Any], Any]) -> Any:
        """x plus a part of it, normalised before (norm_first) or after."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return x + dropout(part(norm(x)))
        return norm(x + dropout(part(x)))

    def _attention(
        self,
        x: Any,
        mask: Any,
        padding: Any,
        is_causal: bool,
        cache: KeyValueCache | None,
        position: Any,
    ) -> Any:
        return self.self_attn(
            x,
            x,
            x,
            key_padding_mask=padding,
            need_weights=False,
            attn_mask=mask,
            is_causal=is_causal,
            cache=cache,
            position=position,
        )[0]

    def _feed_forward(self, x: Any) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self attention and two linear layers, each added to what it reads and normalised."""

    norms = 2

    def forward(
        self,
        src: Any,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
        cache: KeyValueCache | None = None,
        position: Any = None,
    ) -> Any:
        def attention(x: Any) -> Any:
            return self._attention(x, src_mask, src_key_padding_mask, is_causal, cache, position)

        return self._around(2, self._around(1, src, attention), self._feed_forward)

    def make_cache(self, rows: int, length: int) -> KeyValueCache:
        """For `rows` sequences of up to `length` positions."""
        return self.self_attn.make_cache(rows, length)


class TransformerDecoderLayer(_Layer):
    """Self attention, attention to an encoder's output, and two linear layers."""

    norms = 3

    def _make_cross(self, d_model: int, nhead: int, dropout: float, options: Any) -> None:
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, **options)

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
        cache: DecoderLayerCache | None = None,
        position: Any = None,
    ) -> Any:
        own, kept = (cache.own, cache.memory) if cache is not None else (None, None)

        def itself(x: Any) -> Any:
            return self._attention(x, tgt_mask, tgt_key_padding_mask, tgt_is_causal, own, position)

        def other(x: Any) -> Any:
            if kept is not None:
                return self.multihead_attn(
                    x, None, None, memory_key_padding_mask, need_weights=False, cache=kept
                )[0]
            return self.multihead_attn(
                x,
                memory,
                memory,
                key_padding_mask=memory_key_padding_mask,
                need_weights=False,
                attn_mask=memory_mask,
                is_causal=memory_is_causal,
            )[0]

        x = self._around(2, self._around(1, tgt, itself), other)
        return self._around(3, x, self._feed_forward)

    def make_cache(self, rows: int, length: int, sources: int, source: int) -> DecoderLayerCache:
        """For `rows` sequences of up to `length` positions that look at `sources` sequences of
        `source` positions, as many rows at each: the beams of a source."""
        if sources < 1 or rows % sources:
            raise ArgumentError(
                f"a cache of {rows} rows for {sources} sources; expected a multiple"
            )
        own = self.self_attn.make_cache(rows, length, beams=rows // sources)
        return DecoderLayerCache(own, self.multihead_attn.make_cache(sources, source, whole=True))

    def remember(self, memory: Any, cache: DecoderLayerCache) -> None:
        """Project an encoder's output into the cache: `forward` then takes None as memory."""
        self.multihead_attn.remember(memory, memory, cache.memory)


class TransformerEncoder(Module):
    """Copies of a layer one after the other, and a last normalisation where one is given."""

    def __init__(
        self,
        encoder_layer: TransformerEncoderLayer,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Any,
        mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool | None = None,
        cache: Module | None = None,
        position: Any = None,
    ) -> Any:
        x = src
        parts = parts_of(cache, self.num_layers, "TransformerEncoder")
        for layer, part in zip(self.layers.children(), parts, strict=True):
            x = layer(x, mask, src_key_padding_mask, bool(is_causal), part, position)
        return x if self.norm is None else self.norm(x)

    def make_cache(self, rows: int, length: int) -> ModuleList:
        """For `rows` sequences of up to `length` positions, a part for each layer."""
        return ModuleList(layer.make_cache(rows, length) for layer in self.layers.children())


class TransformerDecoder(Module):
    """Copies of a layer one after the other, and a last normalisation where one is given."""

    def __init__(
        self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Module | None = None
    ) -> None:
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(decoder_layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
        cache: Module | None = None,
        position: Any = None,
    ) -> Any:
        x = tgt
        parts = parts_of(cache, self.num_layers, "TransformerDecoder")
        for layer, part in zip(self.layers.children(), parts, strict=True):
            x = layer(
                x,
                memory,
                tgt_mask,
                memory_mask,
                tgt_key_padding_mask,
                memory_key_padding_mask,
                bool(tgt_is_causal),
                memory_is_causal,
                part,
                position,
            )
        return x if self.norm is None else self.norm(x)

    def make_cache(self, rows: int, length: int, sources: int, source: int) -> ModuleList:
        """For `rows` sequences of up to `length` positions that look at `sources` sequences of
        `source` positions, as many rows at each."""
        layers = self.layers.children()
        return ModuleList(layer.make_cache(rows, length, sources, source) for layer in layers)

    def remember(self, memory: Any, cache: Module) -> None:
        """Project an encoder's output into the cache: `forward` then takes None as memory."""
        parts = parts_of(cache, self.num_layers, "TransformerDecoder")
        for layer, part in zip(self.layers.children(), parts, strict=True):
            layer.remember(memory, part)


class Transformer(Module):
    """An encoder and a decoder; matrices are Glorot-uniform, as torch's are."""

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        options: dict[str, Any] = {"batch_first": batch_first, "norm_first": norm_first}
        options |= {"bias": bias, "dtype": dtype, "layer_norm_eps": layer_norm_eps}
        sizes = (d_model, nhead, dim_feedforward, dropout, activation)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, dtype=dtype)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*sizes, **options), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*sizes, **options), num_decoder_layers, norm()
        )
        glorot_uniform(self)

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        memory = self.encoder(
            src,
            mask=src_mask,
            src_key_padding_mask=src_key_padding_mask,
            is_causal=src_is_causal,
        )
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int) -> np.ndarray[Any, Any]:
        """[sz, sz] of float32: 0 up to the diagonal, -inf above.

        >>> Transformer.generate_square_subsequent_mask(2)
        array([[  0., -inf],
               [  0.,   0.]], dtype=float32)
        """
        return np.triu(np.full((sz, sz), -np.inf, np.float32), 1)


def glorot_uniform(model: Module) -> None:
    """Every parameter of two dimensions or more starts Glorot-uniform."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and len(parameter.shape) > 1:
                made = Parameter(parameter.shape, init.xavier_uniform, parameter.dtype)
                module.register_parameter(name, made)
