"""What normalisations have in common: standardised values, scale and offset, their derivatives.

All centre by the mean and scale by rstd = 1 / sqrt(variance + eps), the variance being the mean
of squared distances (biased). Derivatives compute mean and rstd by the same nodes as the forward
direction, so that common subexpressions leave one copy of them, and with x̂ = (x - mean) rstd use

    dx = rstd (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂))

(Ioffe and Szegedy, arXiv:1502.03167; Ba et al., arXiv:1607.06450).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.ir import TensorType, Value
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Types
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import describe, expect_dtype
from graphc.ops.samples import FLOATS

PARAMETERS = {"none": 0, "weight": 1, "both": 2}  # by attribute `affine`


@dataclass(frozen=True)
class Standardised:
    """x̂ = centred * rstd, both of x's shape; `axes` are those that statistics were taken over."""

    mean: Value
    variance: Value
    centred: Value
    rstd: Value
    axes: tuple[int, ...]


def standardise(b: Builder, x: Value, axes: Sequence[int], eps: float) -> Standardised:
    mean = b.mean(x, axes)
    centred = b.sub(x, b.expand(mean, axes, x.shape))
    variance = b.mean(b.mul(centred, centred), axes)
    return Standardised(mean, variance, centred, rstd_of(b, variance, axes, x, eps), tuple(axes))


def rstd_of(b: Builder, variance: Value, axes: Sequence[int], x: Value, eps: float) -> Value:
    return b.expand(b.op("rsqrt", b.shift(variance, eps)), axes, x.shape)


def standardise_vjp(b: Builder, norm: Standardised, xhat: Value, dxhat: Value, eps: float) -> Value:
    """rstd (dx̂ - mean(dx̂) - x̂ rstd mean(dx̂ (x - mean))): rstd stays outside of the mean, which
    can then be taken with the variance."""
    rstd = b.op("rsqrt", b.shift(norm.variance, eps))
    along = b.mul(b.mean(b.mul(dxhat, norm.centred), norm.axes), rstd)
    rest = b.sub(dxhat, expanded_mean(b, dxhat, norm.axes))
    along = b.expand(along, norm.axes, xhat.shape)
    return b.mul(norm.rstd, b.sub(rest, b.mul(xhat, along)))


def expanded_mean(b: Builder, x: Value, axes: Sequence[int]) -> Value:
    return b.expand(b.mean(x, axes), axes, x.shape)


def affine(b: Builder, xhat: Value, parameters: Sequence[Value], others: Sequence[int]) -> Value:
    """x̂ weight + bias, as many of them as there are; `others` are the axes they lack."""
    for op, parameter in zip(("mul", "add"), parameters, strict=False):
        xhat = b.op(op, xhat, b.expand(parameter, others, xhat.shape))
    return xhat


def affine_vjp(
    b: Builder, xhat: Value, parameters: Sequence[Value], others: Sequence[int], dy: Value
) -> tuple[Value, list[Value | None]]:
    """(dx̂, gradients of weight and bias)."""
    if not parameters:
        return dy, []
    dxhat = b.mul(dy, b.expand(parameters[0], others, dy.shape))
    gradients: list[Value | None] = [b.sum(b.mul(dy, xhat), others), b.sum(dy, others)]
    return dxhat, gradients[: len(parameters)]


def expect_parameters(op: str, types: Types, attrs: Attrs, shape: tuple[int, ...]) -> None:
    """Raises unless `affine` is known and weight and bias have `shape` and x's type."""
    if attrs["affine"] not in PARAMETERS:
        raise ArgumentError(f"{op}: affine is {attrs['affine']!r}, expected none, weight or both")
    expect_dtype(op, types[0].dtype, FLOATS)
    expected = TensorType(shape, types[0].dtype)
    if any(parameter != expected for parameter in types[1:]):
        raise ShapeError(
            f"{op}: operands are {describe(types)}; weight and bias must be {expected}"
        )


def expect_channels(op: str, types: Types) -> tuple[int, ...]:
    """The shape (C,) of parameters per channel. Raises ShapeError where x has no axis 1."""
    if not types or types[0].rank < 2:
        raise ShapeError(f"{op}: operands are {describe(types)}; expected x[N,C,...]")
    return (types[0].shape[1],)


def all_but_channels(x: Value) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.type.rank) if axis != 1)


def leading(x: Value, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.type.rank) if axis not in axes)


def apply_affine(y: NumpyArray, parameters: Sequence[NumpyArray]) -> NumpyArray:
    weight, bias = (*parameters, 1.0, 0.0)[:2] if len(parameters) != 1 else (parameters[0], 0.0)
    return np.asarray(y * weight + bias)


def per_channel(parameter: NumpyArray, rank: int) -> NumpyArray:
    """A parameter [C] as [1, C, 1, ...]."""
    return parameter.reshape((1, -1) + (1,) * (rank - 2))
