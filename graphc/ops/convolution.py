"""Two-dimensional convolutions and their two gradients, which are convolutions of their own.

x[N, C, H, W], w[O, C/groups, KH, KW], y[N, O, OH, OW], as torch's conv2d. Each of the three is
bilinear, and the gradients of each are the other two:

    conv2d(x, w)              dx = input_grad(dy, w)      dw = weight_grad(x, dy)
    input_grad(dy, w)         d(dy) = conv2d(t, w)        dw = weight_grad(t, dy)
    weight_grad(x, dy)        dx = input_grad(dy, t)      d(dy) = conv2d(x, t)

Taps on padding are left out, not multiplied by zero: an infinite weight makes no NaN there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import Axis, Expr, Variable, add, alltrue, floordiv, mod, mul, reduce, variable
from graphc.ops.define import Attrs, Cotangents, LoweringContext, Regions, Sample, Types, define
from graphc.ops.numerics import NumpyArray, widened
from graphc.ops.rules import of_one_result
from graphc.ops.samples import real
from graphc.ops.windows import Window, make_windows


@dataclass(frozen=True)
class Convolution:
    """The extents of one convolution; `channels` and `filters` are those of all groups."""

    batch: int
    channels: int
    filters: int
    groups: int
    high: Window
    wide: Window

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, self.high.size, self.wide.size)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.batch, self.filters, self.high.output, self.wide.output)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        kernel = (self.high.kernel, self.wide.kernel)
        return (self.filters, self.channels // self.groups, *kernel)

    def taps(self) -> Iterator[tuple[int, int, tuple[slice, slice], tuple[slice, slice]]]:
        """(kh, kw, outputs, inputs): the elements that each tap brings together."""
        for kh in range(self.high.kernel):
            for kw in range(self.wide.kernel):
                high_out, high_in = self.high.slices(kh)
                wide_out, wide_in = self.wide.slices(kw)
                yield kh, kw, (high_out, wide_out), (high_in, wide_in)


def describe_conv2d(x: Sequence[int], w: Sequence[int], attrs: Attrs) -> Convolution:
    windows = make_windows("conv2d", x[2:], w[2:], attrs)
    return Convolution(x[0], x[1], w[0], attrs["groups"], *windows)


def _describe_input_grad(dy: Sequence[int], w: Sequence[int], attrs: Attrs) -> Convolution:
    windows = make_windows("conv2d_input_grad", attrs["input_size"], w[2:], attrs)
    return Convolution(dy[0], w[1] * attrs["groups"], w[0], attrs["groups"], *windows)


def _describe_weight_grad(x: Sequence[int], dy: Sequence[int], attrs: Attrs) -> Convolution:
    windows = make_windows("conv2d_weight_grad", x[2:], attrs["kernel_size"], attrs)
    return Convolution(x[0], x[1], dy[1], attrs["groups"], *windows)


# Typing rules


def _check_operands(op: str, types: Types, groups: int) -> None:
    first, second = types
    if first.rank != 4 or second.rank != 4:
        raise ShapeError(f"{op}: operands are {first} and {second}, expected four dimensions each")
    if first.dtype != second.dtype or not first.dtype.is_float:
        raise DTypeError(f"{op}: operands are {first} and {second}, expected one float type")
    if groups < 1:
        raise ArgumentError(f"{op}: groups is {groups}, expected at least 1")


def _check_groups(op: str, name: str, count: int, groups: int) -> None:
    if count % groups:
        raise ShapeError(f"{op}: {count} {name} do not divide into {groups} groups")


def _infer_conv2d(types: Types, attrs: Attrs, regions: Regions) -> Types:
    x, w = types
    check_conv2d("conv2d", types, attrs["groups"])
    return (TensorType(describe_conv2d(x.shape, w.shape, attrs).output_shape, x.dtype),)


def check_conv2d(op: str, types: Types, groups: int) -> None:
    """Raises ShapeError, DTypeError or ArgumentError unless x and w fit each other."""
    x, w = types
    _check_operands(op, types, groups)
    if x.shape[1] != w.shape[1] * groups:
        grouped = f" x {groups} groups" if groups > 1 else ""
        raise ShapeError(
            f"{op}: input has {x.shape[1]} channels, weight expects {w.shape[1]}{grouped}"
        )
    _check_groups(op, "filters", w.shape[0], groups)


def _infer_input_grad(types: Types, attrs: Attrs, regions: Regions) -> Types:
    dy, w = types
    _check_operands("conv2d_input_grad", types, attrs["groups"])
    _check_groups("conv2d_input_grad", "filters", w.shape[0], attrs["groups"])
    shape = _describe_input_grad(dy.shape, w.shape, attrs)
    _check_cotangent("conv2d_input_grad", dy.shape, shape)
    return (TensorType(shape.input_shape, dy.dtype),)


def _infer_weight_grad(types: Types, attrs: Attrs, regions: Regions) -> Types:
    x, dy = types
    _check_operands("conv2d_weight_grad", types, attrs["groups"])
    _check_groups("conv2d_weight_grad", "channels", x.shape[1], attrs["groups"])
    _check_groups("conv2d_weight_grad", "filters", dy.shape[1], attrs["groups"])
    shape = _describe_weight_grad(x.shape, dy.shape, attrs)
    _check_cotangent("conv2d_weight_grad", dy.shape, shape)
    return (TensorType(shape.weight_shape, x.dtype),)


def _check_cotangent(op: str, found: tuple[int, ...], shape: Convolution) -> None:
    if found != shape.output_shape:
        raise ShapeError(
            f"{op}: cotangent has shape {found}, the convolution gives {shape.output_shape}"
        )


# Meanings: one product of matrices for each tap, [G, O/G, C/G] with [N, G, C/G, pixels]


@widened
def meaning_conv2d(x: NumpyArray, w: NumpyArray, **attrs: Any) -> NumpyArray:
    shape = describe_conv2d(x.shape, w.shape, attrs)
    y = np.zeros(shape.output_shape, x.dtype)
    weights = _grouped_weight(w, shape.groups)
    for kh, kw, outputs, inputs in shape.taps():
        pixels = _grouped(x[:, :, *inputs], shape.groups)
        product = weights[..., kh, kw] @ pixels
        y[:, :, *outputs] += product.reshape(y[:, :, *outputs].shape)
    return y


@widened
def _meaning_input_grad(dy: NumpyArray, w: NumpyArray, **attrs: Any) -> NumpyArray:
    shape = _describe_input_grad(dy.shape, w.shape, attrs)
    dx = np.zeros(shape.input_shape, dy.dtype)
    weights = _grouped_weight(w, shape.groups).swapaxes(1, 2)
    for kh, kw, outputs, inputs in shape.taps():
        pixels = _grouped(dy[:, :, *outputs], shape.groups)
        product = weights[..., kh, kw] @ pixels
        dx[:, :, *inputs] += product.reshape(dx[:, :, *inputs].shape)
    return dx


@widened
def _meaning_weight_grad(x: NumpyArray, dy: NumpyArray, **attrs: Any) -> NumpyArray:
    shape = _describe_weight_grad(x.shape, dy.shape, attrs)
    dw = np.zeros(shape.weight_shape, x.dtype)
    grouped = _grouped_weight(dw, shape.groups)
    for kh, kw, outputs, inputs in shape.taps():
        pixels = _grouped(x[:, :, *inputs], shape.groups)
        cotangents = _grouped(dy[:, :, *outputs], shape.groups)
        grouped[..., kh, kw] = (cotangents @ pixels.swapaxes(-1, -2)).sum(axis=0)
    return dw


def _grouped(x: NumpyArray, groups: int) -> NumpyArray:
    """[N, C, H, W] as [N, G, C/G, H * W]."""
    batch, channels, high, wide = x.shape
    return x.reshape(batch, groups, channels // groups, high * wide)


def _grouped_weight(w: NumpyArray, groups: int) -> NumpyArray:
    """[O, C/G, KH, KW] as a view [G, O/G, C/G, KH, KW]."""
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:])


# Gradients


def convolution_options(node: Node) -> dict[str, Any]:
    """What a convolution's gradients share with it."""
    return {name: node.attrs[name] for name in ("stride", "padding", "dilation", "groups")}


@of_one_result
def _conv2d_vjp(b: Any, node: Node, dy: Value) -> Cotangents:
    x, w = node.operands
    options = convolution_options(node)
    dx = b.op("conv2d_input_grad", dy, w, input_size=x.shape[2:], **options)
    dw = b.op("conv2d_weight_grad", x, dy, kernel_size=w.shape[2:], **options)
    return dx, dw


@of_one_result
def _input_grad_vjp(b: Any, node: Node, t: Value) -> Cotangents:
    dy, w = node.operands
    options = convolution_options(node)
    d_dy = b.op("conv2d", t, w, **options)
    dw = b.op("conv2d_weight_grad", t, dy, kernel_size=w.shape[2:], **options)
    return d_dy, dw


@of_one_result
def _weight_grad_vjp(b: Any, node: Node, t: Value) -> Cotangents:
    x, dy = node.operands
    options = convolution_options(node)
    dx = b.op("conv2d_input_grad", dy, t, input_size=x.shape[2:], **options)
    d_dy = b.op("conv2d", x, t, **options)
    return dx, d_dy


# Lowerings


def _fresh(ctx: LoweringContext, *prefixes: str) -> list[Variable]:
    return [variable(ctx.fresh(prefix)) for prefix in prefixes]


def _in_group(position: Expr, per_group: int, member: Expr, members: int, groups: int) -> Expr:
    """Member `member` of the group in which `position` lies; no group at all where there is one."""
    if groups == 1:
        return member
    if members == 1:
        return floordiv(position, per_group)
    return add(mul(floordiv(position, per_group), members), member)


def lower_conv2d(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    """The sum over (kh, kw, channel) at [n, o, oh, ow]; operands 0 and 1 are x and w."""
    x, w = (value.shape for value in ctx.node.operands[:2])
    shape = describe_conv2d(x, w, ctx.node.attrs)
    n, o, oh, ow = at
    kh, kw, ci = _fresh(ctx, "kh", "kw", "ci")
    channel = _in_group(o, shape.filters // shape.groups, ci, w[1], shape.groups)
    pixel = (shape.high.source(oh, kh), shape.wide.source(ow, kw))
    return reduce(
        "dot",
        (Axis(kh.name, w[2]), Axis(kw.name, w[3]), Axis(ci.name, w[1])),
        ctx.operand(0, (n, channel, *pixel)),
        ctx.operand(1, (o, ci, kh, kw)),
        where=alltrue(shape.high.inside(oh, kh), shape.wide.inside(ow, kw)),
    )


def _lower_input_grad(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    dy, w = (value.shape for value in ctx.node.operands)
    shape = _describe_input_grad(dy, w, ctx.node.attrs)
    n, c, h, iw = at
    kh, kw, co = _fresh(ctx, "kh", "kw", "co")
    filters = shape.filters // shape.groups
    filter = _in_group(c, w[1], co, filters, shape.groups)
    channel = c if shape.groups == 1 else mod(c, w[1])
    pixel = (shape.high.target(h, kh), shape.wide.target(iw, kw))
    return reduce(
        "dot",
        (Axis(kh.name, w[2]), Axis(kw.name, w[3]), Axis(co.name, filters)),
        ctx.operand(0, (n, filter, *pixel)),
        ctx.operand(1, (filter, channel, kh, kw)),
        where=alltrue(shape.high.reaches(h, kh), shape.wide.reaches(iw, kw)),
    )


def _lower_weight_grad(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    x, dy = (value.shape for value in ctx.node.operands)
    shape = _describe_weight_grad(x, dy, ctx.node.attrs)
    o, ci, kh, kw = at
    n, oh, ow = _fresh(ctx, "n", "oh", "ow")
    members = shape.channels // shape.groups
    channel = _in_group(o, shape.filters // shape.groups, ci, members, shape.groups)
    pixel = (shape.high.source(oh, kh), shape.wide.source(ow, kw))
    return reduce(
        "dot",
        (Axis(n.name, dy[0]), Axis(oh.name, dy[2]), Axis(ow.name, dy[3])),
        ctx.operand(0, (n, channel, *pixel)),
        ctx.operand(1, (n, o, oh, ow)),
        where=alltrue(shape.high.inside(oh, kh), shape.wide.inside(ow, kw)),
        lanes=_weight_grad_lanes(shape),
    )


def _weight_grad_lanes(shape: Convolution) -> int:
    """Products are added in order, but in lanes along the width where a group has one filter: then
    there is nothing else that vectors could run along."""
    if shape.groups == 1 or shape.filters > shape.groups:
        return 1
    return next((lanes for lanes in (16, 8, 4) if shape.wide.output >= lanes), 1)


# Samples: (x, w, stride, padding, dilation, groups)

_Case = tuple[tuple[int, ...], tuple[int, ...], tuple[int, int], tuple[int, int], int, int]
_CASES: tuple[_Case, ...] = (
    ((2, 3, 5, 4), (4, 3, 3, 3), (1, 1), (1, 1), 1, 1),
    ((1, 1, 5, 7), (2, 1, 3, 2), (2, 3), (2, 0), 1, 1),
    ((2, 2, 7, 6), (3, 2, 2, 3), (1, 2), (1, 2), 2, 1),
    ((2, 4, 4, 3), (6, 2, 3, 3), (1, 1), (1, 1), 1, 2),
    ((1, 3, 5, 5), (6, 1, 3, 3), (2, 2), (1, 1), 1, 3),
    ((2, 3, 3, 2), (4, 3, 1, 1), (1, 1), (0, 0), 1, 1),
    ((2, 3, 5, 4), (2, 3, 1, 1), (2, 2), (0, 0), 1, 1),
    ((1, 2, 6, 6), (2, 2, 2, 2), (3, 3), (0, 0), 1, 1),
    ((0, 2, 4, 4), (3, 2, 3, 3), (1, 1), (0, 0), 1, 1),
    ((1, 1, 1, 1), (1, 1, 3, 3), (1, 1), (1, 1), 1, 1),
)


def _cases() -> Iterator[tuple[NumpyArray, NumpyArray, NumpyArray, dict[str, Any]]]:
    """(x, w, dy, attributes) of each case."""
    for x, w, stride, padding, dilation, groups in _CASES:
        attrs = {
            "stride": stride,
            "padding": padding,
            "dilation": (dilation, dilation),
            "groups": groups,
        }
        y = describe_conv2d(x, w, attrs).output_shape
        yield real(x, seed=1), real(w, seed=2), real(y, seed=3), attrs


def _conv2d_samples() -> list[Sample]:
    return [Sample((x, w), attrs) for x, w, _, attrs in _cases()]


def _input_grad_samples() -> list[Sample]:
    return [Sample((dy, w), {**attrs, "input_size": x.shape[2:]}) for x, w, dy, attrs in _cases()]


def _weight_grad_samples() -> list[Sample]:
    return [Sample((x, dy), {**attrs, "kernel_size": w.shape[2:]}) for x, w, dy, attrs in _cases()]


conv2d = define(
    "conv2d",
    infer=_infer_conv2d,
    meaning=meaning_conv2d,
    vjp=_conv2d_vjp,
    lower=lower_conv2d,
    samples=_conv2d_samples,
    contraction=True,
    max_ulp=8,
)

conv2d_input_grad = define(
    "conv2d_input_grad",
    infer=_infer_input_grad,
    meaning=_meaning_input_grad,
    vjp=_input_grad_vjp,
    lower=_lower_input_grad,
    samples=_input_grad_samples,
    contraction=True,
    max_ulp=8,
)

conv2d_weight_grad = define(
    "conv2d_weight_grad",
    infer=_infer_weight_grad,
    meaning=_meaning_weight_grad,
    vjp=_weight_grad_vjp,
    lower=_lower_weight_grad,
    samples=_weight_grad_samples,
    contraction=True,
    max_ulp=8,
)
