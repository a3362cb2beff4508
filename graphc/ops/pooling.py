"""Max pooling over windows of [N, C, H, W], as torch's max_pool2d.

The forward pass keeps one small integer for each result: the tap that won. Its gradient reads it
in gather form (each input element looks at the windows that cover it), so that it is parallel
over the input and needs no scatter. Padding never wins; NaN does, then the first tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.dtypes import DType, int32, int64, uint8
from graphc.errors import DTypeError, ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import (
    Axis,
    Expr,
    Item,
    add,
    alltrue,
    call,
    cast,
    const,
    floordiv,
    index,
    less,
    mod,
    mul,
    reduce,
    select,
    variable,
    within,
)
from graphc.ops.define import Attrs, Cotangents, LoweringContext, Regions, Sample, Types, define
from graphc.ops.numerics import NumpyArray, widened
from graphc.ops.rules import of_one_result
from graphc.ops.samples import distinct, real
from graphc.ops.windows import Window, make_windows


@dataclass(frozen=True)
class Pool:
    """The two windows of a pooling, with the arithmetic of tap numbers, kh * KW + kw."""

    high: Window
    wide: Window

    @property
    def taps_count(self) -> int:
        return self.high.kernel * self.wide.kernel

    @property
    def position_type(self) -> DType:
        return uint8 if self.taps_count <= 256 else int32

    def tap(self, kh: Expr, kw: Expr) -> Expr:
        return add(mul(kh, self.wide.kernel), kw)

    def split(self, tap: Expr) -> tuple[Expr, Expr]:
        return floordiv(tap, self.wide.kernel), mod(tap, self.wide.kernel)

    def taps(self) -> list[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
        """(tap number, outputs, inputs) of every tap."""
        found = []
        for number in range(self.taps_count):
            kh, kw = divmod(number, self.wide.kernel)
            high_out, high_in = self.high.slices(kh)
            wide_out, wide_in = self.wide.slices(kw)
            found.append((number, (high_out, wide_out), (high_in, wide_in)))
        return found


def _pool(op: str, sizes: Sequence[int], attrs: Attrs) -> Pool:
    return Pool(*make_windows(op, sizes, attrs["kernel"], attrs))


# Typing rules


def _infer_max_pool(types: Types, attrs: Attrs, regions: Regions) -> Types:
    (x,) = types
    _check_image("max_pool2d", x)
    pool = _pool("max_pool2d", x.shape[2:], attrs)
    _check_no_empty_window(pool)
    shape = (*x.shape[:2], pool.high.output, pool.wide.output)
    return TensorType(shape, x.dtype), TensorType(shape, pool.position_type)


def _check_image(op: str, x: TensorType) -> None:
    if x.rank != 4:
        raise ShapeError(f"{op}: operand is {x}, expected four dimensions")
    if not x.dtype.is_float:
        raise DTypeError(f"{op}: operand is {x}, expected a float type")


def _check_no_empty_window(pool: Pool) -> None:
    for window, name in ((pool.high, "height"), (pool.wide, "width")):
        found = {
            o for tap in range(window.kernel) for o in range(window.output)[window.slices(tap)[0]]
        }
        if len(found) < window.output:
            raise ShapeError(
                f"max_pool2d: a window lies wholly on the padding of {name} {window.size} "
                f"(kernel {window.kernel}, padding {window.padding}, dilation {window.dilation})"
            )


def _infer_max_pool_grad(types: Types, attrs: Attrs, regions: Regions) -> Types:
    dy, position = types
    _check_image("max_pool2d_grad", dy)
    pool = _pool("max_pool2d_grad", attrs["input_size"], attrs)
    _check_positions("max_pool2d_grad", dy, position, pool)
    return (TensorType((*dy.shape[:2], *attrs["input_size"]), dy.dtype),)


def _infer_max_pool_gather(types: Types, attrs: Attrs, regions: Regions) -> Types:
    x, position = types
    _check_image("max_pool2d_gather", x)
    pool = _pool("max_pool2d_gather", x.shape[2:], attrs)
    result = TensorType((*x.shape[:2], pool.high.output, pool.wide.output), x.dtype)
    _check_positions("max_pool2d_gather", result, position, pool)
    return (result,)


def _check_positions(op: str, pooled: TensorType, position: TensorType, pool: Pool) -> None:
    expected = TensorType(
        (*pooled.shape[:2], pool.high.output, pool.wide.output), pool.position_type
    )
    if position != expected or pooled.shape != expected.shape:
        raise ShapeError(
            f"{op}: pooled values are {pooled} and positions {position}, expected "
            f"positions {expected}"
        )


# Meanings


def meaning_max_pool(x: NumpyArray, **attrs: Any) -> tuple[NumpyArray, NumpyArray]:
    pool = _pool("max_pool2d", x.shape[2:], attrs)
    shape = (*x.shape[:2], pool.high.output, pool.wide.output)
    best = np.full(shape, -np.inf, x.dtype)
    position = np.full(shape, -1)
    for number, outputs, inputs in pool.taps():
        here, candidate = (..., *outputs), x[..., *inputs]
        greater = (candidate > best[here]) | (np.isnan(candidate) & ~np.isnan(best[here]))
        wins = greater | (position[here] < 0)
        best[here] = np.where(wins, candidate, best[here])
        position[here] = np.where(wins, number, position[here])
    return best, position.astype(pool.position_type.numpy)


@widened
def _meaning_max_pool_grad(dy: NumpyArray, position: NumpyArray, **attrs: Any) -> NumpyArray:
    pool = _pool("max_pool2d_grad", attrs["input_size"], attrs)
    dx = np.zeros((*dy.shape[:2], *attrs["input_size"]), dy.dtype)
    for number, outputs, inputs in pool.taps():
        won = position[..., *outputs] == number
        dx[..., *inputs] += np.where(won, dy[..., *outputs], 0)
    return dx


def _meaning_max_pool_gather(x: NumpyArray, position: NumpyArray, **attrs: Any) -> NumpyArray:
    pool = _pool("max_pool2d_gather", x.shape[2:], attrs)
    y = np.zeros(position.shape, x.dtype)
    for number, outputs, inputs in pool.taps():
        won = position[..., *outputs] == number
        y[..., *outputs] = np.where(won, x[..., *inputs], y[..., *outputs])
    return y


# Gradients


def _options(node: Node) -> dict[str, Any]:
    names = ("kernel", "stride", "padding", "dilation", "ceil_mode")
    return {name: node.attrs[name] for name in names}


def _max_pool_vjp(b: Any, node: Node, cotangents: Cotangents) -> tuple[Value | None]:
    dy = cotangents[0]
    if dy is None:
        return (None,)
    size = node.operands[0].shape[2:]
    return (b.op("max_pool2d_grad", dy, node.results[1], input_size=size, **_options(node)),)


@of_one_result
def _max_pool_grad_vjp(b: Any, node: Node, t: Value) -> Cotangents:
    return b.op("max_pool2d_gather", t, node.operands[1], **_options(node)), None


@of_one_result
def _max_pool_gather_vjp(b: Any, node: Node, t: Value) -> Cotangents:
    x, position = node.operands
    return b.op("max_pool2d_grad", t, position, input_size=x.shape[2:], **_options(node)), None


# Lowerings


def _lower_max_pool(ctx: LoweringContext, at: tuple[Expr, ...]) -> tuple[Expr, Expr]:
    pool = _pool("max_pool2d", ctx.node.operands[0].shape[2:], ctx.node.attrs)
    n, c, oh, ow = at
    kh, kw = variable(ctx.fresh("kh")), variable(ctx.fresh("kw"))
    axes = (Axis(kh.name, pool.high.kernel), Axis(kw.name, pool.wide.kernel))
    x = ctx.operand(0, (n, c, pool.high.source(oh, kh), pool.wide.source(ow, kw)))
    where = alltrue(pool.high.inside(oh, kh), pool.wide.inside(ow, kw))
    best = reduce("argmax", axes, x, cast(pool.tap(kh, kw), int32), where=where)
    return Item(best, 0, x.dtype), cast(Item(best, 1, int32), pool.position_type)


def _lower_max_pool_grad(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    """Each element sums over the windows that cover it, in increasing order.

    Windows that do not overlap need no sum: the one window is known from the element.
    """
    attrs = ctx.node.attrs
    pool = _pool("max_pool2d_grad", attrs["input_size"], attrs)
    n, c, h, w = at
    high_number, high_axes = _candidates(ctx, pool.high, "jh")
    wide_number, wide_axes = _candidates(ctx, pool.wide, "jw")
    axes = high_axes + wide_axes
    oh, ow = pool.high.covering(h, high_number), pool.wide.covering(w, wide_number)
    tap = pool.tap(pool.high.tap_of(h, oh), pool.wide.tap_of(w, ow))
    covered = alltrue(pool.high.is_covered(h, oh), pool.wide.is_covered(w, ow))
    guard = None if axes else covered
    won = call("eq", ctx.operand(1, (n, c, oh, ow), guard), cast(tap, pool.position_type))
    dy = ctx.operand(0, (n, c, oh, ow), guard)
    value = select(won, dy, const(0, dy.dtype))
    return reduce("sum", axes, value, where=covered) if axes else value


def _candidates(ctx: LoweringContext, window: Window, prefix: str) -> tuple[Expr, tuple[Axis, ...]]:
    """The number of a covering window and the axis that it runs over; none for a single one."""
    if window.covers == 1:
        return index(0), ()
    number = variable(ctx.fresh(prefix))
    return number, (Axis(number.name, window.covers),)


def _lower_max_pool_gather(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    pool = _pool("max_pool2d_gather", ctx.node.operands[0].shape[2:], ctx.node.attrs)
    n, c, oh, ow = at
    kh, kw = pool.split(cast(ctx.operand(1, at), int64))
    h, w = pool.high.source(oh, kh), pool.wide.source(ow, kw)
    counts = less(cast(ctx.operand(1, at), int64), pool.taps_count)
    guard = alltrue(counts, within(h, pool.high.size), within(w, pool.wide.size))
    return ctx.operand(0, (n, c, h, w), guard)


# Samples: (shape, kernel, stride, padding, dilation, ceil_mode)

_Pair = tuple[int, int]
_CASES: tuple[tuple[tuple[int, ...], _Pair, _Pair, _Pair, _Pair, bool], ...] = (
    ((2, 3, 4, 6), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((1, 2, 5, 7), (3, 3), (1, 1), (1, 1), (1, 1), False),
    ((2, 1, 5, 5), (2, 3), (3, 2), (1, 1), (1, 1), True),
    ((1, 2, 7, 6), (2, 3), (2, 1), (1, 2), (2, 2), False),
    ((1, 1, 6, 5), (3, 2), (2, 2), (0, 0), (2, 3), True),
    ((1, 1, 5, 5), (1, 1), (2, 3), (0, 0), (1, 1), False),
    ((1, 1, 17, 18), (17, 16), (1, 1), (0, 0), (1, 1), False),
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False),
)


def _cases() -> list[tuple[NumpyArray, dict[str, Any]]]:
    names = ("kernel", "stride", "padding", "dilation", "ceil_mode")
    return [
        (distinct(shape, seed=5), dict(zip(names, options, strict=True)))
        for shape, *options in _CASES
    ]


def _max_pool_samples() -> list[Sample]:
    """Also NaN, infinities and ties, which have no derivative to compare."""
    special = real((2, 2, 6, 6), seed=6)
    special[0, :, ::2, 1:3] = np.nan
    special[0, :, 3:, 3:] = -np.inf
    special[1] = np.round(special[1])
    whole_infinity = np.full((1, 1, 3, 3), -np.inf, np.float32)
    attrs = _cases()[1][1]
    edges = [Sample((x,), attrs, differentiable=False) for x in (special, whole_infinity)]
    return [Sample((x,), attrs) for x, attrs in _cases()] + edges


def _max_pool_grad_samples() -> list[Sample]:
    samples = []
    for x, attrs in _cases():
        y, position = meaning_max_pool(x, **attrs)
        dy = real(y.shape, seed=7)
        samples.append(Sample((dy, position), {**attrs, "input_size": x.shape[2:]}))
    return samples


def _max_pool_gather_samples() -> list[Sample]:
    return [Sample((x, meaning_max_pool(x, **attrs)[1]), attrs) for x, attrs in _cases()]


max_pool2d = define(
    "max_pool2d",
    infer=_infer_max_pool,
    meaning=meaning_max_pool,
    vjp=_max_pool_vjp,
    lower=_lower_max_pool,
    samples=_max_pool_samples,
    reduction=True,
)

max_pool2d_grad = define(
    "max_pool2d_grad",
    infer=_infer_max_pool_grad,
    meaning=_meaning_max_pool_grad,
    vjp=_max_pool_grad_vjp,
    lower=_lower_max_pool_grad,
    samples=_max_pool_grad_samples,
    reduction=True,
    max_ulp=8,
)

max_pool2d_gather = define(
    "max_pool2d_gather",
    infer=_infer_max_pool_gather,
    meaning=_meaning_max_pool_gather,
    vjp=_max_pool_gather_vjp,
    lower=_lower_max_pool_gather,
    samples=_max_pool_gather_samples,
)
