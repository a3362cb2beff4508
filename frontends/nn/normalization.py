"""Normalisation layers and dropout, as torch.nn's."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import dtypes
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.nn import init
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F


class _BatchNorm(Module):
    """Each channel normalised over the batch in training, by running statistics otherwise."""

    ranks: tuple[int, ...]
    num_batches_tracked: Any

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_features < 1:
            raise ArgumentError(
                f"{type(self).__name__}: {num_features} channels; expected 1 or more"
            )
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        shape = (num_features,)
        ones, zeros = Parameter(shape, init.ones, dtype), Parameter(shape, init.zeros, dtype)
        self.register_parameter("weight", ones if affine else None)
        self.register_parameter("bias", zeros if affine and bias else None)
        storage = dtypes.get("float32" if dtype is None else dtype).numpy
        self.register_buffer("running_mean", np.zeros(shape, storage))
        self.register_buffer("running_var", np.ones(shape, storage))
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64))
        if not track_running_stats:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)

    def forward(self, input: Any) -> Any:
        self._check_input(input)
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self._factor(),
            self.eps,
        )

    def _factor(self) -> Any:
        """The weight of this batch in the running statistics; without momentum, of equal ones."""
        if not (self.training and self.track_running_stats):
            return 0.0
        count = self.num_batches_tracked + 1
        self.num_batches_tracked = count
        if self.momentum is not None:
            return self.momentum
        return 1.0 / F.astype(count, self.running_mean.dtype)

    def _check_input(self, input: Any) -> None:
        if input.ndim not in self.ranks or input.shape[1] != self.num_features:
            shapes = " or ".join(f"{rank} dimensions" for rank in self.ranks)
            raise ShapeError(
                f"{type(self).__name__}: input is {input.type}; expected {shapes} "
                f"with {self.num_features} channels in dimension 1"
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={_has_bias(self)}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Over [N, C] or [N, C, L]."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Over [N, C, H, W]."""

    ranks = (4,)


class LayerNorm(Module):
    """The last dimensions normalised, then weight and bias of their shape; F.layer_norm."""

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        ones = Parameter(self.normalized_shape, init.ones, dtype)
        zeros = Parameter(self.normalized_shape, init.zeros, dtype)
        self.register_parameter("weight", ones if elementwise_affine else None)
        self.register_parameter("bias", zeros if elementwise_affine and bias else None)

    def forward(self, input: Any) -> Any:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = self.elementwise_affine
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}, "
            f"bias={_has_bias(self)}"
        )


class RMSNorm(Module):
    """The last dimensions divided by their root mean square, times weight; F.rms_norm."""

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        ones = Parameter(self.normalized_shape, init.ones, dtype)
        self.register_parameter("weight", ones if elementwise_affine else None)

    def forward(self, input: Any) -> Any:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        affine = self.elementwise_affine
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}"


class GroupNorm(Module):
    """Groups of channels normalised, then weight and bias of each channel; F.group_norm."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ArgumentError(
                f"GroupNorm: {num_channels} channels do not divide into {num_groups} groups"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        shape = (num_channels,)
        ones, zeros = Parameter(shape, init.ones, dtype), Parameter(shape, init.zeros, dtype)
        self.register_parameter("weight", ones if affine else None)
        self.register_parameter("bias", zeros if affine and bias else None)

    def forward(self, input: Any) -> Any:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={_has_bias(self)}"
        )


def _has_bias(module: Module) -> bool:
    return module._parameters["bias"] is not None


def _as_shape(normalized_shape: Any) -> tuple[int, ...]:
    if isinstance(normalized_shape, tuple | list):
        return tuple(normalized_shape)
    return (normalized_shape,)


class Dropout(Module):
    """Elements zeroed with probability p in training, the others scaled by 1 / (1 - p)."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ArgumentError(f"{type(self).__name__}: p is {p}; expected 0 to 1")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout2d(Dropout):
    """As Dropout, whole channels of [N, C, H, W] at a time."""

    def forward(self, input: Any) -> Any:
        return F.dropout2d(input, self.p, self.training)
