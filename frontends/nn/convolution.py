"""Convolution layers, as torch.nn's."""

from __future__ import annotations

import math
from typing import Any

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.nn import init
from graphc.frontends.nn.linear import fan_in_bound
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """What convolutions of one and of two dimensions share."""

    dimensions: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._check(in_channels, out_channels, groups, padding, padding_mode)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = self._spread(kernel_size)
        self.stride = self._spread(stride)
        self.padding = padding if isinstance(padding, str) else self._spread(padding)
        self.dilation = self._spread(dilation)
        self.groups = groups
        self.padding_mode = padding_mode
        if min(self.kernel_size) < 1:
            raise ArgumentError(
                f"{type(self).__name__}: kernel_size is {kernel_size}; expected at least 1"
            )
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(shape, init.kaiming_uniform(a=math.sqrt(5)), dtype)
        bound = fan_in_bound(math.prod(shape[1:]))
        drawn = init.uniform(-bound, bound)
        self.register_parameter("bias", Parameter((out_channels,), drawn, dtype) if bias else None)

    def _check(
        self, in_channels: int, out_channels: int, groups: int, padding: Any, padding_mode: str
    ) -> None:
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{name}: {in_channels} and {out_channels} channels do not divide into "
                f"{groups} groups"
            )
        if padding_mode not in _PADDING_MODES:
            known = ", ".join(_PADDING_MODES)
            raise ArgumentError(
                f"{name}: padding_mode is {padding_mode!r}; expected one of {known}"
            )
        if isinstance(padding, str) and padding not in ("valid", "same"):
            raise ArgumentError(
                f"{name}: padding is {padding!r}; expected 'valid', 'same' or numbers"
            )

    def _spread(self, value: Any) -> tuple[int, ...]:
        """One number for each dimension."""
        numbers = tuple(value) if isinstance(value, tuple | list) else (value,) * self.dimensions
        if len(numbers) != self.dimensions:
            raise ArgumentError(
                f"{type(self).__name__}: {value} has {len(numbers)} numbers; "
                f"expected {self.dimensions}"
            )
        return numbers

    def _padded(self, input: Any) -> tuple[Any, Any]:
        """The input, padded where the mode is not zeros, and the padding left to do."""
        if self.padding_mode == "zeros" or self.padding == "valid":
            return input, self.padding
        widths: list[int] = []
        for dimension in reversed(range(self.dimensions)):
            widths += self._widths(dimension)
        return F.pad(input, widths, self.padding_mode), 0

    def _widths(self, dimension: int) -> tuple[int, int]:
        if self.padding == "same":
            total = self.dilation[dimension] * (self.kernel_size[dimension] - 1)
            return total // 2, total - total // 2
        width = int(self.padding[dimension])
        return width, width

    def forward(self, input: Any) -> Any:
        self._check_input(input)
        padded, padding = self._padded(input)
        function = F.conv2d if self.dimensions == 2 else F.conv1d
        return function(
            padded, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def _check_input(self, input: Any) -> None:
        batched = self.dimensions + 2
        if input.ndim not in (batched - 1, batched):
            raise ShapeError(
                f"{type(self).__name__}: input is {input.type}; "
                f"expected {batched} dimensions, or {batched - 1} without a batch"
            )

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}"]
        parts += [f"kernel_size={self.kernel_size}, stride={self.stride}"]
        zero, one = (0,) * self.dimensions, (1,) * self.dimensions
        if self.padding != zero:
            parts.append(f"padding={self.padding}")
        if self.dilation != one:
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self._parameters["bias"] is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class Conv1d(_Convolution):
    """weight[O, C / groups, K] over [N, C, L] or [C, L]; F.conv1d."""

    dimensions = 1


class Conv2d(_Convolution):
    """weight[O, C / groups, KH, KW] over [N, C, H, W] or [C, H, W]; F.conv2d."""

    dimensions = 2
