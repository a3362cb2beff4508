"""Functions of floats, element by element: exponentials, roots, sigmoids, sines, powers.

Each lowers to the formula of its name; float32 meanings are correctly rounded (see numerics).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from graphc.dtypes import float32, float64
from graphc.ir import Value
from graphc.loops import Expr, call, const
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.define import Op, Sample, define
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import Pair, binary_vjp, elementwise_rule, pointwise, unary_vjp
from graphc.ops.samples import FLOATS, SHAPES, Samples, edge_pairs, real, unary


def exp_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """exp' = exp."""
    return b.mul(dy, y)


def expm1_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """exp(x), not y + 1, which cancels where x is far below 0."""
    return b.mul(dy, b.exp(x))


def log_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    return b.div(dy, x)


def log1p_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    return b.div(dy, b.shift(x, 1.0))


def sqrt_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """1 / (2 sqrt(x)); infinite at 0."""
    return b.div(b.scale(dy, 0.5), y)


def rsqrt_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """-x^(-3/2) / 2, as -y / (2 x)."""
    return b.div(b.mul(b.scale(dy, -0.5), y), x)


def tanh_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """1 - tanh^2."""
    return b.mul(dy, b.sub(b.like(1.0, y), b.mul(y, y)))


def sigmoid_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """y (1 - y)."""
    return b.mul(dy, b.mul(y, b.sub(b.like(1.0, y), y)))


def erf_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """2 / sqrt(pi) exp(-x^2)."""
    return b.mul(b.scale(dy, 2 / math.sqrt(math.pi)), b.exp(b.neg(b.mul(x, x))))


def normal_cdf_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    return b.mul(dy, b.op("normal_density", x))


def normal_density_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """-x times the density."""
    return b.mul(dy, b.neg(b.mul(x, y)))


def normal_cdf_meaning(x: NumpyArray) -> NumpyArray:
    return np.asarray(0.5 * (1 + numerics.erf(x / math.sqrt(2))))


def normal_density_meaning(x: NumpyArray) -> NumpyArray:
    return np.asarray(np.exp(x * x * -0.5) / math.sqrt(2 * math.pi))


def sin_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    return b.mul(dy, b.op("cos", x))


def cos_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    return b.neg(b.mul(dy, b.op("sin", x)))


def pow_vjp(b: Builder, x: Value, y: Value, z: Value, dz: Value) -> Pair:
    """z = x^y: dz = y x^(y-1) dx + z log(x) dy.

    Where y is 0 the first slope is 0, whatever x (0^0 is 1); the exponent is kept off -1 there,
    so that no infinity is masked and then multiplied by 0 in a second derivative. The second
    slope is taken only where x > 0, else 0.
    """
    zero, one = b.zeros(z.type), b.like(1.0, z)
    flat = b.compare("eq", y, zero)
    exponent = b.where(flat, one, b.sub(y, one))
    slope = b.where(flat, zero, b.mul(y, b.op("pow", x, exponent)))
    positive = b.compare("gt", x, zero)
    logarithm = b.log(b.where(positive, x, one))
    growth = b.where(positive, b.mul(z, logarithm), zero)
    return b.mul(dz, slope), b.mul(dz, growth)


def rsqrt_meaning(x: NumpyArray) -> NumpyArray:
    return np.asarray(1 / np.sqrt(x))


def rsqrt_formula(x: Expr) -> Expr:
    return call("div", const(1, x.dtype), call("sqrt", x))


def circular_samples() -> Sequence[Sample]:
    """Angles up to a few thousand turns; infinities give NaN."""
    plain = list(unary(-7, 7)())[:-2]
    for dtype in (float32, float64):
        special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, 1e4, -1e4], dtype.numpy)
        plain.append(Sample((special,), {}, (), False))
        plain.append(Sample((real((40,), -2e4, 2e4, dtype),), {}, (), False))
    return plain


def power_samples() -> Sequence[Sample]:
    """Positive bases with any exponent, whole exponents with negative bases, every edge pair."""
    found = [Sample((real(s, 0.2, 3, seed=5), real(s, -2, 2, seed=6))) for s in SHAPES]
    bases = np.array([-1.5, -2.0, 0.0, 0.0, 0.0, 3.0, -0.5], np.float32)
    exponents = np.array([2.0, 3.0, 2.0, 1.0, 0.0, 0.0, -1.0], np.float32)
    found.append(Sample((bases, exponents), {}, (), False))
    doubles = real((7,), 0.2, 3, float64), real((7,), -2, 2, float64)
    return [*found, Sample(doubles), *(Sample(edge_pairs(t), {}, (), False) for t in FLOATS)]


def _function(
    name: str,
    meaning: numerics.Meaning,
    vjp: Callable[[Builder, Value, Value, Value], Value],
    samples: Samples,
    max_ulp: float,
    formula: Callable[[Expr], Expr] | None = None,
) -> Op:
    return define(
        name,
        infer=elementwise_rule(name, 1, FLOATS),
        meaning=numerics.widened(meaning),
        vjp=unary_vjp(vjp),
        lower=pointwise(formula or (lambda x: call(name, x))),
        samples=samples,
        elementwise=True,
        max_ulp=max_ulp,
    )


_function("exp", np.exp, exp_vjp, unary(-3, 3), max_ulp=2)
_function("expm1", np.expm1, expm1_vjp, unary(-2, 2), max_ulp=3)
_function("log", np.log, log_vjp, unary(0.2, 4), max_ulp=2)
_function("log1p", np.log1p, log1p_vjp, unary(-0.7, 4), max_ulp=3)
_function("sqrt", np.sqrt, sqrt_vjp, unary(0.2, 4), max_ulp=0.5)
_function("rsqrt", rsqrt_meaning, rsqrt_vjp, unary(0.2, 4), max_ulp=1.5, formula=rsqrt_formula)
_function("tanh", np.tanh, tanh_vjp, unary(-3, 3), max_ulp=2)
_function("sigmoid", numerics.sigmoid, sigmoid_vjp, unary(-4, 4), max_ulp=2.5)
_function("erf", numerics.erf, erf_vjp, unary(-2.5, 2.5), max_ulp=2)
_function("normal_cdf", normal_cdf_meaning, normal_cdf_vjp, unary(-3, 3), max_ulp=8)
_function("normal_density", normal_density_meaning, normal_density_vjp, unary(-3, 3), max_ulp=8)
_function("sin", np.sin, sin_vjp, circular_samples, max_ulp=2)
_function("cos", np.cos, cos_vjp, circular_samples, max_ulp=2)

define(
    "pow",
    infer=elementwise_rule("pow", 2, FLOATS),
    meaning=numerics.widened(np.power),
    vjp=binary_vjp(pow_vjp),
    lower=pointwise(lambda x, y: call("pow", x, y)),
    samples=power_samples,
    elementwise=True,
    max_ulp=4,
)
