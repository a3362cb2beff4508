"""Prefix tuning: every attention also looks at `length` trained keys and values.

Li and Liang, Prefix-tuning: Optimizing continuous prompts for generation, arXiv:2101.00190. The
prefix is trained as it is, without the paper's network that makes it while training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from graphc.frontends.nn import init
from graphc.frontends.nn.adapters.base import Adapter, Attached, attach
from graphc.frontends.nn.attention import MultiheadAttention
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter


@dataclass(frozen=True, repr=False)
class Prefix(Adapter):
    """prefix_k and prefix_v[length, embed_dim], which the attention itself reads."""

    kind: ClassVar[str] = "prefix"
    carriers: ClassVar[str] = "MultiheadAttention"
    length: int = 16

    def __post_init__(self) -> None:
        self._take_count("length")

    def carries(self, layer: Module) -> bool:
        return isinstance(layer, MultiheadAttention)

    def parameters(self, layer: Module) -> dict[str, Parameter]:
        assert isinstance(layer, MultiheadAttention)
        weight, rows = layer.projection(1)
        shape, dtype = (self.length, rows.stop - rows.start), weight.dtype
        drawn = init.normal(0.0, 0.02)
        return {name: Parameter(shape, drawn, dtype) for name in ("prefix_k", "prefix_v")}

    def adjust(self, layer: Module, input: Any, output: Any) -> Any:
        return output


def prefix(model: Module, *patterns: str, length: int = 16) -> Attached:
    """Train a prefix of keys and values of the attentions whose full names match, nothing else.

    No mask hides the prefix. Raises ArgumentError for a pattern that matches no MultiheadAttention.
    """
    return attach(model, patterns, Prefix(length))
