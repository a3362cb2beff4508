"""Functions of each element, with NumPy's names: operands promote to one type and broadcast."""

from __future__ import annotations

import math

import numpy as np

from graphc.dtypes import bool_
from graphc.errors import ArgumentError, DTypeError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_float,
    as_tensor,
    cast,
    common_type,
    emit,
    float_type,
    is_weak,
    like,
    strong_operand,
    to,
    together,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_logic import isnan, less, where
from graphc.frontends.tracing.tensor import Tensor

# Arithmetic


def _arithmetic(op: str, x: ArrayLike, y: ArrayLike, of_bools: str | None = None) -> Tensor:
    """A binary operator of numbers; on two bools it is the logical `of_bools`, if there is one."""
    a, b = together(op, x, y)
    if a.dtype != bool_:
        return emit(op, a, b)
    if of_bools is None:
        raise DTypeError(f"{op}: operands are bools; expected numbers")
    return emit(of_bools, a, b)


@face()
def add(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x + y; of two bools, their logical or."""
    return _arithmetic("add", x, y, "or")


@face()
def subtract(x: ArrayLike, y: ArrayLike) -> Tensor:
    return _arithmetic("sub", x, y)


@face()
def multiply(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x * y; of two bools, their logical and."""
    return _arithmetic("mul", x, y, "and")


@face("true_divide")
def divide(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x / y; of integers in f32."""
    operands = [strong_operand(x), strong_operand(y)]
    a, b = together("divide", *operands, dtype=float_type(common_type(*operands)))
    return emit("div", a, b)


@face()
def floor_divide(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x // y, rounded towards minus infinity; an integer divided by 0 gives 0."""
    return _arithmetic("floordiv", x, y)


@face("remainder")
def mod(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x % y, with the sign of y; an integer modulo 0 gives 0."""
    return _arithmetic("mod", x, y)


@face("pow")
def power(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x ** y; whole numbers stay whole: integers give an integer, and 0 for |x ** y| below 1."""
    base, exponent = strong_operand(x), strong_operand(y)
    if is_weak(exponent) and not is_weak(base):
        simple = _simple_power(base, exponent)
        if simple is not None:
            return simple
    dtype = common_type(base, exponent)
    if not dtype.is_integer:
        return _arithmetic("pow", base, exponent)
    if isinstance(exponent, int | np.integer):
        return _whole_power(to(base, dtype), int(exponent))
    return _power_by_bits(*together("power", base, exponent))


def _simple_power(x: Tensor, exponent: float) -> Tensor | None:
    """√x and 1/x, and a few factors, without a power: exact and quicker; None for others."""
    if x.dtype == bool_:
        return None
    if exponent in (1, 2, 3) and (x.dtype.is_float or isinstance(exponent, int)):
        return _whole_power(x, int(exponent))
    if exponent == 0.5 and x.dtype.is_float:
        return emit("sqrt", x)
    if exponent == -1 and x.dtype.is_float:
        return emit("div", like(1, x), x)
    return None


def _whole_power(x: Tensor, exponent: int) -> Tensor:
    """x ** exponent as products, by squares. Raises ArgumentError for negative exponents."""
    if exponent < 0:
        raise ArgumentError(
            f"power: {x.type} ** {exponent} is no integer; use F.astype(x, 'float32') ** {exponent}"
        )
    result: Tensor | None = None
    while exponent:
        if exponent & 1:
            result = x if result is None else emit("mul", result, x)
        exponent >>= 1
        x = emit("mul", x, x) if exponent else x
    return like(1, x) if result is None else result


def _power_by_bits(x: Tensor, exponent: Tensor) -> Tensor:
    """x ** exponent for integers, one square and one product for each bit of the exponent."""
    bits = x.dtype.bits - int(x.dtype.kind == "int")  # but for the sign
    result, square = like(1, x), x
    for bit in range(bits):
        is_set = emit("ne", emit("and", exponent, like(1 << bit, exponent)), like(0, exponent))
        result = emit("where", is_set, emit("mul", result, square), result)
        square = emit("mul", square, square)
    if x.dtype.kind == "uint":
        return result
    is_fraction = emit("and", less(exponent, 0), emit("ne", emit("abs", x), like(1, x)))
    return emit("where", is_fraction, like(0, x), result)


@face()
def maximum(x: ArrayLike, y: ArrayLike) -> Tensor:
    """The greater of the two; NaN where either is NaN."""
    return _arithmetic("maximum", x, y, "or")


@face()
def minimum(x: ArrayLike, y: ArrayLike) -> Tensor:
    """The smaller of the two; NaN where either is NaN."""
    return _arithmetic("minimum", x, y, "and")


@face()
def negative(x: ArrayLike) -> Tensor:
    tensor = as_tensor(x)
    if tensor.dtype == bool_:
        raise DTypeError("negative: operand is bool; use ~x or F.logical_not")
    return emit("neg", tensor)


@face("absolute")
def abs(x: ArrayLike) -> Tensor:
    tensor = as_tensor(x)
    return tensor if tensor.dtype == bool_ else emit("abs", tensor)


@face()
def sign(x: ArrayLike) -> Tensor:
    """-1, 0 or 1; NaN stays NaN."""
    return emit("sign", as_tensor(x))


@face()
def square(x: ArrayLike) -> Tensor:
    tensor = as_tensor(x)
    return _arithmetic("mul", tensor, tensor, "and")


@face()
def reciprocal(x: ArrayLike) -> Tensor:
    tensor = as_float(x)
    return emit("div", like(1, tensor), tensor)


@face()
def clip(x: ArrayLike, min: ArrayLike = None, max: ArrayLike = None) -> Tensor:
    """x limited to min…max; None leaves a side open. NaN stays NaN."""
    tensor = as_tensor(x)
    if all_numbers(min, max):
        dtype = common_type(tensor, *(bound for bound in (min, max) if bound is not None))
        python = float if dtype.is_float else int
        bounds = {
            "min": None if min is None else python(min),
            "max": None if max is None else python(max),
        }
        return emit("clamp", cast(tensor, dtype), **bounds)
    if min is not None:
        tensor = maximum(tensor, min)
    return tensor if max is None else minimum(tensor, max)


def all_numbers(*bounds: ArrayLike) -> bool:
    return all(bound is None or is_weak(bound) for bound in bounds)


# Rounding


def _rounding(op: str, x: ArrayLike) -> Tensor:
    """Integers are whole already."""
    tensor = as_tensor(x)
    return emit(op, tensor) if tensor.dtype.is_float else tensor


@face()
def floor(x: ArrayLike) -> Tensor:
    return _rounding("floor", x)


@face()
def ceil(x: ArrayLike) -> Tensor:
    return _rounding("ceil", x)


@face("rint")
def round(x: ArrayLike, decimals: int = 0) -> Tensor:
    """To the nearest whole number, halves to the even one."""
    if decimals == 0:
        return _rounding("round", x)
    scale = 10.0**decimals
    return divide(_rounding("round", multiply(x, scale)), scale)


@face("fix")
def trunc(x: ArrayLike) -> Tensor:
    """Towards zero."""
    tensor = as_tensor(x)
    if not tensor.dtype.is_float:
        return tensor
    return where(less(tensor, 0), ceil(tensor), floor(tensor))


# Functions with fractional results: integers are taken as f32


def _fractional(op: str, x: ArrayLike) -> Tensor:
    return emit(op, as_float(x))


@face()
def exp(x: ArrayLike) -> Tensor:
    return _fractional("exp", x)


@face()
def exp2(x: ArrayLike) -> Tensor:
    return emit("exp", multiply(as_float(x), math.log(2)))


@face()
def expm1(x: ArrayLike) -> Tensor:
    """exp(x) - 1, exact near 0."""
    return _fractional("expm1", x)


@face()
def log(x: ArrayLike) -> Tensor:
    return _fractional("log", x)


@face()
def log1p(x: ArrayLike) -> Tensor:
    """log(1 + x), exact near 0."""
    return _fractional("log1p", x)


@face()
def log2(x: ArrayLike) -> Tensor:
    return multiply(_fractional("log", x), 1 / math.log(2))


@face()
def log10(x: ArrayLike) -> Tensor:
    return multiply(_fractional("log", x), 1 / math.log(10))


@face()
def sqrt(x: ArrayLike) -> Tensor:
    return _fractional("sqrt", x)


@face()
def rsqrt(x: ArrayLike) -> Tensor:
    """1 / sqrt(x)."""
    return _fractional("rsqrt", x)


@face()
def sin(x: ArrayLike) -> Tensor:
    return _fractional("sin", x)


@face()
def cos(x: ArrayLike) -> Tensor:
    return _fractional("cos", x)


@face()
def tan(x: ArrayLike) -> Tensor:
    tensor = as_float(x)
    return emit("div", emit("sin", tensor), emit("cos", tensor))


@face()
def sinh(x: ArrayLike) -> Tensor:
    """(e + e / (e + 1)) / 2 with e = exp(x) - 1, exact near 0."""
    grown = expm1(x)
    return multiply(add(grown, divide(grown, add(grown, 1))), 0.5)


@face()
def cosh(x: ArrayLike) -> Tensor:
    tensor = as_float(x)
    return multiply(add(exp(tensor), exp(negative(tensor))), 0.5)


@face()
def erf(x: ArrayLike) -> Tensor:
    """The error function."""
    return _fractional("erf", x)


@face()
def logaddexp(x: ArrayLike, y: ArrayLike) -> Tensor:
    """log(exp(x) + exp(y)), without overflow."""
    a, b = (as_float(operand) for operand in together("logaddexp", x, y))
    difference = negative(abs(subtract(a, b)))
    equal_infinities = isnan(difference)  # inf - inf
    rest = log1p(exp(where(equal_infinities, -math.inf, difference)))
    return add(maximum(a, b), rest)
