"""Bottleneck adapters: y + up(activation(down(y))) on the output y of a linear layer.

Houlsby et al., Parameter-efficient transfer learning for NLP, arXiv:1902.00751. They put one behind
each projection back to the width of the model: behind attention and behind the feed-forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from graphc.errors import ArgumentError
from graphc.frontends.nn import init
from graphc.frontends.nn.adapters.base import Adapter, Attached, attach, weight_parameter
from graphc.frontends.nn.linear import Linear
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"gelu": F.gelu, "relu": F.relu, "tanh": F.tanh}


@dataclass(frozen=True, repr=False)
class Bottleneck(Adapter):
    """Down to `width` numbers, an activation, up again; up starts at zero, so that y is kept."""

    kind: ClassVar[str] = "bottleneck"
    carriers: ClassVar[str] = "Linear"
    width: int = 64
    activation: str = "gelu"

    def __post_init__(self) -> None:
        self._take_count("width")
        if self.activation not in _ACTIVATIONS:
            known = ", ".join(_ACTIVATIONS)
            raise ArgumentError(
                f"nn.bottleneck: activation is {self.activation!r}, expected one of {known}"
            )

    def carries(self, layer: Module) -> bool:
        return isinstance(layer, Linear)

    def parameters(self, layer: Module) -> dict[str, Parameter]:
        weight = weight_parameter(layer)
        dtype, outputs = weight.dtype, weight.shape[0]
        drawn = init.kaiming_uniform(a=math.sqrt(5))
        return {
            "bottleneck_down": Parameter((self.width, outputs), drawn, dtype),
            "bottleneck_down_bias": Parameter((self.width,), init.zeros, dtype),
            "bottleneck_up": Parameter((outputs, self.width), init.zeros, dtype),
            "bottleneck_up_bias": Parameter((outputs,), init.zeros, dtype),
        }

    def adjust(self, layer: Module, input: Any, output: Any) -> Any:
        down = F.linear(output, layer.bottleneck_down, layer.bottleneck_down_bias)
        inner = _ACTIVATIONS[self.activation](down)
        return output + F.linear(inner, layer.bottleneck_up, layer.bottleneck_up_bias)


def bottleneck(
    model: Module, *patterns: str, width: int = 64, activation: str = "gelu"
) -> Attached:
    """Train bottlenecks behind the Linear layers whose full names match, and nothing else.

    For a TransformerEncoderLayer the patterns of the paper are "*.out_proj" and "*.linear2"; the
    paper also trains the normalisations: model.unfreeze("*norm*").

    Raises ArgumentError for a pattern that matches no Linear.

    >>> from graphc import nn
    >>> print(nn.bottleneck(nn.Sequential(nn.Linear(8, 8)), "0", width=2))
    bottleneck(width=2, activation='gelu'): 42 parameters on 1 layers, 42 of 114 trained (36.84 %)
      0
    """
    return attach(model, patterns, Bottleneck(width, activation))
