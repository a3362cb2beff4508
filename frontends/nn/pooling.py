"""Pooling layers, as torch.nn's."""

from __future__ import annotations

from typing import Any

from graphc.frontends.nn.module import Module
from graphc.frontends.tracing import functional as F


class _MaxPool(Module):
    """What max pooling over one and two dimensions has in common."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    @property
    def _options(self) -> tuple[Any, ...]:
        windows = (self.kernel_size, self.stride, self.padding, self.dilation)
        return (*windows, self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The greatest element of each window of [N, C, L]; F.max_pool1d."""

    def forward(self, input: Any) -> Any:
        return F.max_pool1d(input, *self._options)


class MaxPool2d(_MaxPool):
    """The greatest element of each window; F.max_pool2d."""

    def forward(self, input: Any) -> Any:
        return F.max_pool2d(input, *self._options)


class _AvgPool(Module):
    """What average pooling over one and two dimensions has in common."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    @property
    def _options(self) -> tuple[Any, ...]:
        windows = (self.kernel_size, self.stride, self.padding)
        return (*windows, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of [N, C, L]; F.avg_pool1d."""

    def forward(self, input: Any) -> Any:
        return F.avg_pool1d(input, *self._options)


class AvgPool2d(_AvgPool):
    """The mean of each window; F.avg_pool2d."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, input: Any) -> Any:
        options = (*self._options, self.divisor_override)
        return F.avg_pool2d(input, *options)


class AdaptiveAvgPool2d(Module):
    """Means over windows that divide the input; F.adaptive_avg_pool2d."""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Any:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
