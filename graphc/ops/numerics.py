"""NumPy meanings that need care: total conversions, exact rounding, no warnings.

A float32 meaning is computed in float64 and rounded once where NumPy's own float32 function may
be some ulp off, so that the oracle is correctly rounded (but for rare double roundings) and a
backend's error is its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias

import numpy as np

from graphc.dtypes import DType, bool_

NumpyArray: TypeAlias = "np.ndarray[Any, Any]"
Meaning = Callable[..., Any]


def quiet(meaning: Meaning) -> Meaning:
    """The same meaning with no floating point warnings, and arrays also where rank is 0."""

    @wraps(meaning)
    def call(*arrays: NumpyArray, **attributes: Any) -> Any:
        with np.errstate(all="ignore"):
            result = meaning(*arrays, **attributes)
        return tuple(map(np.asarray, result)) if isinstance(result, tuple) else np.asarray(result)

    return call


def widened(meaning: Meaning) -> Meaning:
    """The same meaning, with float32 operands computed in float64 and results rounded once."""

    @wraps(meaning)
    def call(*arrays: NumpyArray, **attributes: Any) -> Any:
        single = any(array.dtype == np.float32 for array in arrays)
        result = meaning(*map(_widen, arrays), **attributes)
        if not single:
            return result
        return tuple(map(_narrow, result)) if isinstance(result, tuple) else _narrow(result)

    return quiet(call)


def _widen(array: NumpyArray) -> NumpyArray:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _narrow(array: NumpyArray) -> NumpyArray:
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype == np.float64 else array


@quiet
def convert(x: NumpyArray, dtype: DType) -> NumpyArray:
    """Total conversion: floats to integers truncate, saturate, and NaN gives 0.

    Integers to integers keep the low bits; to bool is x != 0.

    >>> from graphc.dtypes import int32, uint8
    >>> convert(np.array([1e20, -1e20, np.nan, -2.7]), int32).tolist()
    [2147483647, -2147483648, 0, -2]
    >>> convert(np.array([300, -1]), uint8).tolist()
    [44, 255]
    """
    if dtype == bool_:
        return np.asarray(x != 0)
    if x.dtype.kind == "f" and dtype.is_integer:
        return _saturate(x, dtype)
    return np.asarray(x).astype(dtype.numpy)


def _saturate(x: NumpyArray, dtype: DType) -> NumpyArray:
    limits = np.iinfo(dtype.numpy)
    # float(limits.max) may round up to the next power of two; what reaches it saturates anyway.
    low, high = x <= float(limits.min), x >= float(limits.max)
    inside = np.where(low | high | np.isnan(x), 0, x).astype(dtype.numpy)
    return np.where(high, limits.max, np.where(low, limits.min, inside)).astype(dtype.numpy)


_erf: Callable[[NumpyArray], NumpyArray] = np.vectorize(math.erf, otypes=[np.float64])


@widened
def erf(x: NumpyArray) -> NumpyArray:
    """The error function, by the C library's, within 1 ulp."""
    return _erf(x)


@widened
def sigmoid(x: NumpyArray) -> NumpyArray:
    """1 / (1 + exp(-x)), with no overflow on either side."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


@quiet
def floor_divide(a: NumpyArray, b: NumpyArray) -> NumpyArray:
    """Quotient toward minus infinity; integers: x // 0 is 0, and INT_MIN // -1 wraps."""
    if a.dtype.kind != "f":
        return np.where(b == 0, a.dtype.type(0), np.floor_divide(a, b))
    return np.floor_divide(a, b)


@quiet
def remainder(a: NumpyArray, b: NumpyArray) -> NumpyArray:
    """a - floor_divide(a, b) * b, with the sign of b; integers: x % 0 is 0."""
    return np.remainder(a, b)
