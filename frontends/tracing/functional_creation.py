"""Arrays made from nothing, with NumPy's names."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.dtypes import DType, bool_, float32, get
from graphc.errors import ArgumentError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_tensor,
    broadcast,
    cast,
    default_type,
    emit,
    is_weak,
    to,
    together,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_elementwise import add, multiply
from graphc.frontends.tracing.functional_shapes import shape_tuple
from graphc.frontends.tracing.tensor import Tensor


@face()
def full(shape: Any, fill_value: ArrayLike, dtype: Any = None) -> Tensor:
    """An array of one value; its type is the value's own where none is given."""
    value = as_tensor(fill_value) if dtype is None else to(fill_value, get(dtype))
    return broadcast(value, shape_tuple(shape))


@face()
def zeros(shape: Any, dtype: Any = float32) -> Tensor:
    return full(shape, 0, dtype)


@face()
def ones(shape: Any, dtype: Any = float32) -> Tensor:
    return full(shape, 1, dtype)


@face()
def full_like(x: ArrayLike, fill_value: ArrayLike, dtype: Any = None) -> Tensor:
    tensor = as_tensor(x)
    return full(tensor.shape, fill_value, dtype or tensor.dtype)


@face()
def zeros_like(x: ArrayLike, dtype: Any = None) -> Tensor:
    return full_like(x, 0, dtype)


@face()
def ones_like(x: ArrayLike, dtype: Any = None) -> Tensor:
    return full_like(x, 1, dtype)


@face()
def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """start, start + step, … below stop (which is the first argument if it is the only one)."""
    first, last = (0, start) if stop is None else (start, stop)
    if not all(is_weak(item) for item in (first, last, step)):
        raise ArgumentError("arange: bounds must be Python numbers; they give the shape")
    if step == 0:
        raise ArgumentError("arange: step is 0")
    row = get(dtype) if dtype is not None else _number_type(first, last, step)
    count = max(-int(-(last - first) // step), 0)
    steps = emit("iota", shape=(count,), axis=0, dtype=row if row != bool_ else get("int64"))
    scaled = steps if step == 1 else multiply(steps, step)
    return cast(scaled if first == 0 else add(scaled, first), row)


def _number_type(*numbers: float) -> DType:
    rows = [default_type(number) for number in numbers]
    return float32 if float32 in rows else rows[0]


@face()
def linspace(start: float, stop: float, num: int = 50, dtype: Any = float32) -> Tensor:
    """`num` numbers from start to stop, both included, at equal distances."""
    return cast(as_tensor(np.linspace(start, stop, num)), get(dtype))


@face()
def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float32) -> Tensor:
    """1 on diagonal k, 0 elsewhere."""
    shape = (N, N if M is None else M)
    rows, columns = (emit("iota", shape=shape, axis=axis, dtype=get("int64")) for axis in (0, 1))
    shifted, columns = together("eye", add(rows, k), columns)
    return cast(emit("eq", shifted, columns), get(dtype))
