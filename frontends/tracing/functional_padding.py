"""Padding, with torch.nn.functional.pad's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.tracing.convert import ArrayLike, as_tensor, emit, whole_number
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_shapes import slice_axis
from graphc.frontends.tracing.tensor import Tensor


@face()
def pad(
    input: ArrayLike, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """`pad` is (before, after) for the last dimension, then for the one before it, and so on.

    Modes: "constant" (negative widths cut off), "reflect", "replicate", "circular".
    """
    x = as_tensor(input)
    widths = _widths(x, pad)
    if mode == "constant":
        return _constant(x, widths, 0 if value is None else value)
    if mode not in _SOURCES:
        known = ", ".join(["constant", *_SOURCES])
        raise ArgumentError(f"pad: mode is {mode!r}; expected one of {known}")
    if value is not None:
        raise ArgumentError(f"pad: mode {mode!r} takes no value")
    for axis, (before, after) in enumerate(widths):
        if (before, after) != (0, 0):
            x = _extended(x, axis, before, after, mode)
    return x


def _widths(x: Tensor, pad: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) of every dimension, in order."""
    numbers = [whole_number(width, "pad: width") for width in pad]
    if len(numbers) % 2 or len(numbers) > 2 * x.ndim:
        raise ArgumentError(f"pad: {len(numbers)} widths for {x.type}; expected two a dimension")
    given = list(zip(numbers[0::2], numbers[1::2], strict=True))[::-1]
    return [(0, 0)] * (x.ndim - len(given)) + given


def _constant(x: Tensor, widths: list[tuple[int, int]], value: float) -> Tensor:
    for axis, (before, after) in enumerate(widths):
        start, stop = max(-before, 0), x.shape[axis] - max(-after, 0)
        if start > stop:
            raise ShapeError(f"pad: widths {(before, after)} cut off more than axis {axis} has")
        x = slice_axis(x, axis, start, stop)
    low = tuple(max(before, 0) for before, _ in widths)
    high = tuple(max(after, 0) for _, after in widths)
    if not any(low + high):
        return x
    number: Any = float(value) if x.dtype.is_float else int(value)
    number = bool(value) if x.dtype.kind == "bool" else number
    return emit("pad", x, low=low, high=high, interior=(0,) * x.ndim, value=number)


def _reflected(position: np.ndarray[Any, Any], extent: int) -> np.ndarray[Any, Any]:
    period = max(2 * (extent - 1), 1)
    folded = position % period
    return np.minimum(folded, period - folded) if extent > 1 else folded * 0


def _clipped(position: np.ndarray[Any, Any], extent: int) -> np.ndarray[Any, Any]:
    return np.asarray(np.clip(position, 0, extent - 1))


def _wrapped(position: np.ndarray[Any, Any], extent: int) -> np.ndarray[Any, Any]:
    return position % extent


# From a position, which may lie outside, to the position that is read for it.
_SOURCES = {"reflect": _reflected, "replicate": _clipped, "circular": _wrapped}


def _extended(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    extent = x.shape[axis]
    most = extent - 1 if mode == "reflect" else extent
    if min(before, after) < 0 or (mode != "replicate" and max(before, after) > most) or not extent:
        raise ShapeError(
            f"pad: widths {(before, after)} at axis {axis} of {x.type}; "
            f"mode {mode!r} takes 0 to {most}"
        )
    source = _SOURCES[mode](np.arange(-before, extent + after), extent)
    return emit("gather", x, as_tensor(source), axis=axis)
