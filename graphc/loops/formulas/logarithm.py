"""log and log1p: x = 2^n (1 + f), log x = n ln(2) + log(1 + f).

float32  2/3 <= 1 + f < 4/3, log(1 + f) = f + f^2 LOG(f)
float64  1/sqrt(2) <= 1 + f < sqrt(2); with s = f / (2 + f) and z = s^2
         log(1 + f) = f - (f^2/2 - s (f^2/2 + z LOG(z))), as in Sun's fdlibm e_log.c, which keeps
         the leading term f exact
"""

from __future__ import annotations

import math

from graphc.dtypes import float32
from graphc.loops.formulas import coefficients as table
from graphc.loops.formulas.exponential import CONSTANTS
from graphc.loops.formulas.writer import (
    FORMATS,
    Format,
    Value,
    bitcast,
    constant,
    copysign,
    fma,
    polynomial,
    select,
    to_float,
)

# The bits of the least mantissa: 2/3 and 1/sqrt(2).
LEAST_MANTISSA = {"float32": 0x3F2AAAAB, "float64": 0x3FE6A09E667F3BCD}
QUIET_NAN = {"float32": 0x7FC00000, "float64": 0x7FF8000000000000}


def nan_like(x: Value) -> Value:
    """A NaN of x's type."""
    return bitcast(constant(x, QUIET_NAN[x.dtype.name], FORMATS[x.dtype].unsigned), x.dtype)


def exponent_bits(x: Value, layout: Format) -> Value:
    """n << mantissa_bits for x = 2^n m with m about 1."""
    exponent_mask = -1 << layout.mantissa_bits
    return (bitcast(x, layout.signed) - LEAST_MANTISSA[x.dtype.name]) & exponent_mask


def log_of_sum(f: Value, n: Value) -> Value:
    """n ln(2) + log(1 + f); n is a float."""
    high, low = CONSTANTS[f.dtype].ln2
    if f.dtype == float32:
        rest = fma(polynomial(f, table.LOG_F32), f * f, f)
        return fma(n, high, fma(n, low, rest))
    s = f / (f + 2.0)
    z = s * s
    half_square = f * 0.5 * f
    odd = s * fma(polynomial(z, table.LOG_F64), z, half_square)
    return fma(n, high, f - (half_square - fma(n, low, odd)))


def split(x: Value) -> tuple[Value, Value]:
    """x = 2^n m of a positive finite number, denormals too: m about 1, n an integer."""
    layout = FORMATS[x.dtype]
    shift = layout.mantissa_bits + 2
    denormal = x < layout.smallest_normal
    normal = select(denormal, x * float(2**shift), x)
    bits = exponent_bits(normal, layout)
    m = bitcast(bitcast(normal, layout.signed) - bits, x.dtype)
    n = bits >> layout.mantissa_bits
    return m, n - select(denormal, constant(n, shift), 0)


def log(x: Value) -> Value:
    """The natural logarithm. At most 1 ulp; -inf at 0, NaN below."""
    m, n = split(x)
    result = log_of_sum(m - 1.0, to_float(n, x.dtype))
    result = select(x < math.inf, result, x)
    result = select(x < 0.0, nan_like(x), result)
    return select(x.equals(0.0), -math.inf, result)


def log1p(x: Value) -> Value:
    """log(1 + x): with 1 + x = 2^n (1 + f), f = 2^-n x + (2^-n - 1), which loses nothing."""
    layout = FORMATS[x.dtype]
    bits = exponent_bits(x + 1.0, layout)
    # 4 * 2^-n is a normal number for every n.
    four = bitcast((layout.bias + 2 << layout.mantissa_bits) - bits, x.dtype)
    f = fma(four * x, 0.25, fma(four, 0.25, -1.0))
    result = log_of_sum(f, to_float(bits >> layout.mantissa_bits, x.dtype))
    result = select(x < math.inf, result, x)
    result = select(x < -1.0, nan_like(x), result)
    return copysign(select(x.equals(-1.0), -math.inf, result), x)
