"""sin and cos for every finite argument, by one exact reduction in integers.

|x| = m 2^e with an integer m of p bits. Of 2/pi only the bits from weight 2^(1 - e) down matter,
since m 2^e times the bits above are multiples of 4. Three words of them times m give
x 2/pi mod 4 as two bits of quadrant and a fraction exact far below the float type's precision,
even next to multiples of pi/2 (Payne and Hanek, Radian reduction for trigonometric functions,
SIGNUM Newsletter 18, 1983). The words are picked from the literal 2/pi by halving selects, as
formulas have no tables. Below pi/4 the argument itself is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from graphc.dtypes import float32, float64
from graphc.loops.formulas import coefficients as table
from graphc.loops.formulas.writer import (
    FORMATS,
    Format,
    Value,
    apply,
    bitcast,
    cast,
    constant,
    fma,
    polynomial,
    select,
)

# pi/2 in two doubles.
HALF_PI = 1.5707963267948966
HALF_PI_REST = 6.123233995736766e-17
SIN = {float32: table.SIN_F32, float64: table.SIN_F64}
COS = {float32: table.COS_F32, float64: table.COS_F64}


def words_of_two_over_pi(width: int, leading_zeros: int, count: int) -> list[int]:
    """2/pi after some zero bits, cut into words, the most significant first."""
    shift = width * count - leading_zeros - table.TWO_OVER_PI_BITS
    bits = table.TWO_OVER_PI << shift if shift >= 0 else table.TWO_OVER_PI >> -shift
    mask = (1 << width) - 1
    return [bits >> width * (count - 1 - i) & mask for i in range(count)]


def pick(words: Sequence[Value], first: Value, wanted: int, last: int) -> list[Value]:
    """words[first], words[first + 1], ... of a run-time `first` <= last."""
    level = 1 << (last.bit_length() - 1)
    while level:
        kept = wanted + level - 1
        far = (first & level).differs(0)
        words = [
            select(far, words[i + level], words[i]) if i + level < len(words) else words[i]
            for i in range(kept)
        ]
        level >>= 1
    return list(words)


def shift_words(words: Sequence[Value], bits: Value, width: int) -> list[Value]:
    """The words moved left by 0 ... width - 1 bits; the last word only fills."""
    opposite = (width - 1) - bits
    return [(high << bits) | (low >> 1 >> opposite) for high, low in pairwise(words)]


def multiply_words(m: Value, words: Sequence[Value]) -> tuple[Value, Value]:
    """The two upper words of m times three words, without what carries out of them."""
    first, second, third = words
    low = m * second
    middle = low + apply("mulhi", m, third)
    carry = cast(middle < low, m.dtype)
    return m * first + apply("mulhi", m, second) + carry, middle


def quadrant_and_rest(t: Value, layout: Format) -> tuple[Value, Value, Value]:
    """Of t >= pi/4: q mod 4, and r = t - q pi/2 as a float and its rounding error."""
    width = layout.bits
    bits = bitcast(t, layout.unsigned)
    # At pi/4 the biased exponent is bias - 1, and m's unit is 2^-(mantissa_bits + 1).
    exponent = bits >> layout.mantissa_bits
    offset = select(exponent < layout.bias, constant(bits, 0), exponent - (layout.bias - 1))
    m = bits & layout.mantissa_mask | layout.mantissa_mask + 1
    last = (layout.bias + 2) // width
    words = words_of_two_over_pi(width, layout.mantissa_bits + 3, last + 4)
    found = pick(
        [constant(bits, word) for word in words], offset >> width.bit_length() - 1, 4, last
    )
    high, low = multiply_words(m, shift_words(found, offset & width - 1, width))
    quadrant = high + (1 << width - 3) >> width - 2
    return quadrant, *angle(high - (quadrant << width - 2), low, layout)


def angle(high: Value, low: Value, layout: Format) -> tuple[Value, Value]:
    """The signed fixed-point fraction (two words, unit 2^(2 - width)) times pi/2, in two floats."""
    width, dtype, signed = layout.bits, layout.dtype, layout.signed
    negative = bitcast(bitcast(high, signed) >> width - 1, layout.unsigned)
    # Of the magnitude (less one in its last bit, far below what is kept) no part cancels another.
    whole = bitcast(high ^ negative, signed)
    part = cast(bitcast((low ^ negative) >> 1, signed), dtype) * 2.0 ** (1 - width)
    most = cast(whole, dtype)
    rest = cast(whole - cast(most, signed), dtype) + part
    a = most + rest
    b = rest - (a - most)
    unit = 2.0 ** (2 - width)
    factor = float(dtype.numpy.type(HALF_PI)) * unit
    factor_rest = ((HALF_PI - float(dtype.numpy.type(HALF_PI))) + HALF_PI_REST) * unit
    r = a * factor
    error = fma(a, factor, -r) + fma(a, factor_rest, b * factor)
    return with_sign(r, negative, layout), with_sign(error, negative, layout)


def with_sign(x: Value, bits: Value, layout: Format) -> Value:
    """x with its sign flipped where the top bit of `bits` is set."""
    top = bits & layout.sign_mask
    return bitcast(bitcast(x, layout.unsigned) ^ top, x.dtype)


def sin_and_cos(x: Value) -> tuple[Value, Value, Value]:
    """q mod 4 of t = |x|, sin(r), cos(r), where t = q pi/2 + r."""
    layout, t = FORMATS[x.dtype], abs(x)
    near = t < math.pi / 4
    quadrant, r, error = quadrant_and_rest(t, layout)
    r, error = select(near, t, r), select(near, 0.0, error)
    quadrant = select(near, constant(quadrant, 0), quadrant)
    z = r * r
    half = z * 0.5
    cos_start = 1.0 - half
    sin = r + fma(error, cos_start, polynomial(z, SIN[x.dtype]) * z * r)
    cos_rest = fma(polynomial(z, COS[x.dtype]), z * z, (1.0 - cos_start) - half)
    return quadrant, sin, cos_start + fma(-error, r, cos_rest)


def of_quadrant(quadrant: Value, even: Value, odd: Value, x: Value) -> Value:
    """Its function and sign by quadrant: even, odd, -even, -odd; NaN where x is not finite."""
    layout = FORMATS[x.dtype]
    value = select((quadrant & 1).equals(0), even, odd)
    signed = with_sign(value, quadrant << layout.bits - 2, layout)
    return select(abs(x) < math.inf, signed, x - x)


def sin(x: Value) -> Value:
    """At most 0.9 ulp, 1.6 without fma, for every finite x."""
    layout = FORMATS[x.dtype]
    quadrant, sine, cosine = sin_and_cos(x)
    result = of_quadrant(quadrant, sine, cosine, x)
    return with_sign(result, bitcast(x, layout.unsigned), layout)


def cos(x: Value) -> Value:
    """At most 0.9 ulp, 1.6 without fma, for every finite x: sin of the next quadrant."""
    quadrant, sine, cosine = sin_and_cos(x)
    return of_quadrant(quadrant + 1, sine, cosine, x)
