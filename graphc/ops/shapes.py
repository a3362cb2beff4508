"""Operators that put elements elsewhere: pad, concat, flip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dtypes import float32, int32
from graphc.errors import ArgumentError, ShapeError
from graphc.ir import Attribute, Node, TensorType, Value
from graphc.loops import Expr, alltrue, call, const, floordiv, index, less, mod, select, sub, within
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, LoweringContext, Regions, Sample, Types, define
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import describe, expect_axes, expect_count, of_one_result
from graphc.ops.samples import shape_samples, truth, values, whole

Index = tuple[Expr, ...]


# pad


def pad_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """`low` and `high` elements around each dimension, `interior` between its elements."""
    expect_count("pad", types, 1)
    (x,) = types
    widths = [attrs["low"], attrs["high"], attrs["interior"]]
    if any(len(width) != x.rank for width in widths):
        raise ShapeError(f"pad: operand is {x}, expected low, high and interior for each axis")
    if any(count < 0 for width in widths for count in width):
        raise ArgumentError(f"pad: low, high and interior are {widths}; none may be negative")
    extents = zip(x.shape, *widths, strict=True)
    shape = tuple(low + n + max(n - 1, 0) * gap + high for n, low, high, gap in extents)
    return (TensorType(shape, x.dtype),)


def pad_meaning(
    x: NumpyArray,
    low: tuple[int, ...],
    high: tuple[int, ...],
    interior: tuple[int, ...],
    value: float,
) -> NumpyArray:
    extents = list(zip(x.shape, low, high, interior, strict=True))
    shape = [below + n + max(n - 1, 0) * gap + above for n, below, above, gap in extents]
    y = np.full(shape, value, x.dtype)
    y[tuple(slice(s, s + n * (gap + 1), gap + 1) for n, s, _, gap in extents)] = x
    return y


@of_one_result
def pad_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """The cotangent at the places of the operand's elements."""
    (x,) = node.operands
    if x.type.size == 0:
        return (b.zeros(x.type),)
    low = node.attrs["low"]
    step = tuple(gap + 1 for gap in node.attrs["interior"])
    stop = tuple(s + (n - 1) * k + 1 for s, n, k in zip(low, x.shape, step, strict=True))
    return (b.op("slice", dy, start=low, stop=stop, step=step),)


def lower_pad(ctx: LoweringContext, at: Index) -> Expr:
    """The operand where the index, less `low`, is a multiple of the distance and inside."""
    attrs, shape = ctx.node.attrs, ctx.node.operands[0].shape
    moved: list[Expr] = []
    guards: list[Expr | None] = []
    for i, n, low, high, gap in zip(
        at, shape, attrs["low"], attrs["high"], attrs["interior"], strict=True
    ):
        offset = sub(i, low)
        moved.append(floordiv(offset, gap + 1))
        if gap:
            guards.append(call("eq", mod(offset, gap + 1), index(0)))
        if low or high:
            guards.append(within(moved[-1], n))
    return ctx.operand(0, moved, alltrue(*guards), attrs["value"])


def _widen(
    low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...] = (), value: float = 0
) -> dict[str, Attribute]:
    gaps = interior or (0,) * len(low)
    return {"low": low, "high": high, "interior": gaps, "value": value}


define(
    "pad",
    infer=pad_rule,
    meaning=pad_meaning,
    vjp=pad_vjp,
    lower=lower_pad,
    samples=shape_samples(
        ((2, 3), _widen((1, 0), (0, 2))),
        ((2, 3), _widen((0, 1), (2, 0), (1, 2))),
        ((2, 3), _widen((1, 1), (1, 1), (2, 0), 0.5)),
        ((4,), _widen((0,), (0,), (3,))),
        ((4,), _widen((2,), (1,), value=-3.5)),
        ((1,), _widen((2,), (1,), (4,))),
        ((0, 2), _widen((1, 0), (2, 1), (1, 1), 3.0)),
        ((), _widen((), ())),
    ),
)


# concat


def concat_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """One after the other along `axis`; all other dimensions are equal."""
    axis = attrs["axis"]
    if not types:
        raise ArgumentError("concat: no operands were given, at least 1 expected")
    expect_axes("concat", types[0], (axis,))
    rests = [(t.dtype, t.shape[:axis], t.shape[axis + 1 :]) for t in types]
    if any(rest != rests[0] for rest in rests) or any(t.rank != types[0].rank for t in types):
        raise ShapeError(
            f"concat: operands are {describe(types)}; they may differ along axis {axis} only"
        )
    total = sum(t.shape[axis] for t in types)
    shape = types[0].shape
    return (TensorType((*shape[:axis], total, *shape[axis + 1 :]), types[0].dtype),)


@of_one_result
def concat_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """Each operand's part of the cotangent."""
    axis, position = node.attrs["axis"], 0
    parts: list[Value | None] = []
    for x in node.operands:
        start = tuple(position if i == axis else 0 for i in range(x.type.rank))
        stop = tuple(s + n for s, n in zip(start, x.shape, strict=True))
        parts.append(b.op("slice", dy, start=start, stop=stop, step=(1,) * x.type.rank))
        position += x.shape[axis]
    return parts


def lower_concat(ctx: LoweringContext, at: Index) -> Expr:
    """The first operand that ends beyond the index, each read within its own extent only."""
    axis = ctx.node.attrs["axis"]
    position, choices = 0, []
    for number, x in enumerate(ctx.node.operands):
        extent = x.shape[axis]
        moved = sub(at[axis], position)
        position += extent
        if extent:
            place = (*at[:axis], moved, *at[axis + 1 :])
            choices.append((position, ctx.operand(number, place, within(moved, extent))))
    return _choose(at[axis], choices, ctx)


def _choose(at: Expr, choices: list[tuple[int, Expr]], ctx: LoweringContext) -> Expr:
    if not choices:
        return const(0, ctx.node.result.dtype)
    value = choices[-1][1]
    for end, other in reversed(choices[:-1]):
        value = select(less(at, end), other, value)
    return value


def concat_samples() -> Sequence[Sample]:
    cases = [
        (((2, 3), (2, 1), (2, 2)), 1),
        (((2, 3), (1, 3)), 0),
        (((2,),), 0),
        (((1, 2, 3), (1, 0, 3), (1, 2, 3)), 1),
        (((0,), (0,)), 0),
        (((0, 2), (0, 1)), 1),
    ]
    found = [
        Sample(tuple(values(s, float32, seed=i) for i, s in enumerate(shapes)), {"axis": axis})
        for shapes, axis in cases
    ]
    found.append(Sample((truth((3,)), truth((2,))), {"axis": 0}, (), False))
    found.append(
        Sample((whole((3,), dtype=int32), whole((2,), dtype=int32)), {"axis": 0}, (), False)
    )
    return found


define(
    "concat",
    infer=concat_rule,
    meaning=lambda *xs, axis: np.concatenate(xs, axis),
    vjp=concat_vjp,
    lower=lower_concat,
    samples=concat_samples,
)


# flip


def flip_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("flip", types, 1)
    expect_axes("flip", types[0], attrs["axes"])
    return (types[0],)


@of_one_result
def flip_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    return (b.op("flip", dy, axes=node.attrs["axes"]),)


def lower_flip(ctx: LoweringContext, at: Index) -> Expr:
    shape = ctx.node.result.shape
    moved = [
        sub(shape[axis] - 1, i) if axis in ctx.node.attrs["axes"] else i
        for axis, i in enumerate(at)
    ]
    return ctx.operand(0, moved)


define(
    "flip",
    infer=flip_rule,
    meaning=lambda x, axes: np.ascontiguousarray(np.flip(x, axes)).reshape(x.shape),
    vjp=flip_vjp,
    lower=lower_flip,
    samples=shape_samples(
        ((2, 3), {"axes": (0, 1)}),
        ((2, 3), {"axes": (1,)}),
        ((2, 3), {"axes": ()}),
        ((1, 4), {"axes": (0,)}),
        ((0, 3), {"axes": (1,)}),
        ((), {"axes": ()}),
    ),
)
