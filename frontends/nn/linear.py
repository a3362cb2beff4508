"""Layers of products, and layers that only move elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.frontends.nn import init
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F


class Identity(Module):
    """Its input. Arguments are taken and ignored, as torch's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


def fan_in_bound(fan_in: int) -> float:
    """1 / sqrt(inputs): the bound of torch's biases; 0 without inputs."""
    return 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0


class Linear(Module):
    """input[…, in_features] times weight[out_features, in_features] transposed, plus bias."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        weight = init.kaiming_uniform(a=math.sqrt(5))
        bound = fan_in_bound(in_features)
        self.weight = Parameter((out_features, in_features), weight, dtype)
        self.register_parameter(
            "bias",
            Parameter((out_features,), init.uniform(-bound, bound), dtype) if bias else None,
        )

    def forward(self, input: Any) -> Any:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        bias = self._parameters["bias"] is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


class Bilinear(Module):
    """x1 weight[k] x2 for each output k, plus bias; weight[out, in1, in2]."""

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        bound = fan_in_bound(in1_features)
        drawn = init.uniform(-bound, bound)
        self.weight = Parameter((out_features, in1_features, in2_features), drawn, dtype)
        self.register_parameter("bias", Parameter((out_features,), drawn, dtype) if bias else None)

    def forward(self, input1: Any, input2: Any) -> Any:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        bias = self._parameters["bias"] is not None
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={bias}"
        )


class Flatten(Module):
    """Dimensions start_dim … end_dim as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Any) -> Any:
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dimension as several."""

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Any) -> Any:
        dim = self.dim % input.ndim
        shape = (*input.shape[:dim], *self.unflattened_size, *input.shape[dim + 1 :])
        return F.reshape(input, shape)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


@dataclass(frozen=True)
class _ZeroRow(init.Initializer):
    """Normal, but for one row of zeros."""

    row: int

    def __call__(self, shape: Sequence[int], random: np.random.Generator) -> init.Elements:
        elements = init.normal()(shape, random)
        elements[self.row] = 0
        return elements


class Embedding(Module):
    """Rows of weight[num_embeddings, embedding_dim]; row `padding_idx` is zero and stays so."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        drawn = init.normal() if self.padding_idx is None else _ZeroRow(self.padding_idx)
        self.weight = Parameter((num_embeddings, embedding_dim), drawn, dtype)

    def forward(self, input: Any) -> Any:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
