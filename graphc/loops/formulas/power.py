"""pow: |x|^y = exp(y log |x|) with the logarithm in about twice the precision, then C99's rules.

float32 does the middle in float64, to about 2^-34, and rounds once at the end. float64 keeps the
logarithm and its product with y in two doubles, to about 2^-64; products are split by Veltkamp's
and Dekker's method (A floating-point technique for extending the available precision, Numerische
Mathematik 18, 1971), which needs no fma, so that targets without one lose nothing.
"""

from __future__ import annotations

import math

from graphc.dtypes import float32, float64, int64
from graphc.loops.formulas import coefficients as table
from graphc.loops.formulas.exponential import exp_rest
from graphc.loops.formulas.logarithm import exponent_bits, nan_like, split
from graphc.loops.formulas.writer import (
    FORMATS,
    Value,
    apply,
    bitcast,
    cast,
    clamp,
    fma,
    polynomial,
    power_of_two,
    round_scaled,
    scale,
    select,
    to_float,
)

Pair = tuple[Value, Value]  # an unevaluated sum, the second far smaller than the first

# ln(2) as a sum: 32 bits, so that its products with exponents are exact, and the rest.
LN2 = (0.6931471803691238, 1.9082149292705877e-10)
TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
LOG2_E = 1.4426950408889634
# Any |y| from here on gives the same 0, 1 or infinity, and splitting it cannot overflow.
LARGEST_EXPONENT = 2.0**66


def pow(x: Value, y: Value) -> Value:
    """x^y. At most 1.2 ulp; special values as C99 annex F: x^0 = 1^y = 1, even for NaN."""
    magnitude = abs(x)
    core = power_in_double if x.dtype == float32 else power_in_pairs
    result = core(magnitude, y)
    at_ends = select(y > 0.0, magnitude, 1.0 / magnitude)
    result = select((magnitude.equals(0.0)) | magnitude.equals(math.inf), at_ends, result)
    result = select(magnitude.equals(1.0), 1.0, result)
    result = with_sign_of_base(result, x, y)
    ordered = x.equals(x) & y.equals(y)
    result = select(ordered, result, x + y)
    return select(y.equals(0.0) | x.equals(1.0), 1.0, result)


def with_sign_of_base(result: Value, x: Value, y: Value) -> Value:
    """Negative for odd y and negative x, -0 included; NaN for y no integer and finite x < 0."""
    layout = FORMATS[x.dtype]
    half = y * 0.5
    whole = apply("trunc", y).equals(y)
    odd = whole & apply("trunc", half).differs(half)
    sign_bit = bitcast(x, layout.unsigned) & layout.sign_mask
    negated = bitcast(bitcast(result, layout.unsigned) ^ sign_bit, x.dtype)
    result = select(odd, negated, result)
    undefined = (x < 0.0) & (x > -math.inf) & whole.equals(False)
    return select(undefined, nan_like(x), result)


def power_in_double(x: Value, y: Value) -> Value:
    """x^y for float32 x > 0, through float64: 2^(y log2 x)."""
    wide, layout = cast(x, float64), FORMATS[float64]
    bits = exponent_bits(wide, layout)
    m = bitcast(bitcast(wide, int64) - bits, float64)
    n = to_float(bits >> layout.mantissa_bits, float64)
    s = (m - 1.0) / (m + 1.0)
    logarithm = fma(s, polynomial(s * s, table.LOG2_F64), n)
    # 2^200 and 2^-200 are infinite and 0 in float32, and float64 still holds them.
    product = clamp(cast(y, float64) * logarithm, -200.0, 200.0)
    n, integer = round_scaled(product, 1.0)
    power = polynomial(product - n, table.EXP2_F64)
    return cast(power * power_of_two(integer, layout), float32)


def power_in_pairs(x: Value, y: Value) -> Value:
    """x^y for float64 x > 0."""
    y = clamp(y, -LARGEST_EXPONENT, LARGEST_EXPONENT)
    high, low = logarithm_in_pair(x)
    product, error = exact_product(y, high)
    error = fma(y, low, error)
    clamped = clamp(product, -760.0, 720.0)
    error = select(clamped.equals(product), error, 0.0)
    n, integer = round_scaled(clamped, LOG2_E)
    r = fma(n, -LN2[1], fma(n, -LN2[0], clamped)) + error
    return scale(exp_rest(r) + 1.0, integer)


def logarithm_in_pair(x: Value) -> Pair:
    """log x, error about 2^-64 of it: n ln 2 + 2s + 2/3 s^3 + s^5 LOG_TAIL(s^2)."""
    m, exponent = split(x)
    n = to_float(exponent, float64)
    s, s_low = quotient_of(m)
    z, z_error = exact_product(s, s)
    z_low = fma(s + s, s_low, z_error)
    cube, cube_error = exact_product(s, z)
    cube_low = cube_error + fma(s, z_low, s_low * z)
    third, third_error = exact_product(cube, TWO_THIRDS[0])
    third_low = third_error + fma(cube, TWO_THIRDS[1], cube_low * TWO_THIRDS[0])
    tail = polynomial(z, table.LOG_TAIL_F64) * z * cube
    high, rest = exact_sum(n * LN2[0], s + s)
    high, more = exact_sum(high, third)
    small = fma(n, LN2[1], s_low + s_low) + (third_low + tail)
    return exact_sum(high, more + rest + small)


def quotient_of(m: Value) -> Pair:
    """(m - 1) / (m + 1) for m near 1."""
    numerator = m - 1.0
    denominator, denominator_low = exact_sum(m, 1.0)
    quotient = numerator / denominator
    product, error = exact_product(quotient, denominator)
    remainder = fma(-quotient, denominator_low, (numerator - product) - error)
    return quotient, remainder / denominator


def exact_sum(a: Value, b: Value | float) -> Pair:
    """a + b and its rounding error (Knuth's TwoSum)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def exact_product(a: Value, b: Value | float) -> Pair:
    """a * b and its rounding error (Dekker)."""
    product = a * b
    a_high, a_low = halves(a)
    b_high, b_low = halves(b) if isinstance(b, Value) else constant_halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


SPLITTER = 2.0**27 + 1.0


def halves(a: Value) -> Pair:
    """a in two parts of 26 bits (Veltkamp)."""
    large = a * SPLITTER
    high = large - (large - a)
    return high, a - high


def constant_halves(a: float) -> tuple[float, float]:
    large = a * SPLITTER
    high = large - (large - a)
    return high, a - high
