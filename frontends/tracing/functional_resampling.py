"""Larger images from smaller ones: transposed convolution, interpolation, pixel shuffle."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_float,
    as_tensor,
    cast,
    emit,
    whole_number,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_elementwise import add
from graphc.frontends.tracing.functional_indexing import take
from graphc.frontends.tracing.functional_pooling import adaptive_avg_pool2d
from graphc.frontends.tracing.functional_products import matmul, pair, same_type
from graphc.frontends.tracing.functional_shapes import (
    expand_dims,
    repeat,
    reshape,
    squeeze,
    swapaxes,
    transpose,
)
from graphc.frontends.tracing.tensor import Tensor

_MODES = ("nearest", "bilinear", "area")


@face()
def conv_transpose2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """input[N, C, H, W] (or [C, H, W]) with weight[C, O / groups, KH, KW], plus bias[O].

    The gradient of F.conv2d with respect to its input; extents grow to
    (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1.
    """
    x, w = same_type(as_float(input), weight)
    if x.ndim not in (3, 4) or w.ndim != 4:
        raise ShapeError(
            f"conv_transpose2d: input is {x.type} and weight {w.type}; expected [N, C, H, W] or "
            "[C, H, W] and [C, O / groups, KH, KW]"
        )
    batched = x if x.ndim == 4 else expand_dims(x, 0)
    if batched.shape[1] != w.shape[0]:
        raise ShapeError(
            f"conv_transpose2d: input has {batched.shape[1]} channels, weight expects {w.shape[0]}"
        )
    strides = pair(stride, "conv_transpose2d: stride")
    dilations = pair(dilation, "conv_transpose2d: dilation")
    zeros = pair(padding, "conv_transpose2d: padding")
    further = pair(output_padding, "conv_transpose2d: output_padding")
    size = tuple(
        (extent - 1) * step - 2 * zero + apart * (kernel - 1) + more + 1
        for extent, step, zero, apart, kernel, more in zip(
            batched.shape[2:], strides, zeros, dilations, w.shape[2:], further, strict=True
        )
    )
    if any(m >= max(s, d) for m, s, d in zip(further, strides, dilations, strict=True)):
        raise ArgumentError(
            f"conv_transpose2d: output_padding is {further}, expected less than the stride "
            f"{strides} or the dilation {dilations}"
        )
    y = emit(
        "conv2d_input_grad",
        batched,
        w,
        stride=strides,
        padding=zeros,
        dilation=dilations,
        groups=whole_number(groups, "conv_transpose2d: groups"),
        input_size=size,
    )
    if bias is not None:
        y = add(y, reshape(cast(as_float(bias), y.dtype), (-1, 1, 1)))
    return y if x.ndim == 4 else squeeze(y, 0)


@face()
def interpolate(
    input: ArrayLike,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """input[N, C, H, W] resampled to `size` (OH, OW), or to scale_factor times its own.

    `mode` is nearest, bilinear or area (means). With `align_corners` the corner pixels of input and
    output lie on one another; without, their corners do.
    """
    x = as_float(input)
    if x.ndim != 4:
        raise ShapeError(f"interpolate: input is {x.type}; expected [N, C, H, W]")
    if mode not in _MODES:
        raise ArgumentError(f"interpolate: mode is {mode!r}; expected one of {', '.join(_MODES)}")
    target, steps = _target(x, size, scale_factor)
    if mode == "area":
        return adaptive_avg_pool2d(x, target)
    if mode == "nearest":
        for axis, extent, step in zip((2, 3), target, steps, strict=True):
            x = _nearest(x, axis, extent, step)
        return x
    rows, columns = (
        as_tensor(_weights(old, new, step, bool(align_corners)).astype(x.dtype.numpy))
        for old, new, step in zip(x.shape[2:], target, steps, strict=True)
    )
    return matmul(matmul(rows, x), swapaxes(columns, 0, 1))


def _target(x: Tensor, size: Any, scale_factor: Any) -> tuple[tuple[int, int], tuple[float, float]]:
    """The new extents, and how far apart neighbours of the result lie in the input."""
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate: give either size or scale_factor")
    height, width = x.shape[2:]
    if size is not None:
        target = pair(size, "interpolate: size")
        steps = (height / max(1, target[0]), width / max(1, target[1]))
    else:
        several = isinstance(scale_factor, tuple | list)
        factors = scale_factor if several else (scale_factor, scale_factor)
        target = (int(height * factors[0]), int(width * factors[1]))
        steps = (1 / factors[0], 1 / factors[1])
    if min(target) < 1:
        raise ArgumentError(f"interpolate: the result would be of size {target}")
    return target, steps


def _nearest(x: Tensor, axis: int, extent: int, step: float) -> Tensor:
    """Element floor(i * step) at i."""
    old = x.shape[axis]
    if extent % old == 0 and step * extent == old:
        return repeat(x, extent // old, axis)
    places = np.floor(np.arange(extent) * step).astype(np.int64)
    return take(x, np.minimum(places, old - 1), axis=axis)


def _weights(old: int, new: int, step: float, align_corners: bool) -> np.ndarray[Any, Any]:
    """[new, old]: how much of each old element is in each new one, along one axis."""
    if align_corners:
        places = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        places = np.maximum((np.arange(new) + 0.5) * step - 0.5, 0)
    low = np.minimum(np.floor(places).astype(np.int64), old - 1)
    high = np.minimum(low + 1, old - 1)
    share = places - low
    weights = np.zeros((new, old))
    np.add.at(weights, (np.arange(new), low), 1 - share)
    np.add.at(weights, (np.arange(new), high), share)
    return weights


@face()
def pixel_shuffle(input: ArrayLike, upscale_factor: int) -> Tensor:
    """input[N, C r², H, W] as [N, C, H r, W r], r the factor."""
    x = as_tensor(input)
    factor = whole_number(upscale_factor, "pixel_shuffle: upscale_factor")
    if x.ndim != 4 or factor < 1 or x.shape[1] % (factor * factor):
        raise ShapeError(
            f"pixel_shuffle: input is {x.type}; expected [N, C, H, W] with C a multiple of "
            f"{factor * factor}"
        )
    n, channels, height, width = x.shape
    parts = reshape(x, (n, channels // factor**2, factor, factor, height, width))
    mixed = transpose(parts, (0, 1, 4, 2, 5, 3))
    return reshape(mixed, (n, channels // factor**2, height * factor, width * factor))
