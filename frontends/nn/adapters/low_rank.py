"""LoRA: weight + alpha / rank · B A, where only A and B are trained.

Hu et al., LoRA: Low-rank adaptation of large language models, arXiv:2106.09685. The base product
and the product through `rank` numbers are added; weight + B A is never made, and the base weight
has no gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from graphc.errors import ArgumentError
from graphc.frontends.nn import init
from graphc.frontends.nn.adapters.base import (
    Adapter,
    Attached,
    adapted_layers,
    attach,
    take_off,
    weight_parameter,
)
from graphc.frontends.nn.attention import Projection
from graphc.frontends.nn.convolution import Conv1d, Conv2d
from graphc.frontends.nn.linear import Linear
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F

Elements = np.ndarray[Any, Any]


@dataclass(frozen=True, repr=False)
class LowRank(Adapter):
    """Two matrices: lora_A[rank, inputs] and lora_B[outputs, rank], which starts at zero.

    Of a convolution lora_A[rank, C / groups, *kernel] and lora_B[O, rank, 1, …]. `dropout` is that
    of the inputs of lora_A, in training.
    """

    kind: ClassVar[str] = "lora"
    carriers: ClassVar[str] = (
        "Linear, Conv1d, Conv2d and the q_proj, k_proj and v_proj of MultiheadAttention"
    )
    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        self._take_count("rank")
        if not isinstance(self.alpha, Real) or not math.isfinite(self.alpha):
            raise ArgumentError(f"nn.lora: alpha is {self.alpha!r}, expected a number")
        if not isinstance(self.dropout, Real) or not 0 <= self.dropout < 1:
            raise ArgumentError(f"nn.lora: dropout is {self.dropout!r}, expected 0 … 1 (exclusive)")
        for name in ("alpha", "dropout"):  # those of NumPy are no JSON
            object.__setattr__(self, name, _plain(getattr(self, name)))

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def carries(self, layer: Module) -> bool:
        return isinstance(layer, Linear | Conv1d | Conv2d | Projection)

    def parameters(self, layer: Module) -> dict[str, Parameter]:
        weight, rows = weight_of(layer)
        outputs = len(range(*rows.indices(weight.shape[0])))
        ones = (1,) * (weight.ndim - 2)
        drawn = init.kaiming_uniform(a=math.sqrt(5))
        return {
            "lora_A": Parameter((self.rank, *weight.shape[1:]), drawn, weight.dtype),
            "lora_B": Parameter((outputs, self.rank, *ones), init.zeros, weight.dtype),
        }

    def adjust(self, layer: Module, input: Any, output: Any) -> Any:
        x = F.dropout(input, self.dropout, layer.training) if self.dropout else input
        if _is_convolution(layer):
            return output + self._convolved(layer, x)
        return output + F.linear(F.linear(x, layer.lora_A) * self.scale, layer.lora_B)

    def _convolved(self, layer: Any, x: Any) -> Any:
        """The layer's own convolution to `rank` channels a group, then one of single pixels."""
        padded, padding = layer._padded(x)
        convolve = F.conv2d if layer.dimensions == 2 else F.conv1d
        groups = layer.groups
        down = F.concatenate([layer.lora_A] * groups, axis=0) if groups > 1 else layer.lora_A
        inner = convolve(padded, down, None, layer.stride, padding, layer.dilation, groups)
        return convolve(inner * self.scale, layer.lora_B, groups=groups)

    def change(self, layer: Module) -> Elements:
        """alpha / rank · B A in the shape of the weight, float64."""
        a, b = (np.asarray(getattr(layer, name), np.float64) for name in ("lora_A", "lora_B"))
        product = b.reshape(len(b), -1) @ a.reshape(len(a), -1)
        return self.scale * product.reshape(len(b), *a.shape[1:])


def _plain(number: Any) -> Any:
    """Python's number of the same value, an int where it is one."""
    return number.item() if isinstance(number, np.generic) else number


def _is_convolution(layer: Module) -> bool:
    return isinstance(layer, Conv1d | Conv2d)


def weight_of(layer: Module) -> tuple[Parameter, slice]:
    """The parameter that a low-rank change is added to, and its rows."""
    if isinstance(layer, Projection):
        return layer.weight_rows()
    return weight_parameter(layer), slice(None)


def lora(
    model: Module, *patterns: str, rank: int = 8, alpha: float = 16, dropout: float = 0.0
) -> Attached:
    """Train low-rank changes of the layers whose full names match, and nothing else.

    A pattern is an fnmatch glob on the full name of a Linear, a Conv1d, a Conv2d, or of the
    `q_proj`, `k_proj` or `v_proj` of a MultiheadAttention, for its rows of in_proj_weight. Other
    layers that a glob matches are passed over, and so are those that share their weight with
    another layer. Call it before the TrainStep is made, and unfreeze what else is to be trained.

    Raises ArgumentError for a pattern that matches no layer that can carry it.

    >>> from graphc import nn
    >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    >>> print(nn.lora(model, "0", rank=2))
    lora(rank=2, alpha=16, dropout=0.0): 256 parameters on 1 layers, 256 of 4,936 trained (5.19 %)
      0
    >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    ['0.lora_A', '0.lora_B']
    """
    return attach(model, patterns, LowRank(rank, alpha, dropout))


@dataclass(frozen=True)
class _Merged:
    """What `unmerge_lora` brings back: the adapter, its parameters, lora_B, the weight before."""

    adapter: LowRank
    parameters: dict[str, Parameter]
    factor: Elements
    weight: Elements


def merge_lora(model: Module) -> None:
    """Add every low-rank change to its weight; the layers are plain ones from then on.

    The parameters lora_A and lora_B leave the model, so that its state dict is the base model's.
    Programs compiled before go on to give the same values: their lora_B is zero. The weights before
    are kept, for `unmerge_lora`.

    >>> from graphc import nn
    >>> model = nn.Sequential(nn.Linear(3, 2))
    >>> _ = nn.lora(model, "0", rank=1)
    >>> nn.merge_lora(model)
    >>> list(model.state_dict())
    ['0.weight', '0.bias']
    """
    model.state_dict()  # makes what is unmade
    for _, layer, adapter in list(adapted_layers(model)):
        if isinstance(adapter, LowRank):
            _merge(layer, adapter)


def _merge(layer: Module, adapter: LowRank) -> None:
    weight, rows = weight_of(layer)
    before = np.array(weight.data[rows])
    weight.data[rows] = before + adapter.change(layer)
    parameters = take_off(layer, adapter)
    factor = np.array(parameters["lora_B"].data)
    parameters["lora_B"].data[...] = 0
    layer.__dict__["_merged"] = _Merged(adapter, parameters, factor, before)


def _merged_of(layer: Module) -> _Merged | None:
    merged: _Merged | None = layer.__dict__.get("_merged")
    return merged


def unmerge_lora(model: Module) -> None:
    """Undo `merge_lora`: the very bits of the weights and matrices come back.

    Raises ArgumentError, with nothing undone, where a layer has got new matrices since.

    >>> from graphc import nn
    >>> model = nn.Sequential(nn.Linear(3, 2))
    >>> _ = nn.lora(model, "0", rank=1)
    >>> nn.merge_lora(model)
    >>> nn.unmerge_lora(model)
    >>> list(model.state_dict())
    ['0.weight', '0.bias', '0.lora_A', '0.lora_B']
    """
    changed = [(name, layer) for name, layer in model.named_modules() if _merged_of(layer)]
    for name, layer in changed:
        if any(isinstance(adapter, LowRank) for adapter in layer._adapters):
            raise ArgumentError(
                f"nn.unmerge_lora: {name} carries new matrices, which were trained on the merged "
                "weight; nn.remove_adapters takes them off"
            )
    for _, layer in changed:
        merged = layer.__dict__.pop("_merged")
        weight, rows = weight_of(layer)
        weight.data[rows] = merged.weight
        merged.parameters["lora_B"].data[...] = merged.factor
        for name, parameter in merged.parameters.items():
            layer.register_parameter(name, parameter)
        layer.__dict__["_adapters"] = (*layer._adapters, merged.adapter)
