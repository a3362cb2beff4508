"""Normalisations of each position over its trailing dimensions: layer norm and RMS norm.

Ba et al., arXiv:1607.06450; Zhang and Sennrich, arXiv:1910.07467.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import Attribute, Node, Value
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, Regions, Sample, Types, define
from graphc.ops.normalisation import (
    PARAMETERS,
    affine,
    affine_vjp,
    apply_affine,
    expect_parameters,
    leading,
    standardise,
    standardise_vjp,
)
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import expect_axes, expect_count, of_one_result
from graphc.ops.samples import real

# layer_norm


def trailing_axes(op: str, types: Types, attrs: Attrs) -> tuple[int, ...]:
    """The normalised shape. Raises unless `axes` are the last of x's."""
    expect_count(op, types, 1 + PARAMETERS.get(attrs["affine"], 0))
    (x, *_), axes = types, attrs["axes"]
    expect_axes(op, x, axes)
    if not axes or tuple(axes) != tuple(range(x.rank - len(axes), x.rank)):
        raise ShapeError(f"{op}: axes {axes} of {x}; expected trailing ones")
    return x.shape[x.rank - len(axes) :]


def layer_norm_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """x, then weight and bias of the normalised shape as `affine` says."""
    expect_parameters("layer_norm", types, attrs, trailing_axes("layer_norm", types, attrs))
    return (types[0],)


def layer_norm_decompose(b: Builder, node: Node) -> Sequence[Value]:
    x, *parameters = node.operands
    axes = node.attrs["axes"]
    norm = standardise(b, x, axes, node.attrs["eps"])
    return (affine(b, b.mul(norm.centred, norm.rstd), parameters, leading(x, axes)),)


@of_one_result
def layer_norm_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    x, *parameters = node.operands
    axes = node.attrs["axes"]
    norm = standardise(b, x, axes, node.attrs["eps"])
    xhat = b.mul(norm.centred, norm.rstd)
    dxhat, gradients = affine_vjp(b, xhat, parameters, leading(x, axes), dy)
    return (standardise_vjp(b, norm, xhat, dxhat, node.attrs["eps"]), *gradients)


@numerics.widened
def layer_norm_meaning(
    x: NumpyArray, *parameters: NumpyArray, axes: tuple[int, ...], eps: float, affine: str
) -> NumpyArray:
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return apply_affine(y, parameters)


def layer_norm_samples() -> Sequence[Sample]:
    found = []
    for shape, axes in (((3, 5), (1,)), ((2, 3, 4), (1, 2)), ((2, 3, 4), (2,)), ((4,), (0,))):
        normal = shape[axes[0] :]
        operands = real(shape, seed=1), real(normal, seed=2), real(normal, seed=3)
        for kind, count in PARAMETERS.items():
            attrs: dict[str, Attribute] = {"axes": axes, "eps": 1e-5, "affine": kind}
            found.append(Sample(operands[: 1 + count], attrs))
    plain: dict[str, Attribute] = {"axes": (1,), "eps": 1e-5, "affine": "none"}
    found += [Sample((real((3, 1)),), plain), Sample((real((0, 4)),), plain)]
    odd = np.array([[100, 100, 101], [np.nan, 0, 1], [5, 5, 5]], np.float32)
    return [*found, Sample((odd,), plain, (), False)]


define(
    "layer_norm",
    infer=layer_norm_rule,
    meaning=layer_norm_meaning,
    vjp=layer_norm_vjp,
    decompose=layer_norm_decompose,
    samples=layer_norm_samples,
    reduction=True,
)


# rms_norm


def rms_norm_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """x, then weight and bias of the normalised shape as `affine` says."""
    expect_parameters("rms_norm", types, attrs, trailing_axes("rms_norm", types, attrs))
    return (types[0],)


def _root_mean_square(b: Builder, node: Node) -> tuple[Value, Value]:
    """(1 / rms, x / rms), both of x's shape."""
    x = node.operands[0]
    scale = b.expand(_inverse_root_mean_square(b, node), node.attrs["axes"], x.shape)
    return scale, b.mul(x, scale)


def _inverse_root_mean_square(b: Builder, node: Node) -> Value:
    x = node.operands[0]
    squares = b.mean(b.mul(x, x), node.attrs["axes"])
    return b.op("rsqrt", b.shift(squares, node.attrs["eps"]))


def rms_norm_decompose(b: Builder, node: Node) -> Sequence[Value]:
    x, *parameters = node.operands
    _, xhat = _root_mean_square(b, node)
    return (affine(b, xhat, parameters, leading(x, node.attrs["axes"])),)


@of_one_result
def rms_norm_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """dx = (dx̂ - x̂ mean(dx̂ x) / rms) / rms: 1 / rms stays outside of the mean, which can then be
    taken with that of the squares."""
    x, *parameters = node.operands
    axes = node.attrs["axes"]
    scale, xhat = _root_mean_square(b, node)
    dxhat, gradients = affine_vjp(b, xhat, parameters, leading(x, axes), dy)
    along = b.mul(b.mean(b.mul(dxhat, x), axes), _inverse_root_mean_square(b, node))
    along = b.mul(xhat, b.expand(along, axes, x.shape))
    return (b.mul(scale, b.sub(dxhat, along)), *gradients)


@numerics.widened
def rms_norm_meaning(
    x: NumpyArray, *parameters: NumpyArray, axes: tuple[int, ...], eps: float, affine: str
) -> NumpyArray:
    y = x / np.sqrt((x * x).mean(axes, keepdims=True) + eps)
    return apply_affine(y, parameters)


define(
    "rms_norm",
    infer=rms_norm_rule,
    meaning=rms_norm_meaning,
    vjp=rms_norm_vjp,
    decompose=rms_norm_decompose,
    samples=layer_norm_samples,
    reduction=True,
)
