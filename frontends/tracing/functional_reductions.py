"""Reductions, with NumPy's names: axis None (all), an int or a tuple; keepdims.

Sums of integers and bools give i64, means of integers f32, positions i64.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

from graphc.dtypes import DType, int64
from graphc.errors import DTypeError, ShapeError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_bool,
    as_float,
    as_tensor,
    cast,
    emit,
    like,
    normal_axes,
    normal_axis,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_elementwise import multiply, sqrt, subtract
from graphc.frontends.tracing.functional_shapes import ravel, reshape
from graphc.frontends.tracing.tensor import Tensor


def _reduce(op: str, x: Tensor, axis: Any, keepdims: bool) -> Tensor:
    axes = normal_axes(axis, x.ndim, op)
    result = emit(op, x, axes=axes) if axes else x
    return keep(result, x.shape, axes) if keepdims else result


def keep(result: Tensor, shape: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
    """A reduction's result with the reduced dimensions at extent 1."""
    return reshape(result, [1 if axis in axes else extent for axis, extent in enumerate(shape)])


def _accumulated(dtype: DType) -> DType:
    return dtype if dtype.is_float else int64


@face()
def sum(x: ArrayLike, axis: Any = None, keepdims: bool = False) -> Tensor:
    tensor = as_tensor(x)
    return _reduce("sum", cast(tensor, _accumulated(tensor.dtype)), axis, keepdims)


@face()
def prod(x: ArrayLike, axis: Any = None, keepdims: bool = False) -> Tensor:
    tensor = as_tensor(x)
    return _reduce("prod", cast(tensor, _accumulated(tensor.dtype)), axis, keepdims)


@face()
def mean(x: ArrayLike, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The sum divided by the number of elements; NaN of none."""
    tensor = as_float(x)
    total = _reduce("sum", tensor, axis, keepdims)
    return emit("div", total, like(_count(tensor, axis), total))


def _count(x: Tensor, axis: Any) -> int:
    return math.prod(x.shape[place] for place in normal_axes(axis, x.ndim, "mean"))


@face()
def var(x: ArrayLike, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The mean squared distance from the mean; the divisor is the number less `ddof`."""
    tensor = as_float(x)
    distance = subtract(tensor, mean(tensor, axis, keepdims=True))
    total = _reduce("sum", multiply(distance, distance), axis, keepdims)
    return emit("div", total, like(builtins.max(_count(tensor, axis) - ddof, 0), total))


@face()
def std(x: ArrayLike, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    return sqrt(var(x, axis, ddof, keepdims))


@face("amax")
def max(x: ArrayLike, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The greatest element; NaN where there is one."""
    return _extreme("max", x, axis, keepdims)


@face("amin")
def min(x: ArrayLike, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The smallest element; NaN where there is one."""
    return _extreme("min", x, axis, keepdims)


def _extreme(op: str, x: ArrayLike, axis: Any, keepdims: bool) -> Tensor:
    tensor = as_tensor(x)
    axes = normal_axes(axis, tensor.ndim, op)
    if any_true(tensor.shape[place] == 0 for place in axes):
        raise ShapeError(f"{op}: {tensor.type} has no element along axes {axes}")
    return _reduce(op, tensor, axis, keepdims)


any_true = builtins.any


@face()
def any(x: ArrayLike, axis: Any = None, keepdims: bool = False) -> Tensor:
    return _reduce("any", as_bool(x), axis, keepdims)


@face()
def all(x: ArrayLike, axis: Any = None, keepdims: bool = False) -> Tensor:
    return _reduce("all", as_bool(x), axis, keepdims)


@face()
def argmax(x: ArrayLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the greatest element is (the first of them; NaN wins), i64."""
    return _position("argmax", x, axis, keepdims)


@face()
def argmin(x: ArrayLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the smallest element is (the first of them; NaN wins), i64."""
    return _position("argmin", x, axis, keepdims)


def _position(op: str, x: ArrayLike, axis: int | None, keepdims: bool) -> Tensor:
    tensor = as_tensor(x)
    searched = ravel(tensor) if axis is None else tensor
    place = normal_axis(0 if axis is None else axis, searched.ndim, op)
    if searched.shape[place] == 0:
        raise ShapeError(f"{op}: {tensor.type} has no element along axis {place}")
    result = emit(op, searched, axis=place)
    if not keepdims:
        return result
    return keep(result, tensor.shape, normal_axes(axis, tensor.ndim, op))


@face()
def cumsum(x: ArrayLike, axis: int | None = None) -> Tensor:
    """Running sums along `axis`; without one, of the flattened array."""
    tensor = as_tensor(x)
    tensor = ravel(tensor) if axis is None else tensor
    place = normal_axis(0 if axis is None else axis, tensor.ndim, "cumsum")
    tensor = cast(tensor, _accumulated(tensor.dtype))
    return emit("cumsum", tensor, axis=place, reverse=False)


@face()
def logsumexp(x: ArrayLike, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))), without overflow."""
    tensor = as_tensor(x)
    if not tensor.dtype.is_float:
        raise DTypeError(f"logsumexp: operand is {tensor.dtype}; expected a float type")
    axes = normal_axes(axis, tensor.ndim, "logsumexp")
    return emit("logsumexp", tensor, axes=axes, keepdims=keepdims) if axes else tensor


@face()
def count_nonzero(x: ArrayLike, axis: Any = None, keepdims: bool = False) -> Tensor:
    return sum(as_bool(x), axis, keepdims)
