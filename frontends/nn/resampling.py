"""Layers that make images larger, as torch.nn's."""

from __future__ import annotations

import math
from typing import Any

from graphc.errors import ArgumentError
from graphc.frontends.nn import init
from graphc.frontends.nn.linear import fan_in_bound
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F


class ConvTranspose2d(Module):
    """weight[C, O / groups, KH, KW] over [N, C, H, W] or [C, H, W]; F.conv_transpose2d."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"ConvTranspose2d: {in_channels} and {out_channels} channels do not divide into "
                f"{groups} groups"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.output_padding = _pair(output_padding)
        self.groups = groups
        self.dilation = _pair(dilation)
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        self.weight = Parameter(shape, init.kaiming_uniform(a=math.sqrt(5)), dtype)
        bound = fan_in_bound(math.prod(shape[1:]))
        drawn = init.uniform(-bound, bound)
        self.register_parameter("bias", Parameter((out_channels,), drawn, dtype) if bias else None)

    def forward(self, input: Any) -> Any:
        return F.conv_transpose2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}"
        )


def _pair(value: Any) -> tuple[int, int]:
    numbers = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(numbers) != 2:
        raise ArgumentError(f"ConvTranspose2d: {value} has {len(numbers)} numbers; expected 2")
    return numbers[0], numbers[1]


class Upsample(Module):
    """Images resampled to a size, or by a factor; F.interpolate."""

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, input: Any) -> Any:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        goal = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{goal}, mode={self.mode!r}"


class PixelShuffle(Module):
    """[N, C r², H, W] as [N, C, H r, W r]; F.pixel_shuffle."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Any) -> Any:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"
