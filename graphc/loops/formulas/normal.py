"""The standard normal distribution: its density, and its integral from minus infinity.

Both need exp(-x^2 / 2), so that in float32 one costs little beside the other. What lies above
a = |x| is the density times t = 1 / (1 + a/4) times a polynomial in a t: Hastings's form
(Approximations for Digital Computers, 1955, sheet 43), in a variable that is exact near 0.
"""

from __future__ import annotations

import math

from graphc.dtypes import float32
from graphc.loops.formulas import coefficients as table
from graphc.loops.formulas.exponential import LOG2_E, erf, exp
from graphc.loops.formulas.writer import FORMATS, Value, bitcast, fma, polynomial, select

LARGEST = 13.125  # beyond it the density is hardly a normal number, and 0 here


def normal_density(x: Value) -> Value:
    """exp(-x^2 / 2) / sqrt(2 pi). In float32 at most 1.2 + 0.6 x^2 ulp, and 0 beyond `LARGEST`."""
    if x.dtype != float32:
        return exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    layout, square = FORMATS[x.dtype], x * x
    shifted = fma(square, -0.5 * LOG2_E, layout.magic)
    rest = fma(square, -0.5 * LOG2_E, layout.magic - shifted)
    power = polynomial(rest, table.NORMAL_DENSITY_F32)
    exponent = bitcast(shifted, layout.signed) << layout.mantissa_bits
    scaled = bitcast(bitcast(power, layout.signed) + exponent, x.dtype)
    return select(square > LARGEST * LARGEST, 0.0, scaled)


def normal_cdf(x: Value) -> Value:
    """The integral of the density up to x. In float32 at most 2.6 ulp where x > 0, 4.5 down to -2;
    below that it loses a digit until -3, three until -13. float64 computes it from erf, whose ulps
    are of 1."""
    if x.dtype != float32:
        return fma(erf(x * math.sqrt(0.5)), 0.5, 0.5)
    a = abs(x)
    a = select(a > LARGEST, LARGEST, a)
    t = 1.0 / fma(a, 0.25, 1.0)
    above = normal_density(x) * (polynomial(a * t, table.NORMAL_TAIL_F32) * t)
    return select(x > 0.0, 1.0 - above, above)
