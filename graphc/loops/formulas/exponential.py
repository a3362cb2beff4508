"""exp, its relatives and the functions made of it: exp2, expm1, sigmoid, tanh, erf.

All reduce the argument to r = x - n ln(2), |r| <= ln(2)/2, with ln(2) in two parts of which the
first is short enough for an exact product with n (Cody and Waite, Software Manual for the
Elementary Functions, 1980), and evaluate exp(r) = 1 + r + r^2 EXP(r).
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.dtypes import float32, float64
from graphc.loops.formulas import coefficients as table
from graphc.loops.formulas.writer import (
    FORMATS,
    Value,
    bitcast,
    clamp,
    copysign,
    fma,
    polynomial,
    power_of_two,
    round_scaled,
    scale,
    select,
)

LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453


@dataclass(frozen=True)
class Constants:
    """What depends on the float type.

    ln2               ln(2) in two parts, the first of 9 or 32 bits
    exp_range         beyond it exp is 0 or infinite
    exp_normal_low    down to it exp is a normal number, whatever its argument is rounded to
    expm1_low         below it expm1 rounds to -1
    saturation        above it tanh(t / 2) rounds to 1
    tanh_split        up to it tanh is a polynomial
    erf_split, erf_high   up to which erf is a polynomial; from which on it rounds to 1
    erfc_root, log_erfc   one of them: how 1 - erf is computed in between
    """

    ln2: tuple[float, float]
    exp_range: tuple[float, float]
    exp_normal_low: float
    expm1_low: float
    saturation: float
    tanh_split: float
    erf_split: float
    erf_high: float
    exp: tuple[float, ...]
    tanh: tuple[float, ...]
    erf: tuple[float, ...]
    erfc_root: tuple[float, ...]
    log_erfc: tuple[float, ...]


CONSTANTS = {
    float32: Constants(
        ln2=(0.693359375, -0.00021219444),
        exp_range=(-104.0, 89.0),
        exp_normal_low=-86.5,
        expm1_low=-20.0,
        saturation=40.0,
        tanh_split=0.625,
        erf_split=1.1875,
        erf_high=4.0,
        exp=table.EXP_F32,
        tanh=table.TANH_F32,
        erf=table.ERF_F32,
        erfc_root=table.ERFC_ROOT_F32,
        log_erfc=(),
    ),
    float64: Constants(
        ln2=(0.6931471803691238, 1.9082149292705877e-10),
        exp_range=(-746.0, 710.0),
        exp_normal_low=-707.5,
        expm1_low=-40.0,
        saturation=60.0,
        tanh_split=0.625,
        erf_split=1.0,
        erf_high=5.95,
        exp=table.EXP_F64,
        tanh=table.TANH_F64,
        erf=table.ERF_F64,
        erfc_root=(),
        log_erfc=table.LOG_ERFC_F64,
    ),
}


def reduce_exponent(x: Value) -> tuple[Value, Value]:
    """n = round(x / ln 2), an integer, and r = x - n ln 2."""
    high, low = CONSTANTS[x.dtype].ln2
    n, integer = round_scaled(x, LOG2_E)
    return integer, fma(n, -low, fma(n, -high, x))


def exp_rest(r: Value) -> Value:
    """exp(r) - 1 for |r| <= ln(2)/2."""
    return fma(polynomial(r, CONSTANTS[r.dtype].exp), r * r, r)


def exp(x: Value) -> Value:
    """e^x. At most 1 ulp."""
    n, r = reduce_exponent(clamp(x, *CONSTANTS[x.dtype].exp_range))
    return scale(exp_rest(r) + 1.0, n)


def exp_normal(x: Value) -> Value:
    """e^x where it is a normal number: one scaling step."""
    n, r = reduce_exponent(x)
    return (exp_rest(r) + 1.0) * power_of_two(n, FORMATS[x.dtype])


def exp_negative(x: Value) -> Value:
    """e^x for x <= 0, but 0 where that is hardly a normal number: two thirds of exp's operations.

    n goes to the exponent of e^r by an integer sum. The low bits of `magic` with n added are n,
    so that n need not be taken off it. At most 1 ulp.
    """
    layout, constants = FORMATS[x.dtype], CONSTANTS[x.dtype]
    high, low = constants.ln2
    shifted = fma(x, LOG2_E, layout.magic)
    n = shifted - layout.magic
    power = exp_rest(fma(n, -low, fma(n, -high, x))) + 1.0
    exponent = bitcast(shifted, layout.signed) << layout.mantissa_bits
    scaled = bitcast(bitcast(power, layout.signed) + exponent, x.dtype)
    return select(x < constants.exp_normal_low, 0.0, scaled)


def exp2(x: Value) -> Value:
    """2^x, exact where x is an integer."""
    low, high = CONSTANTS[x.dtype].exp_range
    x = clamp(x, low * 1.5, high * 1.5)
    n, integer = round_scaled(x, 1.0)
    return scale(exp_rest((x - n) * LN_2) + 1.0, integer)


def expm1(x: Value) -> Value:
    """e^x - 1, as 2 (2^(n-1) (e^r - 1) + (2^(n-1) - 1/2)), since 2^n may be too large."""
    layout, constants = FORMATS[x.dtype], CONSTANTS[x.dtype]
    n, r = reduce_exponent(clamp(x, constants.expm1_low, constants.exp_range[1]))
    rest = exp_rest(r)
    half = power_of_two(n - 1, layout)
    sum_of_halves = fma(half, rest, half - 0.5)
    return copysign(select(n.equals(0), rest, sum_of_halves + sum_of_halves), x)


def sigmoid(x: Value) -> Value:
    """1 / (1 + e^-x), or for x < 0 e^x / (1 + e^x), so that tiny results keep their bits."""
    e = exp(-abs(x))
    return select(x < 0.0, e, 1.0) / (e + 1.0)


def tanh(x: Value) -> Value:
    """1 - 2 / (e^2t + 1) with t = |x|; for small t an odd polynomial."""
    constants, t = CONSTANTS[x.dtype], abs(x)
    z = t * t
    small = fma(polynomial(z, constants.tanh) * z, t, t)
    twice = t + t
    e = exp_normal(select(twice > constants.saturation, constants.saturation, twice))
    large = 1.0 - 2.0 / (e + 1.0)
    return copysign(select(t > constants.tanh_split, large, small), x)


def erf(x: Value) -> Value:
    """1 - erfc(t) with t = |x|; for small t an odd polynomial."""
    constants, t = CONSTANTS[x.dtype], abs(x)
    small = fma(polynomial(t * t, constants.erf), t, t)
    near = select(t > constants.erf_high, constants.erf_high, t)
    return copysign(select(t > constants.erf_split, 1.0 - _erfc(near), small), x)


def _erfc(t: Value) -> Value:
    """For t between `erf_split` and `erf_high`, as exactly as 1 - erfc(t) needs it.

    The eighth root is so smooth that its polynomial is short; the exponential of one is for
    float64, where the root would need a long one.
    """
    constants = CONSTANTS[t.dtype]
    if not constants.erfc_root:
        return exp_normal(-fma(polynomial(t, constants.log_erfc), t, t))
    result = polynomial(t, constants.erfc_root)
    for _ in range(3):
        result = result * result
    return result
