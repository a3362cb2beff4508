"""What each primitive operation of the loop language computes, on NumPy arrays, to the bit.

>>> from graphc.dtypes import int32
>>> int(apply("floordiv", int32, np.int32(-7), np.int32(0)))
0
>>> int(apply("cast", int32, np.float32(3e9)))
2147483647
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graphc.dtypes import DType
from graphc.errors import CompileError

Array: TypeAlias = NDArray[Any]


def apply(op: str, dtype: DType, *args: Any) -> Array:
    """The operation on arrays (or NumPy scalars), its result of type `dtype`.

    Raises CompileError for an operation that is not primitive.
    """
    if op not in OPERATIONS and op not in CONVERSIONS:
        raise CompileError(f"no operation {op!r} in the loop language")
    arrays = [np.asarray(arg) for arg in args]
    with np.errstate(all="ignore"):
        if op in CONVERSIONS:
            return CONVERSIONS[op](arrays[0], dtype)
        return np.asarray(OPERATIONS[op](*arrays))


# Conversions


def cast(x: Array, dtype: DType) -> Array:
    """Float to integer saturates, NaN to 0; integer to integer keeps low bits; bool is x != 0."""
    if dtype.kind == "bool":
        return np.asarray(x != 0)
    if x.dtype.kind != "f" or dtype.is_float:
        return x.astype(dtype.numpy)
    limits = np.iinfo(dtype.numpy)
    whole = np.trunc(x.astype(np.float64))
    # The powers of two at which the type ends are exact floats, unlike its greatest value.
    inside = (whole >= float(limits.min)) & (whole < float(limits.max // 2 + 1) * 2)
    result = np.where(inside, whole, 0).astype(dtype.numpy)
    result = np.where(whole >= float(limits.max // 2 + 1) * 2, dtype.numpy.type(limits.max), result)
    return np.where(whole < float(limits.min), dtype.numpy.type(limits.min), result)


def bitcast(x: Array, dtype: DType) -> Array:
    return x.view(dtype.numpy) if x.ndim else x.reshape(1).view(dtype.numpy).reshape(())


CONVERSIONS: dict[str, Callable[[Array, DType], Array]] = {"cast": cast, "bitcast": bitcast}


# Numbers


def maximum(a: Array, b: Array) -> Array:
    """a where a > b or a is NaN, else b: NaN wins, and of equal zeros the second."""
    return np.where((a > b) | (a != a), a, b)


def minimum(a: Array, b: Array) -> Array:
    return np.where((a < b) | (a != a), a, b)


def floor_divide(a: Array, b: Array) -> Array:
    quotient = np.floor_divide(a, np.where(_undivided(a, b), b.dtype.type(1), b))
    return np.where(b == 0, b.dtype.type(0), np.where(_overflows(a, b), a, quotient))


def floor_modulo(a: Array, b: Array) -> Array:
    remainder = np.mod(a, np.where(_undivided(a, b), b.dtype.type(1), b))
    return np.where(_undivided(a, b), b.dtype.type(0), remainder)


def _undivided(a: Array, b: Array) -> Array:
    return np.asarray((b == 0) | _overflows(a, b))


def _overflows(a: Array, b: Array) -> Array:
    """The least integer divided by -1, which wraps to itself."""
    if a.dtype.kind != "i":
        return np.zeros(np.broadcast(a, b).shape, bool)
    return np.asarray((b == -1) & (a == np.iinfo(a.dtype).min))


def multiply_high(a: Array, b: Array) -> Array:
    """The upper half of the double-width product of integers, their bits read as unsigned."""
    half, unsigned = 4 * a.dtype.itemsize, np.dtype(f"u{a.dtype.itemsize}")
    mask = unsigned.type((1 << half) - 1)
    a_high, a_low, b_high, b_low = (
        part for x in (a.astype(unsigned), b.astype(unsigned)) for part in (x >> half, x & mask)
    )
    cross = a_high * b_low + (a_low * b_low >> half)
    other = a_low * b_high + (cross & mask)
    return np.asarray(a_high * b_high + (cross >> half) + (other >> half)).astype(a.dtype)


def shift_left(a: Array, b: Array) -> Array:
    return np.asarray(np.left_shift(a, b & b.dtype.type(8 * a.dtype.itemsize - 1)))


def shift_right(a: Array, b: Array) -> Array:
    return np.asarray(np.right_shift(a, b & b.dtype.type(8 * a.dtype.itemsize - 1)))


# fma


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c rounded once, for float32 and float64."""
    a, b, c = np.broadcast_arrays(a, b, c)
    rounded_once = _fma_single if a.dtype == np.float32 else _fma_double
    return np.asarray(rounded_once(*np.atleast_1d(a, b, c))).reshape(a.shape)


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b and its rounding error (Knuth)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def _to_odd(total: Array, error: Array) -> Array:
    """total + error rounded to odd, of a sum already rounded to nearest and its error.

    An inexact sum with an even last bit moves one step toward the exact value. Rounding the
    result again, to a type at least two bits shorter, then equals rounding the exact sum once
    (Boldo and Melquiond, Emulation of FMA and correctly rounded sums, IEEE ToC 57, 2008).
    """
    bits = total.view(np.int64)
    inexact = (error != 0) & np.isfinite(error) & np.isfinite(total) & (bits & 1 == 0)
    outward = (error > 0) == (total > 0)
    return np.where(inexact, bits + np.where(outward, 1, -1), bits).view(np.float64)


def _fma_single(a: Array, b: Array, c: Array) -> Array:
    """Through float64, where the product is exact, its sum with c rounded to odd."""
    product = a.astype(np.float64) * b.astype(np.float64)
    return _to_odd(*_two_sum(product, c.astype(np.float64))).astype(np.float32)


_SPLITTER = 2.0**27 + 1.0


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a * b and its rounding error (Dekker), barring overflow and underflow."""

    def halves(x: Array) -> tuple[Array, Array]:
        large = x * _SPLITTER
        high = large - (large - x)
        return high, x - high

    product = a * b
    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _fma_double(a: Array, b: Array, c: Array) -> Array:
    """Boldo and Melquiond's sum of three; by fractions where it might over- or underflow."""
    product, product_error = _two_product(a, b)
    low, low_error = _two_sum(c, product_error)
    high, high_error = _two_sum(product, low)
    result = high + _to_odd(*_two_sum(low_error, high_error))
    # An exact 0 takes the sign of the plain sum, which is then exact as well.
    plain = a * b + c
    finite = np.isfinite(a) & np.isfinite(b) & np.isfinite(c)
    result = np.where(finite & (result != 0), result, plain)
    for i in zip(*np.nonzero(_may_leave_range(a, b, c)), strict=True):
        result[i] = _fma_exact(float(a[i]), float(b[i]), float(c[i]))
    return result


def _may_leave_range(a: Array, b: Array, c: Array) -> Array:
    """Finite operands of which some step of the splitting could over- or underflow."""
    finite = np.isfinite(a) & np.isfinite(b) & np.isfinite(c)
    exact_zero = (a == 0) | (b == 0)
    magnitudes = [np.frexp(x)[1] for x in (a, b)]
    exponent = magnitudes[0] + magnitudes[1]
    large = (np.maximum(*magnitudes) > 990) | (exponent > 1000) | (np.frexp(c)[1] > 1000)
    small = exponent < -900
    return np.asarray(finite & ~exact_zero & (large | small))


def _fma_exact(a: float, b: float, c: float) -> float:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c
    try:
        return exact.numerator / exact.denominator  # Python rounds the quotient of ints once
    except OverflowError:
        return float("inf") if exact > 0 else float("-inf")


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "fma": fma,
    "neg": np.negative,
    "abs": np.abs,
    "min": minimum,
    "max": maximum,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "select": np.where,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "copysign": np.copysign,
    "floordiv": floor_divide,
    "mod": floor_modulo,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "shl": shift_left,
    "shr": shift_right,
    "mulhi": multiply_high,
}
