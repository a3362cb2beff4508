"""Rewrites of arithmetic, comparisons and selections.

Only identities that hold for every input, NaN, infinities and both zeros included (the payload and
sign of a NaN apart); those that hold for whole numbers alone say so. IEEE 754-2019, sections 5
and 6.3, gives the signs of zero.
"""

from __future__ import annotations

import math

from graphc.dtypes import DType
from graphc.ir import Value
from graphc.passes.patterns import Any, Apply, Literal, Match, Row

x, y, z, c = Any("x"), Any("y"), Any("z"), Any("c")


def _whole(m: Match) -> bool:
    return m.type.dtype.is_integer


def _zeros(m: Match) -> Value:
    return m.builder.zeros(m.type)


def _divide_by_power_of_two(m: Match) -> Value | None:
    """x / 2^k is x * 2^-k: both round the same real number once, where 2^-k is normal."""
    number = float(m.number("k"))
    mantissa, exponent = math.frexp(number)
    if abs(mantissa) != 0.5 or not -125 < exponent < 126:
        return None
    return m.builder.mul(m["x"], m.builder.like(1.0 / number, m["x"]))


def _cast_of_cast(m: Match) -> Value | None:
    """Skip a middle type that holds every value of the first and converts on alike."""
    first, middle, last = m["x"].dtype, m.node("inner").attrs["dtype"], m.type.dtype
    if not _holds(middle, first):
        return None
    saturates = middle.is_float and not first.is_float and last.is_integer
    if saturates and not _holds(last, first):
        return None
    return m.builder.cast(m["x"], last)


_FLOAT_DIGITS = {"float32": 24, "float64": 53}


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` is one of `wide`."""
    if wide == narrow or narrow.kind == "bool":
        return True
    if wide.kind == "bool" or (narrow.is_float and not wide.is_float):
        return False
    if wide.is_float:
        bits = _FLOAT_DIGITS.get(narrow.name, narrow.bits - (narrow.kind == "int"))
        return _FLOAT_DIGITS.get(wide.name, 0) >= bits
    if narrow.kind == wide.kind:
        return wide.bits >= narrow.bits
    return wide.kind == "int" and wide.bits > narrow.bits


ARITHMETIC = (
    Row(Apply("mul", (x, Literal(1))), lambda m: m["x"], "1 is neutral"),
    Row(Apply("div", (x, Literal(1))), lambda m: m["x"], "1 is neutral"),
    Row(Apply("sub", (x, Literal(0))), lambda m: m["x"], "x - (+0) keeps the sign of a zero"),
    Row(
        Apply("add", (x, Literal(-0.0))),
        lambda m: m["x"],
        "x + (-0) keeps the sign of a zero; x + (+0) does not",
    ),
    Row(
        Apply("add", (x, Literal(0))),
        lambda m: m["x"] if _whole(m) else None,
        "whole numbers have one zero",
    ),
    Row(
        Apply("mul", (x, Literal(0))),
        lambda m: _zeros(m) if _whole(m) else None,
        "whole numbers have no NaN, infinity or -0",
    ),
    Row(
        Apply("sub", (x, x)),
        lambda m: _zeros(m) if _whole(m) else None,
        "whole numbers have no NaN or infinity",
    ),
    Row(Apply("sub", (Literal(-0.0), x)), lambda m: m.builder.neg(m["x"]), "exact for both zeros"),
    Row(Apply("neg", (Apply("neg", (x,)),)), lambda m: m["x"], "the sign flipped twice"),
    Row(
        Apply("sub", (x, Apply("neg", (y,)))),
        lambda m: m.builder.add(m["x"], m["y"]),
        "subtraction is the addition of the negated number",
    ),
    Row(
        Apply("add", (x, Apply("neg", (y,)))),
        lambda m: m.builder.sub(m["x"], m["y"]),
        "subtraction is the addition of the negated number",
    ),
    Row(
        Apply("mul", (Apply("neg", (x,)), Apply("neg", (y,)))),
        lambda m: m.builder.mul(m["x"], m["y"]),
        "signs multiply apart from magnitudes",
    ),
    Row(
        Apply("div", (Apply("neg", (x,)), Apply("neg", (y,)))),
        lambda m: m.builder.div(m["x"], m["y"]),
        "signs divide apart from magnitudes",
    ),
    Row(
        Apply("mul", (x, Literal(-1))),
        lambda m: m.builder.neg(m["x"]) if m.type.dtype.is_signed else None,
        "a product with -1 is exact",
    ),
    Row(Apply("div", (x, Literal(None, "k"))), _divide_by_power_of_two, "a product is quicker"),
    Row(Apply("abs", (Apply("abs", (x,)),)), lambda m: m.builder.op("abs", m["x"]), "idempotent"),
    Row(
        Apply("abs", (Apply("neg", (x,)),)),
        lambda m: m.builder.op("abs", m["x"]) if m.type.dtype.is_signed else None,
        "the sign is dropped; an unsigned number has none, and wraps",
    ),
    Row(Apply("pow", (x, Literal(1))), lambda m: m["x"], "first power"),
    Row(
        Apply("pow", (x, Literal(0))),
        lambda m: m.builder.constant(1, m.type.dtype, m.type.shape),
        "pow(NaN, 0) is 1 too",
    ),
    Row(
        Apply("pow", (x, Literal(2))),
        lambda m: m.builder.mul(m["x"], m["x"]),
        "one rounding, as a correct pow has",
    ),
    Row(
        Apply("pow", (x, Literal(-1))),
        lambda m: m.builder.div(m.builder.like(1, m["x"]), m["x"]) if not _whole(m) else None,
        "one rounding, as a correct pow has; ±0 gives ±infinity in both",
    ),
    Row(Apply("maximum", (x, x)), lambda m: m["x"], "idempotent"),
    Row(Apply("minimum", (x, x)), lambda m: m["x"], "idempotent"),
)

LOGIC = (
    Row(Apply("not", (Apply("not", (x,)),)), lambda m: m["x"], "involution"),
    Row(
        Apply("not", (Apply("eq", (x, y)),)),
        lambda m: m.builder.compare("ne", m["x"], m["y"]) if m.type.dtype.kind == "bool" else None,
        "with a NaN, eq is false and ne is true",
    ),
    Row(
        Apply("not", (Apply("ne", (x, y)),)),
        lambda m: m.builder.compare("eq", m["x"], m["y"]) if m.type.dtype.kind == "bool" else None,
        "with a NaN, eq is false and ne is true",
    ),
    Row(Apply("and", (x, x)), lambda m: m["x"], "idempotent"),
    Row(Apply("or", (x, x)), lambda m: m["x"], "idempotent"),
    Row(Apply("xor", (x, x)), _zeros, "every bit equals itself"),
    Row(Apply("or", (x, Literal(0))), lambda m: m["x"], "0 is neutral"),
    Row(Apply("xor", (x, Literal(0))), lambda m: m["x"], "0 is neutral"),
    Row(Apply("and", (x, Literal(0))), _zeros, "0 absorbs"),
    Row(
        Apply("and", (x, Literal(1))),
        lambda m: m["x"] if m.type.dtype.kind == "bool" else None,
        "true is neutral",
    ),
    Row(
        Apply("or", (x, Literal(1))),
        lambda m: m.builder.like(True, m["x"]) if m.type.dtype.kind == "bool" else None,
        "true absorbs",
    ),
)

SELECTION = (
    Row(Apply("where", (Literal(1), x, y)), lambda m: m["x"], "the condition is always true"),
    Row(Apply("where", (Literal(0), x, y)), lambda m: m["y"], "the condition is always false"),
    Row(Apply("where", (c, x, x)), lambda m: m["x"], "both choices are one"),
    Row(
        Apply("where", (c, Literal(1), Literal(0))),
        lambda m: m["c"] if m.type.dtype.kind == "bool" else None,
        "the condition itself",
    ),
    Row(
        Apply("where", (Apply("not", (c,)), x, y)),
        lambda m: m.builder.where(m["c"], m["y"], m["x"]),
        "the choices exchanged",
    ),
    Row(
        Apply("where", (c, Apply("where", (c, x, y)), z)),
        lambda m: m.builder.where(m["c"], m["x"], m["z"]),
        "the inner condition is true here",
    ),
    Row(
        Apply("where", (c, x, Apply("where", (c, y, z)))),
        lambda m: m.builder.where(m["c"], m["x"], m["z"]),
        "the inner condition is false here",
    ),
)

CASTS = (
    Row(
        Apply("cast", (x,)),
        lambda m: m["x"] if m["x"].dtype == m.type.dtype else None,
        "the type it has",
    ),
    Row(Apply("cast", (Apply("cast", (x,), "inner"),)), _cast_of_cast, "the middle type holds all"),
    Row(
        Apply("bitcast", (x,)),
        lambda m: m["x"] if m["x"].dtype == m.type.dtype else None,
        "the type it has",
    ),
)
