"""Comparisons, logic, choice and conversion of each element, with NumPy's names."""

from __future__ import annotations

import math

from graphc.dtypes import get
from graphc.errors import DTypeError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_bool,
    as_float,
    as_tensor,
    broadcast,
    broadcast_shape,
    common_type,
    emit,
    like,
    strong_operand,
    to,
    together,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.tensor import Tensor

# Comparisons


def _comparison(op: str, x: ArrayLike, y: ArrayLike) -> Tensor:
    a, b = together(op, x, y)
    return emit(op, a, b)


@face()
def less(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _comparison("lt", x, y)


@face()
def less_equal(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _comparison("le", x, y)


@face()
def greater(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _comparison("gt", x, y)


@face()
def greater_equal(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _comparison("ge", x, y)


@face()
def equal(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _comparison("eq", x, y)


@face()
def not_equal(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _comparison("ne", x, y)


@face()
def isnan(x: ArrayLike) -> Tensor:
    tensor = as_tensor(x)
    return emit("ne", tensor, tensor)  # only NaN differs from itself


@face()
def isinf(x: ArrayLike) -> Tensor:
    tensor = as_float(x)
    return emit("eq", emit("abs", tensor), like(math.inf, tensor))


@face()
def isfinite(x: ArrayLike) -> Tensor:
    tensor = as_float(x)
    return emit("lt", emit("abs", tensor), like(math.inf, tensor))


# Logic


def _bits(op: str, x: ArrayLike, y: ArrayLike) -> Tensor:
    a, b = together(op, x, y)
    if a.dtype.is_float:
        raise DTypeError(f"bitwise {op}: operands are {a.dtype}; expected integers or bools")
    return emit(op, a, b)


@face()
def bitwise_and(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _bits("and", x, y)


@face()
def bitwise_or(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _bits("or", x, y)


@face()
def bitwise_xor(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _bits("xor", x, y)


@face("invert")
def bitwise_not(x: ArrayLike) -> Tensor:
    tensor = as_tensor(x)
    if tensor.dtype.is_float:
        raise DTypeError(f"bitwise not: operand is {tensor.dtype}; expected integers or bools")
    return emit("not", tensor)


def _logical(op: str, x: ArrayLike, y: ArrayLike) -> Tensor:
    a, b = together(op, as_bool(x), as_bool(y))
    return emit(op, a, b)


@face()
def logical_and(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _logical("and", x, y)


@face()
def logical_or(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _logical("or", x, y)


@face()
def logical_xor(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _logical("xor", x, y)


@face()
def logical_not(x: ArrayLike) -> Tensor:
    return emit("not", as_bool(x))


# Choice and conversion


@face()
def where(condition: ArrayLike, x: ArrayLike, y: ArrayLike) -> Tensor:
    """x where the condition holds, else y; the three broadcast together."""
    operands = [strong_operand(x), strong_operand(y)]
    dtype = common_type(*operands)
    yes, no = (to(operand, dtype) for operand in operands)
    chosen = as_bool(condition)
    together_shape = broadcast_three(chosen, yes, no)
    return emit("where", *together_shape)


def broadcast_three(*tensors: Tensor) -> list[Tensor]:
    """Tensors of different types in one shape."""
    shape = broadcast_shape("where", *(tensor.shape for tensor in tensors))
    return [broadcast(tensor, shape) for tensor in tensors]


@face()
def astype(x: ArrayLike, dtype: object) -> Tensor:
    """x in another element type; floats saturate to integers, NaN becomes 0."""
    return to(x, get(dtype))


@face()
def bitcast(x: ArrayLike, dtype: object) -> Tensor:
    """The same bits read as another type of the same width."""
    return emit("bitcast", as_tensor(x), dtype=get(dtype))


@face()
def stop_gradient(x: ArrayLike) -> Tensor:
    """x, through which no gradient flows."""
    return emit("stop_gradient", as_tensor(x))


@face()
def asarray(x: ArrayLike, dtype: object = None) -> Tensor:
    """x as a tensor: numbers become i64, f32 or bool, nested lists of numbers likewise."""
    return as_tensor(x) if dtype is None else to(x, get(dtype))
