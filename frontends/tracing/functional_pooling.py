"""Pooling over windows of [N, C, H, W] or [C, H, W], with torch.nn.functional's arguments."""

from __future__ import annotations

from typing import Any

from graphc.dtypes import int64
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.tracing.convert import ArrayLike, as_float, cast, emit, like, whole_number
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_elementwise import add, multiply
from graphc.frontends.tracing.functional_products import pair
from graphc.frontends.tracing.functional_shapes import expand_dims, squeeze
from graphc.frontends.tracing.recorder import current
from graphc.frontends.tracing.tensor import Tensor


def _batched(what: str, x: Tensor) -> Tensor:
    """The input with a batch. Raises ShapeError for any other number of dimensions."""
    if x.ndim not in (3, 4):
        raise ShapeError(f"{what}: input is {x.type}; expected [N, C, H, W] or [C, H, W]")
    return x if x.ndim == 4 else expand_dims(x, 0)


@face()
def max_pool2d(
    input: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The greatest element of each window; NaN wins, padding never.

    With `return_indices` also where it was, h * W + w of the input, i64.
    """
    x = as_float(input)
    attrs: dict[str, Any] = {
        "kernel": pair(kernel_size, "max_pool2d: kernel_size"),
        "stride": pair(kernel_size if stride is None else stride, "max_pool2d: stride"),
        "padding": pair(padding, "max_pool2d: padding"),
        "dilation": pair(dilation, "max_pool2d: dilation"),
        "ceil_mode": bool(ceil_mode),
    }
    y, position = current().emit("max_pool2d", [_batched("max_pool2d", x)], attrs)
    results = [y, _flat_indices(position, x.shape[-1], attrs)] if return_indices else [y]
    results = results if x.ndim == 4 else [squeeze(result, 0) for result in results]
    return tuple(results) if return_indices else results[0]


def _flat_indices(position: Tensor, width: int, attrs: dict[str, Any]) -> Tensor:
    """From the winning tap kh * KW + kw of each window to h * W + w."""
    tap = cast(position, int64)
    kernel_width = like(attrs["kernel"][1], tap)
    taps = (emit("floordiv", tap, kernel_width), emit("mod", tap, kernel_width))
    rows, columns = (
        emit("iota", shape=tap.shape, axis=axis + 2, dtype=int64) * attrs["stride"][axis]
        + taps[axis] * attrs["dilation"][axis]
        - attrs["padding"][axis]
        for axis in (0, 1)
    )
    return add(multiply(rows, width), columns)


@face()
def avg_pool2d(
    input: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window."""
    x = as_float(input)
    kernel = pair(kernel_size, "avg_pool2d: kernel_size")
    padding = pair(padding, "avg_pool2d: padding")
    if divisor_override is not None:
        return _sum_pool(x, kernel, stride, padding, ceil_mode, divisor_override)
    y = emit(
        "avg_pool2d",
        _batched("avg_pool2d", x),
        kernel=kernel,
        stride=pair(kernel if stride is None else stride, "avg_pool2d: stride"),
        padding=padding,
        ceil_mode=bool(ceil_mode),
        count_include_pad=bool(count_include_pad),
    )
    return y if x.ndim == 4 else squeeze(y, 0)


def _sum_pool(
    x: Tensor,
    kernel: tuple[int, int],
    stride: Any,
    padding: tuple[int, int],
    ceil_mode: bool,
    divisor: int,
) -> Tensor:
    """Window sums over a divisor. With ceil mode a last window is cut, and so is its count."""
    if divisor == 0:
        raise ArgumentError("avg_pool2d: divisor_override is 0")
    if ceil_mode:
        raise ArgumentError("avg_pool2d: divisor_override with ceil_mode is not supported")
    means = avg_pool2d(x, kernel, stride, padding)
    return multiply(means, kernel[0] * kernel[1] / divisor)


@face()
def max_pool1d(
    input: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The greatest element of each window of [N, C, L] or [C, L].

    With `return_indices` also where it was along L, i64.
    """
    wide = expand_dims(_long("max_pool1d", input), -2)
    options = (_flat(stride), _flat(padding, 0), _flat(dilation), ceil_mode, return_indices)
    found = max_pool2d(wide, _flat(kernel_size), *options)
    if return_indices:
        return tuple(squeeze(part, -2) for part in found)
    return squeeze(found, -2)


@face()
def avg_pool1d(
    input: ArrayLike,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of [N, C, L] or [C, L]."""
    wide = expand_dims(_long("avg_pool1d", input), -2)
    windows, apart = _flat(kernel_size), _flat(stride)
    y = avg_pool2d(wide, windows, apart, _flat(padding, 0), ceil_mode, count_include_pad)
    return squeeze(y, -2)


def _long(what: str, input: ArrayLike) -> Tensor:
    x = as_float(input)
    if x.ndim not in (2, 3):
        raise ShapeError(f"{what}: input is {x.type}; expected [N, C, L] or [C, L]")
    return x


def _flat(value: Any, height: int = 1) -> Any:
    """An option of windows of one row."""
    if value is None:
        return None
    several = isinstance(value, tuple | list) and len(value) == 1
    return (height, value[0] if several else value)


@face()
def adaptive_avg_pool2d(input: ArrayLike, output_size: Any) -> Tensor:
    """Means over windows that divide the input into `output_size` (None keeps an extent)."""
    x = as_float(input)
    batched = _batched("adaptive_avg_pool2d", x)
    sizes = output_size if isinstance(output_size, tuple | list) else (output_size,) * 2
    if len(sizes) != 2:
        raise ArgumentError(f"adaptive_avg_pool2d: output_size is {output_size}; expected 1 or 2")
    target = tuple(
        extent if size is None else whole_number(size, "adaptive_avg_pool2d: output_size")
        for size, extent in zip(sizes, batched.shape[2:], strict=True)
    )
    y = emit("adaptive_avg_pool2d", batched, output_size=target)
    return y if x.ndim == 4 else squeeze(y, 0)
