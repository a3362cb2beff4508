"""Convolution, bias, activation and pooling as one operator that never stores the unpooled map.

    y[n, o, py, px] = pool over taps (ky, kx) of f(bias[o] + conv2d(x, w)[n, o, py * s + ky, ...])

The windows do not overlap, so each element of the convolution is computed once. Beside the pooled
values there is one small integer for each of them, which is all that the backward needs:

    max               the tap that won, u8; with relu 255 where the winner is not above 0, since
                      no gradient passes there
    average of relu   bit t is set where the element under tap t is above 0 (or NaN)
    average           nothing more

Its kernel is one nest, channels last:

    parallel n, py, px, o:
        let v = reduce argmax [ky, kx] (f(bias[o] + reduce dot [kh, kw, c] (x[...], w[...])), tap)
        store y = v.0                      relu: select(v.0 <= 0, 0, v.0)
        store tap = u8(v.1)                relu: select(v.0 <= 0, 255, v.1)

where the average folds by `sum`, or by `sum_or` of (value, bit). relu is monotone and exact, so it
is taken once, after the maximum; the values are those of max_pool2d(relu(...)) to the bit, and of
relu(max_pool2d(...)) too. Other activations are taken of every element, inside the fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.dtypes import DType, int32, uint8
from graphc.errors import ArgumentError, ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import Axis, Expr, Item, call, cast, const, reduce, select, variable
from graphc.ops.averages import meaning_avg_pool
from graphc.ops.build import Builder
from graphc.ops.conv_block_samples import block_samples
from graphc.ops.convolution import (
    Convolution,
    check_conv2d,
    convolution_options,
    describe_conv2d,
    lower_conv2d,
    meaning_conv2d,
)
from graphc.ops.define import Attrs, Cotangents, LoweringContext, Regions, Types, define
from graphc.ops.masked_pooling import MOST_BITS, bit_of, bits_type, held_type, meaning_bits
from graphc.ops.numerics import NumpyArray, widened
from graphc.ops.pooling import Pool, meaning_max_pool
from graphc.ops.windows import make_windows

OFF = 255  # the code of a window through which relu passes no gradient
MOST_TAPS = 255

# Activations whose derivative follows from their value.
ACTIVATIONS = ("none", "relu", "leaky_relu", "tanh", "sigmoid")
POOLS = ("max", "average")


@dataclass(frozen=True)
class Block:
    """The geometry of one block."""

    convolution: Convolution
    pool: Pool

    @property
    def pooled_shape(self) -> tuple[int, ...]:
        batch, filters = self.convolution.batch, self.convolution.filters
        return (batch, filters, self.pool.high.output, self.pool.wide.output)


def pool_options(attrs: Attrs) -> dict[str, Any]:
    """The attributes that the block's pooling has as an operator of its own."""
    given = {"kernel": attrs["kernel"], "stride": attrs["pool_stride"], "padding": (0, 0)}
    if attrs["pool"] == "max":
        return {**given, "dilation": (1, 1), "ceil_mode": False}
    return {**given, "ceil_mode": False, "count_include_pad": True}


def _describe(x: Sequence[int], w: Sequence[int], attrs: Attrs) -> Block:
    convolution = describe_conv2d(x, w, attrs)
    sizes = (convolution.high.output, convolution.wide.output)
    windows = make_windows("conv_pool2d", sizes, attrs["kernel"], pool_options(attrs))
    return Block(convolution, Pool(*windows))


def code_type(pool: str, activation: str, taps: int) -> DType | None:
    """The type of the second result; None where the backward needs none."""
    if pool == "max":
        return uint8
    if activation == "none":
        return None
    return bits_type(taps)


# Typing rule


def _infer(types: Types, attrs: Attrs, regions: Regions) -> Types:
    if len(types) not in (2, 3):
        raise ArgumentError(f"conv_pool2d: {len(types)} operands, expected x, w and maybe a bias")
    check_conv2d("conv_pool2d", types[:2], attrs["groups"])
    block = _describe(types[0].shape, types[1].shape, attrs)
    _check_options(block.pool, attrs)
    filters = TensorType((block.convolution.filters,), types[0].dtype)
    if len(types) == 3 and types[2] != filters:
        raise ShapeError(f"conv_pool2d: bias is {types[2]}, expected {filters}")
    code = code_type(attrs["pool"], attrs["activation"], block.pool.taps_count)
    pooled = TensorType(block.pooled_shape, types[0].dtype)
    return (pooled,) if code is None else (pooled, TensorType(block.pooled_shape, code))


def _check_options(pool: Pool, attrs: Attrs) -> None:
    kind, activation = attrs["pool"], attrs["activation"]
    if kind not in POOLS or activation not in ACTIVATIONS:
        raise ArgumentError(
            f"conv_pool2d: pool is {kind!r} and activation {activation!r}, expected one of "
            f"{POOLS} and of {ACTIVATIONS}"
        )
    if kind == "average" and activation not in ("none", "relu"):
        raise ArgumentError(f"conv_pool2d: an average of {activation} has no short backward")
    if activation == "leaky_relu" and not attrs["slope"] >= 0:
        raise ArgumentError(f"conv_pool2d: slope is {attrs['slope']}, expected at least 0")
    if pool.high.covers > 1 or pool.wide.covers > 1:
        raise ArgumentError(
            f"conv_pool2d: windows of {attrs['kernel']} at stride {attrs['pool_stride']} overlap"
        )
    most = MOST_TAPS if kind == "max" else MOST_BITS
    if pool.taps_count > most:
        raise ArgumentError(f"conv_pool2d: {pool.taps_count} elements a window, at most {most}")


# Meaning


@widened
def _meaning(x: NumpyArray, w: NumpyArray, *bias: NumpyArray, **attrs: Any) -> Any:
    unpooled = meaning_conv2d(x, w, **convolution_attrs(attrs))
    if bias:
        unpooled = unpooled + bias[0][:, None, None]
    activated = _ACTIVATE[attrs["activation"]](unpooled, attrs)
    if attrs["pool"] == "average":
        pooled = meaning_avg_pool(activated, **pool_options(attrs))
        return pooled if attrs["activation"] == "none" else (pooled, _bits(unpooled, attrs))
    pooled, position = meaning_max_pool(activated, **pool_options(attrs))
    if attrs["activation"] == "relu":
        position = np.where(pooled <= 0, OFF, position)
    return pooled, position.astype(np.uint8)


def convolution_attrs(attrs: Attrs) -> dict[str, Any]:
    """The attributes that the block's convolution has as an operator of its own."""
    return {name: attrs[name] for name in ("stride", "padding", "dilation", "groups")}


def _bits(unpooled: NumpyArray, attrs: Attrs) -> NumpyArray:
    windows = {"kernel": attrs["kernel"], "stride": attrs["pool_stride"]}
    return meaning_bits(~(unpooled <= 0), **windows)


def _sigmoid(x: NumpyArray, attrs: Attrs) -> NumpyArray:
    return np.asarray(1 / (1 + np.exp(-x)), x.dtype)


def _leaky_relu(x: NumpyArray, attrs: Attrs) -> NumpyArray:
    return np.where(x > 0, x, x * x.dtype.type(attrs["slope"]))


_ACTIVATE: Mapping[str, Callable[[NumpyArray, Mapping[str, Any]], NumpyArray]] = {
    "none": lambda x, attrs: x,
    "relu": lambda x, attrs: np.where(x <= 0, x.dtype.type(0), x),
    "leaky_relu": _leaky_relu,
    "tanh": lambda x, attrs: np.tanh(x),
    "sigmoid": _sigmoid,
}


# Gradient: through the pooling to the map, then the convolution's own


def _vjp(b: Builder, node: Node, cotangents: Cotangents) -> tuple[Value | None, ...]:
    """dx, dw and the bias' gradient, from the cotangent of the pooled values."""
    dp = cotangents[0]
    if dp is None:
        return (None,) * len(node.operands)
    x, w = node.operands[:2]
    dp = _through_activation(b, node, dp)
    dy = _unpooled(b, node, dp)
    options = convolution_options(node)
    dx = b.op("conv2d_input_grad", dy, w, input_size=x.shape[2:], **options)
    dw = b.op("conv2d_weight_grad", x, dy, kernel_size=w.shape[2:], **options)
    if len(node.operands) == 2:
        return dx, dw
    return dx, dw, b.sum(_passing(b, node, dp, dy), (0, 2, 3))


def _through_activation(b: Builder, node: Node, dp: Value) -> Value:
    """The cotangent of the winner before its activation, from its value after."""
    y, one = node.results[0], b.like(1.0, node.results[0])
    match node.attrs["activation"]:
        case "tanh":
            return b.mul(dp, b.sub(one, b.mul(y, y)))
        case "sigmoid":
            return b.mul(dp, b.mul(y, b.sub(one, y)))
        case "leaky_relu":
            positive = b.compare("gt", y, b.zeros(y.type))
            return b.where(positive, dp, b.scale(dp, node.attrs["slope"]))
        case _:
            return dp  # relu: by the code


def _unpooled(b: Builder, node: Node, dp: Value) -> Value:
    """The cotangent of the map before its activation."""
    block = _describe(node.operands[0].shape, node.operands[1].shape, node.attrs)
    size = block.convolution.output_shape[2:]
    options = pool_options(node.attrs)
    if node.attrs["pool"] == "max":
        return b.op("max_pool2d_grad", dp, node.results[1], input_size=size, **options)
    if node.attrs["activation"] == "none":
        return b.op("avg_pool2d_grad", dp, input_size=size, **options)
    share = b.div(dp, b.like(block.pool.taps_count, dp))
    windows = {"kernel": options["kernel"], "stride": options["stride"]}
    return b.op("masked_unpool2d", share, node.results[1], input_size=size, **windows)


def _passing(b: Builder, node: Node, dp: Value, dy: Value) -> Value:
    """What the bias' gradient sums: of the pooled values where their sum is that of the map."""
    if node.attrs["activation"] != "relu":
        return dp
    if node.attrs["pool"] == "average":
        return dy
    code = node.results[1]
    return b.where(b.compare("eq", code, b.like(OFF, code)), b.zeros(dp.type), dp)


# The block in simpler operators


def _decompose(b: Builder, node: Node) -> tuple[Value, ...]:
    x, w = node.operands[:2]
    attrs = node.attrs
    unpooled = b.op("conv2d", x, w, **convolution_options(node))
    if len(node.operands) == 3:
        filters = node.operands[2].shape[0]
        bias = b.reshape(node.operands[2], (filters, 1, 1))
        unpooled = b.add(unpooled, b.broadcast(bias, unpooled.shape))
    name = attrs["activation"]
    given = {"slope": attrs["slope"]} if name == "leaky_relu" else {}
    activated = unpooled if name == "none" else b.op(name, unpooled, **given)
    options = pool_options(attrs)
    if attrs["pool"] == "max":
        pooled, position = b.emit("max_pool2d", [activated], options)
        if name == "relu":
            off = b.compare("le", pooled, b.zeros(pooled.type))
            position = b.where(off, b.like(OFF, position), position)
        return pooled, position
    pooled = b.op("avg_pool2d", activated, **options)
    if name == "none":
        return (pooled,)
    on = b.op("not", b.compare("le", unpooled, b.zeros(unpooled.type)))
    windows = {"kernel": options["kernel"], "stride": options["stride"]}
    return pooled, b.op("window_bits2d", on, **windows)


# Lowering


def _lower(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr | tuple[Expr, ...]:
    x, w = (value.shape for value in ctx.node.operands[:2])
    pool = _describe(x, w, ctx.node.attrs).pool
    n, o, py, px = at
    ky, kx = variable(ctx.fresh("ky")), variable(ctx.fresh("kx"))
    axes = (Axis(ky.name, pool.high.kernel), Axis(kx.name, pool.wide.kernel))
    pixel = (pool.high.source(py, ky), pool.wide.source(px, kx))
    value = lower_conv2d(ctx, (n, o, *pixel))
    if len(ctx.node.operands) == 3:
        value = call("add", value, ctx.operand(2, (o,)))
    if ctx.node.attrs["pool"] == "max":
        return _greatest(ctx.node, axes, value, pool.tap(ky, kx))
    return _average(ctx.node, pool, axes, value, pool.tap(ky, kx))


def _greatest(node: Node, axes: tuple[Axis, ...], value: Expr, tap: Expr) -> tuple[Expr, Expr]:
    activation = node.attrs["activation"]
    if activation != "relu":
        value = _LOWER[activation](value, node.attrs)
    best = reduce("argmax", axes, value, cast(tap, int32))
    pooled: Expr = Item(best, 0, value.dtype)
    code: Expr = Item(best, 1, int32)
    if activation == "relu":
        off = call("le", pooled, const(0, pooled.dtype))
        pooled, code = select(off, const(0, pooled.dtype), pooled), select(off, _OFF, code)
    return pooled, cast(code, uint8)


def _average(
    node: Node, pool: Pool, axes: tuple[Axis, ...], value: Expr, tap: Expr
) -> Expr | tuple[Expr, Expr]:
    count = const(pool.taps_count, value.dtype)
    if node.attrs["activation"] == "none":
        return call("div", reduce("sum", axes, value), count)
    code = code_type("average", "relu", pool.taps_count)
    assert code is not None
    held = held_type(code)
    off = call("le", value, const(0, value.dtype))
    fold = reduce(
        "sum_or",
        axes,
        select(off, const(0, value.dtype), value),
        select(off, const(0, held), bit_of(tap, code)),
    )
    total, bits = Item(fold, 0, value.dtype), Item(fold, 1, held)
    return call("div", total, count), cast(bits, code)


def _lower_leaky(x: Expr, attrs: Attrs) -> Expr:
    positive = call("gt", x, const(0, x.dtype))
    return select(positive, x, call("mul", x, const(attrs["slope"], x.dtype)))


_OFF = const(OFF, int32)
_LOWER: Mapping[str, Callable[[Expr, Mapping[str, Any]], Expr]] = {
    "none": lambda x, attrs: x,
    "leaky_relu": _lower_leaky,
    "tanh": lambda x, attrs: call("tanh", x),
    "sigmoid": lambda x, attrs: call("sigmoid", x),
}


conv_pool2d = define(
    "conv_pool2d",
    infer=_infer,
    meaning=_meaning,
    vjp=_vjp,
    decompose=_decompose,
    lower=_lower,
    samples=block_samples,
    reduction=True,
    contraction=True,
    max_ulp=8,
)
