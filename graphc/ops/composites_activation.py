"""Activations: one node each, with the slope that is cheapest to compute and to save for.

No slope multiplies an infinity by a masked 0: where a branch of `where` could overflow, its
argument is bounded first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir import Attribute, Node, Value
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, Decompose, Infer, Op, Regions, Types, Vjp, define
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import elementwise_rule, of_one_result
from graphc.ops.samples import FLOATS, Samples, unary

Forward = Callable[[Builder, Value, Attrs], Value]
Backward = Callable[[Builder, Value, Value, Value, Attrs], Value]

SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715  # of the tanh form: Hendrycks and Gimpel, arXiv:1606.08415


def bounded_above(b: Builder, x: Value, bound: float) -> Value:
    return b.op("minimum", x, b.like(bound, x))


# relu: NaN stays NaN


def relu_forward(b: Builder, x: Value, attrs: Attrs) -> Value:
    """0 where x <= 0, else x."""
    zero = b.zeros(x.type)
    return b.where(b.compare("le", x, zero), zero, x)


def relu_backward(b: Builder, x: Value, y: Value, dy: Value, attrs: Attrs) -> Value:
    """From the result, so that the operand need not be kept."""
    zero = b.zeros(y.type)
    return b.where(b.compare("le", y, zero), zero, dy)


# leaky relu


def leaky_relu_forward(b: Builder, x: Value, attrs: Attrs) -> Value:
    return b.where(b.compare("gt", x, b.zeros(x.type)), x, b.scale(x, attrs["slope"]))


def leaky_relu_backward(b: Builder, x: Value, y: Value, dy: Value, attrs: Attrs) -> Value:
    return b.where(b.compare("gt", x, b.zeros(x.type)), dy, b.scale(dy, attrs["slope"]))


# elu: x where x > 0, else alpha (exp(x) - 1)


def elu_forward(b: Builder, x: Value, attrs: Attrs) -> Value:
    curve = b.op("expm1", bounded_above(b, x, 0.0))
    return b.where(b.compare("gt", x, b.zeros(x.type)), x, b.scale(curve, attrs["alpha"]))


def elu_backward(b: Builder, x: Value, y: Value, dy: Value, attrs: Attrs) -> Value:
    """alpha exp(x) below 0; the bound is a choice, since the tie of minimum at 0 halves slopes."""
    zero = b.zeros(x.type)
    positive = b.compare("gt", x, zero)
    slope = b.scale(b.exp(b.where(positive, zero, x)), attrs["alpha"])
    return b.where(positive, dy, b.mul(dy, slope))


# gelu


def gelu_forward(b: Builder, x: Value, attrs: Attrs) -> Value:
    """x Phi(x), with Phi the normal distribution's integral or its tanh form."""
    if attrs["approximate"] == "none":
        return b.mul(x, b.op("normal_cdf", x))
    return b.mul(b.scale(x, 0.5), b.shift(_twice_phi_less_one(b, x), 1.0))


def _twice_phi_less_one(b: Builder, x: Value) -> Value:
    """Of the tanh form."""
    cube = b.mul(b.mul(x, x), x)
    return b.op("tanh", b.scale(b.add(x, b.scale(cube, CUBIC)), SQRT_2_OVER_PI))


def gelu_backward(b: Builder, x: Value, y: Value, dy: Value, attrs: Attrs) -> Value:
    """Phi(x) + x Phi'(x)."""
    if attrs["approximate"] == "none":
        phi, density = b.op("normal_cdf", x), b.op("normal_density", x)
    else:
        curve = _twice_phi_less_one(b, x)
        phi = b.scale(b.shift(curve, 1.0), 0.5)
        inner = b.scale(b.shift(b.scale(b.mul(x, x), 3 * CUBIC), 1.0), 0.5 * SQRT_2_OVER_PI)
        density = b.mul(b.sub(b.like(1.0, x), b.mul(curve, curve)), inner)
    return b.mul(dy, b.add(phi, b.mul(x, density)))


# silu: x sigmoid(x)


def silu_forward(b: Builder, x: Value, attrs: Attrs) -> Value:
    return b.mul(x, b.op("sigmoid", x))


def silu_backward(b: Builder, x: Value, y: Value, dy: Value, attrs: Attrs) -> Value:
    """s (1 + x (1 - s)), with s = sigmoid(x)."""
    s = b.op("sigmoid", x)
    inner = b.shift(b.mul(x, b.sub(b.like(1.0, s), s)), 1.0)
    return b.mul(dy, b.mul(s, inner))


# softplus: log(1 + exp(z)) / beta with z = beta x; x itself where z > threshold


def softplus_forward(b: Builder, x: Value, attrs: Attrs) -> Value:
    """As max(z, 0) + log1p(exp(-|z|)), which never overflows."""
    z = b.scale(x, attrs["beta"])
    tail = b.op("log1p", b.exp(b.neg(b.op("abs", z))))
    curve = b.scale(b.add(b.op("maximum", z, b.zeros(z.type)), tail), 1 / attrs["beta"])
    return b.where(b.compare("gt", z, b.like(attrs["threshold"], z)), x, curve)


def softplus_backward(b: Builder, x: Value, y: Value, dy: Value, attrs: Attrs) -> Value:
    """sigmoid(z), and 1 beyond the threshold."""
    z = b.scale(x, attrs["beta"])
    beyond = b.compare("gt", z, b.like(attrs["threshold"], z))
    return b.where(beyond, dy, b.mul(dy, b.op("sigmoid", z)))


# Meanings


@numerics.quiet
def relu_meaning(x: NumpyArray) -> NumpyArray:
    return np.where(x <= 0, x.dtype.type(0), x)


@numerics.widened
def leaky_relu_meaning(x: NumpyArray, slope: float) -> NumpyArray:
    return np.where(x > 0, x, x * slope)


@numerics.widened
def elu_meaning(x: NumpyArray, alpha: float) -> NumpyArray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@numerics.widened
def gelu_meaning(x: NumpyArray, approximate: str) -> NumpyArray:
    if approximate == "none":
        return np.asarray(x * 0.5 * (1 + numerics.erf(x / math.sqrt(2))))
    return np.asarray(x * 0.5 * (1 + np.tanh(SQRT_2_OVER_PI * (x + CUBIC * x**3))))


@numerics.widened
def silu_meaning(x: NumpyArray) -> NumpyArray:
    return np.asarray(x * numerics.sigmoid(x))


@numerics.widened
def softplus_meaning(x: NumpyArray, beta: float, threshold: float) -> NumpyArray:
    return np.where(beta * x > threshold, x, np.logaddexp(0, beta * x) / beta)


# Records


def expect_approximation(attrs: Attrs) -> None:
    if attrs["approximate"] not in ("none", "tanh"):
        raise ArgumentError(
            f"gelu: approximate is {attrs['approximate']!r}, expected 'none' or 'tanh'"
        )


def expect_beta(attrs: Attrs) -> None:
    if not attrs["beta"] > 0:
        raise ArgumentError(f"softplus: beta is {attrs['beta']}, expected a positive number")


def activation_rule(name: str, check: Callable[[Attrs], None] | None) -> Infer:
    """A float to its own type, once `check` has passed the attributes."""
    alike = elementwise_rule(name, 1, FLOATS)

    def infer(types: Types, attrs: Attrs, regions: Regions) -> Types:
        if check is not None:
            check(attrs)
        return alike(types, attrs, regions)

    return infer


def _activation(
    name: str,
    meaning: numerics.Meaning,
    forward: Forward,
    backward: Backward,
    samples: Samples,
    check: Callable[[Attrs], None] | None = None,
) -> Op:
    return define(
        name,
        infer=activation_rule(name, check),
        meaning=meaning,
        vjp=_vjp(backward),
        decompose=_decompose(forward),
        samples=samples,
        elementwise=True,
    )


def _decompose(forward: Forward) -> Decompose:
    return lambda b, node: (forward(b, node.operands[0], node.attrs),)


def _vjp(backward: Backward) -> Vjp:
    @of_one_result
    def vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
        return (backward(b, node.operands[0], node.result, dy, node.attrs),)

    return vjp


def _all(*attributes: Mapping[str, Attribute], avoid: Sequence[float] = (0.0,)) -> Samples:
    return lambda: [s for attrs in attributes for s in unary(-3, 3, avoid=avoid, attrs=attrs)()]


EXACT, TANH = {"approximate": "none"}, {"approximate": "tanh"}
PLAIN, STEEP = {"beta": 1.0, "threshold": 20.0}, {"beta": 3.0, "threshold": 1.5}

_activation("relu", relu_meaning, relu_forward, relu_backward, _all({}))
_activation(
    "leaky_relu", leaky_relu_meaning, leaky_relu_forward, leaky_relu_backward, _all({"slope": 0.1})
)
_activation("elu", elu_meaning, elu_forward, elu_backward, _all({"alpha": 1.0}, {"alpha": 0.5}))
_activation(
    "gelu",
    gelu_meaning,
    gelu_forward,
    gelu_backward,
    _all(EXACT, TANH, avoid=()),
    expect_approximation,
)
_activation("silu", silu_meaning, silu_forward, silu_backward, _all({}, avoid=()))
_activation(
    "softplus",
    softplus_meaning,
    softplus_forward,
    softplus_backward,
    _all(PLAIN, STEEP, avoid=(0.5,)),
    expect_beta,
)
