"""Prefix tuning: every attention also looks at `length` trained keys and values.

Li and Liang, Prefix-tuning: Optimizing continuous prompts for generation, arXiv:2101.00190. The
prefix is trained as it is, without the paper's network that makes it while training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from graphc.frontends.nn import init
from graphc.frontends.nn.adapters.base import Adapter, Attached, attach
from graphc.frontends.nn.attention_prefix import PrefixedAttention
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter


@dataclass(frozen=True, repr=False)
class Prefix(Adapter):
    """prefix_k and prefix_v[length, width], which the attention itself reads."""

    kind: ClassVar[str] = "prefix"
    carriers: ClassVar[str] = "MultiheadAttention and every nn.PrefixedAttention"
    length: int = 16

    def __post_init__(self) -> None:
        self._take_count("length")

    def carries(self, layer: Module) -> bool:
        return isinstance(layer, PrefixedAttention)

    def parameters(self, layer: Module) -> dict[str, Parameter]:
        assert isinstance(layer, PrefixedAttention)
        width, dtype = layer.key_type()
        drawn = init.normal(0.0, 0.02)
        names = ("prefix_k", "prefix_v")
        return {name: Parameter((self.length, width), drawn, dtype) for name in names}

    def adjust(self, layer: Module, input: Any, output: Any) -> Any:
        return output


def prefix(model: Module, *patterns: str, length: int = 16) -> Attached:
    """Train a prefix of keys and values of the attentions whose full names match, nothing else.

    No mask hides the prefix. Raises ArgumentError for a pattern that matches no attention that can
    carry one.

    >>> from graphc import nn
    >>> print(nn.prefix(nn.TransformerEncoderLayer(8, 2, 16), "self_attn", length=4))
    prefix(length=4): 64 parameters on 1 layers, 64 of 664 trained (9.64 %)
      self_attn
    """
    return attach(model, patterns, Prefix(length))
