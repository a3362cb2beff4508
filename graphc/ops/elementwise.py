"""Arithmetic, element by element: operands of one shape and one type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphc.ir import Value
from graphc.loops import Expr, call, const, select
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.define import Sample, Vjp, define
from graphc.ops.rules import Pair, binary_vjp, elementwise_rule, pointwise, unary_vjp
from graphc.ops.samples import FLOATS, NUMBERS, binary, unary


def add_vjp(b: Builder, x: Value, y: Value, z: Value, dz: Value) -> Pair:
    """d(x + y) = dx + dy."""
    return dz, dz


def sub_vjp(b: Builder, x: Value, y: Value, z: Value, dz: Value) -> Pair:
    """d(x - y) = dx - dy."""
    return dz, b.neg(dz)


def mul_vjp(b: Builder, x: Value, y: Value, z: Value, dz: Value) -> Pair:
    """d(x y) = y dx + x dy."""
    return b.mul(dz, y), b.mul(dz, x)


def div_vjp(b: Builder, x: Value, y: Value, z: Value, dz: Value) -> Pair:
    """z = x / y: dz = dx / y - z dy / y."""
    dx = b.div(dz, y)
    return dx, b.neg(b.mul(dx, z))


def mod_vjp(b: Builder, x: Value, y: Value, z: Value, dz: Value) -> Pair:
    """z = x - floor(x / y) y, whose floor has slope 0."""
    if not z.dtype.is_float:
        return None, None
    return dz, b.neg(b.mul(dz, b.op("floordiv", x, y)))


def choice_vjp(worse: str) -> Vjp:
    """The rule of maximum ("lt") or minimum ("gt"), as torch's.

    The cotangent goes to the operand that is not `worse` than the other, half to each of equal
    ones; NaN passes it to both.
    """

    def rule(b: Builder, x: Value, y: Value, z: Value, dz: Value) -> Pair:
        if not z.dtype.is_float:
            return None, None
        shared = b.where(b.compare("eq", x, y), b.scale(dz, 0.5), dz)
        zero = b.zeros(z.type)
        dx = b.where(b.compare(worse, x, y), zero, shared)
        return dx, b.where(b.compare(worse, y, x), zero, shared)

    return binary_vjp(rule)


def neg_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    return b.neg(dy)


def abs_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """d|x| = sign(x) dx, with slope 0 at 0."""
    return b.mul(dy, b.op("sign", x))


def quotient_and_remainder(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """floor(a / b) and a - floor(a / b) b of floats, as Python's.

    The quotient rounds, so that its floor may be one too large; the remainder, by one fma, then
    has the wrong sign and both are corrected. Exact while |a / b| < 2^24 (2^53 in float64).
    """
    zero, one = const(0, a.dtype), const(1, a.dtype)
    quotient = call("floor", call("div", a, b))
    product = call("fma", call("neg", quotient), b, a)
    raw = select(call("eq", quotient, zero), a, product)  # keeps a % inf finite
    rest_below = call("and", call("lt", raw, zero), call("gt", b, zero))
    rest_above = call("and", call("gt", raw, zero), call("lt", b, zero))
    wrong = call("or", rest_below, rest_above)
    rest = select(wrong, call("add", raw, b), raw)
    signed_zero = call("copysign", zero, b)
    outside = call("gt", call("abs", rest), call("abs", b))
    rest = select(call("or", call("eq", rest, zero), outside), signed_zero, rest)
    return select(wrong, call("sub", quotient, one), quotient), rest


def floordiv_formula(a: Expr, b: Expr) -> Expr:
    if not a.dtype.is_float:
        return call("floordiv", a, b)
    quotient, rest = quotient_and_remainder(a, b)
    by_zero = call("eq", b, const(0, b.dtype))
    known = call("or", by_zero, call("eq", rest, rest))
    return select(known, quotient, rest)  # where the remainder is NaN, so is the quotient


def mod_formula(a: Expr, b: Expr) -> Expr:
    return quotient_and_remainder(a, b)[1] if a.dtype.is_float else call("mod", a, b)


def sign_formula(x: Expr) -> Expr:
    """-1, 0 or 1; NaN stays NaN and -0 becomes 0."""
    zero, one = const(0, x.dtype), const(1, x.dtype)
    if not x.dtype.is_signed:
        return select(call("gt", x, zero), one, zero)
    rest = select(call("eq", x, zero), zero, x) if x.dtype.is_float else zero
    below = select(call("lt", x, zero), const(-1, x.dtype), rest)
    return select(call("gt", x, zero), one, below)


def remainder_samples() -> Sequence[Sample]:
    """As of all binary operators, but pairs of floats with quotients below 2^20."""
    found = list(binary(-9, 9, avoid_second=(0.0,))())
    return [_with_small_quotients(s) if s.arrays[0].dtype.kind == "f" else s for s in found]


def _with_small_quotients(sample: Sample) -> Sample:
    a, b = sample.arrays
    with np.errstate(all="ignore"):
        quotient = np.abs(a.astype(np.float64) / b)
    large = np.isfinite(a) & (b != 0) & (quotient > 2**20)
    return replace(sample, arrays=(a, np.where(large, a, b)))


define(
    "add",
    infer=elementwise_rule("add", 2, NUMBERS),
    meaning=numerics.quiet(np.add),
    vjp=binary_vjp(add_vjp),
    lower=pointwise(lambda x, y: call("add", x, y)),
    samples=binary(),
    elementwise=True,
    commutative=True,
)

define(
    "sub",
    infer=elementwise_rule("sub", 2, NUMBERS),
    meaning=numerics.quiet(np.subtract),
    vjp=binary_vjp(sub_vjp),
    lower=pointwise(lambda x, y: call("sub", x, y)),
    samples=binary(),
    elementwise=True,
)

define(
    "mul",
    infer=elementwise_rule("mul", 2, NUMBERS),
    meaning=numerics.quiet(np.multiply),
    vjp=binary_vjp(mul_vjp),
    lower=pointwise(lambda x, y: call("mul", x, y)),
    samples=binary(),
    elementwise=True,
    commutative=True,
)

define(
    "div",
    infer=elementwise_rule("div", 2, FLOATS),
    meaning=numerics.quiet(np.divide),
    vjp=binary_vjp(div_vjp),
    lower=pointwise(lambda x, y: call("div", x, y)),
    samples=binary(dtypes=FLOATS, avoid_second=(0.0,)),
    elementwise=True,
)

define(
    "floordiv",
    infer=elementwise_rule("floordiv", 2, NUMBERS),
    meaning=numerics.quiet(numerics.floor_divide),
    lower=pointwise(floordiv_formula),
    samples=binary(-9, 9, avoid_second=(0.0,), differentiable=False),
    elementwise=True,
    zero_gradient=True,
)

define(
    "mod",
    infer=elementwise_rule("mod", 2, NUMBERS),
    meaning=numerics.quiet(numerics.remainder),
    vjp=binary_vjp(mod_vjp),
    lower=pointwise(mod_formula),
    samples=remainder_samples,
    elementwise=True,
)

define(
    "maximum",
    infer=elementwise_rule("maximum", 2, NUMBERS),
    meaning=numerics.quiet(np.maximum),
    vjp=choice_vjp("lt"),
    lower=pointwise(lambda x, y: call("max", x, y)),
    samples=binary(),
    elementwise=True,
    commutative=True,
)

define(
    "minimum",
    infer=elementwise_rule("minimum", 2, NUMBERS),
    meaning=numerics.quiet(np.minimum),
    vjp=choice_vjp("gt"),
    lower=pointwise(lambda x, y: call("min", x, y)),
    samples=binary(),
    elementwise=True,
    commutative=True,
)

define(
    "neg",
    infer=elementwise_rule("neg", 1, NUMBERS),
    meaning=numerics.quiet(np.negative),
    vjp=unary_vjp(neg_vjp),
    lower=pointwise(lambda x: call("neg", x)),
    samples=unary(dtypes=NUMBERS),
    elementwise=True,
)

define(
    "abs",
    infer=elementwise_rule("abs", 1, NUMBERS),
    meaning=numerics.quiet(np.absolute),
    vjp=unary_vjp(abs_vjp),
    lower=pointwise(lambda x: call("abs", x)),
    samples=unary(dtypes=NUMBERS, avoid=(0.0,)),
    elementwise=True,
)

define(
    "sign",
    infer=elementwise_rule("sign", 1, NUMBERS),
    meaning=numerics.quiet(np.sign),
    lower=pointwise(sign_formula),
    samples=unary(dtypes=NUMBERS, differentiable=False),
    elementwise=True,
    zero_gradient=True,
)

define(
    "floor",
    infer=elementwise_rule("floor", 1, FLOATS),
    meaning=numerics.quiet(np.floor),
    lower=pointwise(lambda x: call("floor", x)),
    samples=unary(-4, 4, differentiable=False),
    elementwise=True,
    zero_gradient=True,
)

define(
    "ceil",
    infer=elementwise_rule("ceil", 1, FLOATS),
    meaning=numerics.quiet(np.ceil),
    lower=pointwise(lambda x: call("ceil", x)),
    samples=unary(-4, 4, differentiable=False),
    elementwise=True,
    zero_gradient=True,
)

define(
    "round",
    infer=elementwise_rule("round", 1, FLOATS),
    meaning=numerics.quiet(np.rint),  # half to even
    lower=pointwise(lambda x: call("round", x)),
    samples=unary(-4, 4, differentiable=False),
    elementwise=True,
    zero_gradient=True,
)
