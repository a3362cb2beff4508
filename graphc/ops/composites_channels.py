"""Normalisations with parameters per channel: batch norm and group norm of x[N, C, ...].

Ioffe and Szegedy, arXiv:1502.03167; Wu and He, arXiv:1803.08494.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir import Attribute, Node, TensorType, Value
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, Regions, Sample, Types, define
from graphc.ops.normalisation import (
    PARAMETERS,
    Standardised,
    affine,
    affine_vjp,
    all_but_channels,
    apply_affine,
    expect_channels,
    expect_parameters,
    per_channel,
    rstd_of,
    standardise,
    standardise_vjp,
)
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import expect_count, of_one_result
from graphc.ops.samples import real

# group_norm


def group_norm_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """x[N, C, ...], then weight[C] and bias[C] as `affine` says; `groups` divides C."""
    expect_count("group_norm", types, 1 + PARAMETERS.get(attrs["affine"], 0))
    (channels,) = expect_channels("group_norm", types)
    expect_parameters("group_norm", types, attrs, (channels,))
    if attrs["groups"] < 1 or channels % attrs["groups"]:
        raise ArgumentError(f"group_norm: {channels} channels in {attrs['groups']} groups")
    return (types[0],)


def _grouped(b: Builder, x: Value, groups: int) -> tuple[Value, tuple[int, ...]]:
    """x as [N, groups, C / groups, ...] and the axes of a group; memory of any order shows it."""
    grouped = b.reshape(x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    return grouped, tuple(range(2, grouped.type.rank))


def _grouped_parameters(
    b: Builder, parameters: Sequence[Value], grouped: Value
) -> tuple[list[Value], tuple[int, ...]]:
    """Weight and bias as [groups, C / groups], and the axes of a grouped x that they lack."""
    shape = grouped.shape[1:3]
    others = (0, *range(3, grouped.type.rank))
    return [b.reshape(parameter, shape) for parameter in parameters], others


def group_norm_decompose(b: Builder, node: Node) -> Sequence[Value]:
    x, *parameters = node.operands
    grouped, inside = _grouped(b, x, node.attrs["groups"])
    norm = standardise(b, grouped, inside, node.attrs["eps"])
    parameters, others = _grouped_parameters(b, parameters, grouped)
    y = affine(b, b.mul(norm.centred, norm.rstd), parameters, others)
    return (b.reshape(y, x.shape),)


@of_one_result
def group_norm_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    x, *parameters = node.operands
    grouped, inside = _grouped(b, x, node.attrs["groups"])
    norm = standardise(b, grouped, inside, node.attrs["eps"])
    xhat = b.mul(norm.centred, norm.rstd)
    parameters, others = _grouped_parameters(b, parameters, grouped)
    dxhat, gradients = affine_vjp(b, xhat, parameters, others, b.reshape(dy, grouped.shape))
    dx = standardise_vjp(b, norm, xhat, dxhat, node.attrs["eps"])
    channels = x.shape[1:2]
    whole = [None if value is None else b.reshape(value, channels) for value in gradients]
    return (b.reshape(dx, x.shape), *whole)


@numerics.widened
def group_norm_meaning(
    x: NumpyArray, *parameters: NumpyArray, groups: int, eps: float, affine: str
) -> NumpyArray:
    rows = x.reshape(x.shape[0], groups, math.prod(x.shape[1:]) // groups)
    y = (rows - rows.mean(2, keepdims=True)) / np.sqrt(rows.var(2, keepdims=True) + eps)
    return apply_affine(y.reshape(x.shape), [per_channel(p, x.ndim) for p in parameters])


def group_norm_samples() -> Sequence[Sample]:
    found = []
    for shape, groups in (((2, 4, 3), 2), ((2, 6), 3), ((1, 4, 2, 2), 1), ((2, 3, 2), 3)):
        channels = (shape[1],)
        operands = real(shape, seed=1), real(channels, seed=2), real(channels, seed=3)
        for kind, count in PARAMETERS.items():
            attrs: dict[str, Attribute] = {"groups": groups, "eps": 1e-3, "affine": kind}
            found.append(Sample(operands[: 1 + count], attrs))
    return found


define(
    "group_norm",
    infer=group_norm_rule,
    meaning=group_norm_meaning,
    vjp=group_norm_vjp,
    decompose=group_norm_decompose,
    samples=group_norm_samples,
    reduction=True,
)


# Fewer elements of an image's channel have their statistics taken with all others.
_LEAST_ELEMENTS = 8

# batch_norm, training: statistics of the batch are results, for the running ones


def batch_norm_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """x[N, C, ...], weight[C], bias[C] as `affine` says -> y, mean[C], biased variance[C]."""
    expect_count("batch_norm", types, 1 + PARAMETERS.get(attrs["affine"], 0))
    channels = expect_channels("batch_norm", types)
    expect_parameters("batch_norm", types, attrs, channels)
    statistics = TensorType(channels, types[0].dtype)
    return (types[0], statistics, statistics)


def batch_norm_decompose(b: Builder, node: Node) -> Sequence[Value]:
    x, *parameters = node.operands
    others = all_but_channels(x)
    norm = _standardised_batch(b, x, node.attrs["eps"])
    y = affine(b, b.mul(norm.centred, norm.rstd), parameters, others)
    return y, norm.mean, norm.variance


def _standardised_batch(b: Builder, x: Value, eps: float) -> Standardised:
    """Mean and variance of each channel from those of each image, while it is in cache.

    With means m_n and sums of squared distances q_n of N images of k elements, m = mean(m_n) and
    N k variance = sum(q_n) + k sum((m_n - m)^2): Chan, Golub and LeVeque, 1979.
    """
    others, inside = all_but_channels(x), tuple(range(2, x.type.rank))
    images, elements = x.shape[0], math.prod(x.shape[2:])
    if elements < _LEAST_ELEMENTS or images < 2:
        return standardise(b, x, others, eps)
    own = b.mean(x, inside)
    apart = b.sub(x, b.expand(own, inside, x.shape))
    squares = b.sum(b.mul(apart, apart), inside)
    own, squares = (b.transpose(value, (1, 0)) for value in (own, squares))  # [C, N]: by rows
    mean, within = b.mean(own, (1,)), b.sum(squares, (1,))
    offset = b.sub(own, b.expand(mean, (1,), own.shape))
    between = b.scale(b.sum(b.mul(offset, offset), (1,)), elements)
    variance = _shared(b, b.add(within, between), images * elements)
    centred = b.sub(x, b.expand(mean, others, x.shape))
    return Standardised(mean, variance, centred, rstd_of(b, variance, others, x, eps), others)


def batch_norm_vjp(b: Builder, node: Node, cotangents: Cotangents) -> Cotangents:
    """From y as in `_standardised_batch_vjp`; the mean adds dmean / n, the variance
    dvariance 2 (x - mean) / n."""
    x, *parameters = node.operands
    others = all_but_channels(x)
    norm = _standardised_batch(b, x, node.attrs["eps"])
    dy, dmean, dvariance = cotangents
    gradients: list[Value | None] = [None] * len(parameters)
    parts: list[Value] = []
    count = math.prod(x.shape[axis] for axis in others)
    if dy is not None:
        rstd = b.op("rsqrt", b.shift(norm.variance, node.attrs["eps"]))
        dx, gradients = _standardised_batch_vjp(b, norm, rstd, parameters, dy)
        parts.append(dx)
    if dmean is not None:
        parts.append(b.expand(_shared(b, dmean, count), others, x.shape))
    if dvariance is not None:
        slope = b.expand(_shared(b, b.scale(dvariance, 2.0), count), others, x.shape)
        parts.append(b.mul(norm.centred, slope))
    return (_total(b, parts), *gradients)


def _standardised_batch_vjp(
    b: Builder, norm: Standardised, rstd: Value, parameters: Sequence[Value], dy: Value
) -> tuple[Value, list[Value | None]]:
    """(dx, gradients of weight and bias), all from two sums over dy: weight and rstd [C] are
    constant within a channel, so that with c = x - mean and n elements

        dx = weight rstd (dy - sum(dy) / n - c rstd^2 sum(dy c) / n)
        dweight = rstd sum(dy c),  dbias = sum(dy)
    """
    others = norm.axes
    count = math.prod(dy.shape[axis] for axis in others)
    total, along = b.sum(dy, others), b.sum(b.mul(dy, norm.centred), others)
    scale = b.mul(rstd, parameters[0]) if parameters else rstd
    slope = _shared(b, b.mul(b.mul(rstd, rstd), along), count)
    offset, slope, scale = (
        b.expand(value, others, dy.shape) for value in (_shared(b, total, count), slope, scale)
    )
    dx = b.mul(scale, b.sub(b.sub(dy, offset), b.mul(norm.centred, slope)))
    gradients: list[Value | None] = [b.mul(rstd, along), total]
    return dx, gradients[: len(parameters)]


def _shared(b: Builder, x: Value, count: int) -> Value:
    return b.div(x, b.like(count, x))


def _total(b: Builder, parts: Sequence[Value]) -> Value | None:
    total: Value | None = None
    for part in parts:
        total = part if total is None else b.add(total, part)
    return total


@numerics.widened
def batch_norm_meaning(
    x: NumpyArray, *parameters: NumpyArray, eps: float, affine: str
) -> tuple[NumpyArray, NumpyArray, NumpyArray]:
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    mean, variance = x.mean(others), x.var(others)
    y = (x - per_channel(mean, x.ndim)) / np.sqrt(per_channel(variance, x.ndim) + eps)
    return apply_affine(y, [per_channel(p, x.ndim) for p in parameters]), mean, variance


def batch_norm_samples() -> Sequence[Sample]:
    found = []
    for shape in ((4, 3), (2, 3, 4), (2, 2, 3, 2), (1, 2, 5), (3, 2, 4, 3)):
        channels = (shape[1],)
        operands = real(shape, seed=1), real(channels, seed=2), real(channels, seed=3)
        for kind, count in PARAMETERS.items():
            attrs: dict[str, Attribute] = {"eps": 1e-5, "affine": kind}
            found.append(Sample(operands[: 1 + count], attrs))
    return found


define(
    "batch_norm",
    infer=batch_norm_rule,
    meaning=batch_norm_meaning,
    vjp=batch_norm_vjp,
    decompose=batch_norm_decompose,
    samples=batch_norm_samples,
    reduction=True,
)


# batch_norm_eval: statistics are given; its decomposition's derivative is as good as any


def batch_norm_eval_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """x[N, C, ...], mean[C], variance[C], then weight[C] and bias[C] as `affine` says."""
    expect_count("batch_norm_eval", types, 3 + PARAMETERS.get(attrs["affine"], 0))
    expect_parameters("batch_norm_eval", types, attrs, expect_channels("batch_norm_eval", types))
    return (types[0],)


def batch_norm_eval_decompose(b: Builder, node: Node) -> Sequence[Value]:
    x, mean, variance, *parameters = node.operands
    others = all_but_channels(x)
    centred = b.sub(x, b.expand(mean, others, x.shape))
    rstd = rstd_of(b, variance, others, x, node.attrs["eps"])
    return (affine(b, b.mul(centred, rstd), parameters, others),)


@numerics.widened
def batch_norm_eval_meaning(
    x: NumpyArray,
    mean: NumpyArray,
    variance: NumpyArray,
    *parameters: NumpyArray,
    eps: float,
    affine: str,
) -> NumpyArray:
    mean, variance, *rest = (per_channel(p, x.ndim) for p in (mean, variance, *parameters))
    return apply_affine((x - mean) / np.sqrt(variance + eps), rest)


def batch_norm_eval_samples() -> Sequence[Sample]:
    found = []
    for sample in batch_norm_samples():
        x, *parameters = sample.arrays
        mean, variance = real(x.shape[1:2], seed=4), real(x.shape[1:2], 0.3, 2)
        found.append(Sample((x, mean, variance, *parameters), sample.attrs))
    return found


define(
    "batch_norm_eval",
    infer=batch_norm_eval_rule,
    meaning=batch_norm_eval_meaning,
    decompose=batch_norm_eval_decompose,
    samples=batch_norm_eval_samples,
)
