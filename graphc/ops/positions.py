"""Operators along one axis: argmax and argmin, and the cumulative sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.dtypes import int64
from graphc.errors import ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import (
    Buffer,
    Expr,
    Item,
    Local,
    Loop,
    Statement,
    Store,
    call,
    const,
    index,
    load,
    reduce,
    sub,
    variable,
)
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.define import (
    Attrs,
    Cotangents,
    Infer,
    Lower,
    LoweringContext,
    NestContext,
    Op,
    Regions,
    Sample,
    Types,
    define,
)
from graphc.ops.numerics import NumpyArray
from graphc.ops.reductions import reduced_index, reduction_lanes, without
from graphc.ops.rules import expect_axes, expect_count, expect_dtype, of_one_result
from graphc.ops.samples import FLOATS, NUMBERS, distinct, edges, values, whole


def position_rule(op: str) -> Infer:
    """Numbers reduced along `axis` to i64; the axis must hold an element to point at."""

    def infer(types: Types, attrs: Attrs, regions: Regions) -> Types:
        expect_count(op, types, 1)
        (x,), axis = types, attrs["axis"]
        expect_dtype(op, x.dtype, NUMBERS)
        expect_axes(op, x, (axis,))
        if x.shape[axis] == 0:
            raise ShapeError(f"{op}: axis {axis} of {x} has no element")
        return (TensorType(without(x.shape, (axis,)), int64),)

    return infer


def find(combine: str) -> Lower:
    """Lowers argmax and argmin to a fold of (value, index), of which the index is kept."""

    def lower(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
        axis = ctx.node.attrs["axis"]
        folds, place = reduced_index(ctx, at, (axis,))
        lanes = reduction_lanes(ctx.node.operands[0].type, (axis,))
        found = reduce(combine, folds, ctx.operand(0, place), place[axis], lanes=lanes)
        return Item(found, 1, int64)

    return lower


def position_samples() -> Sequence[Sample]:
    """Ties, NaN among them, every type, long rows; never differentiated."""
    nan = np.array([[1, np.nan, 3], [3, 3, 1], [np.nan, np.nan, 1]], np.float32)
    arrays: list[tuple[NumpyArray, int]] = [(nan, 0), (nan, 1)]
    arrays += [(distinct(s), a) for s, a in (((2, 3, 4), 1), ((5,), 0), ((1, 1), 0), ((0, 3), 1))]
    arrays += [(values((3, 150), dtype, 0, 4), 1) for dtype in NUMBERS]
    arrays += [(edges(dtype), 0) for dtype in NUMBERS]
    arrays += [(np.full((2, 3), -np.inf, np.float32), 1), (np.full((3,), np.inf), 0)]
    return [Sample((x,), {"axis": axis}, (), False) for x, axis in arrays]


def _position(name: str, meaning: Callable[..., Any]) -> Op:
    return define(
        name,
        infer=position_rule(name),
        meaning=numerics.quiet(lambda x, axis: meaning(x, axis=axis).astype(np.int64)),
        lower=find(name),
        samples=position_samples,
        reduction=True,
        zero_gradient=True,
    )


_position("argmax", np.argmax)
_position("argmin", np.argmin)


def cumsum_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """Element i is the sum of elements 0 to i along `axis`; reverse: of i to the last."""
    expect_count("cumsum", types, 1)
    expect_dtype("cumsum", types[0].dtype, NUMBERS)
    expect_axes("cumsum", types[0], (attrs["axis"],))
    return (types[0],)


@numerics.widened
def cumsum_meaning(x: NumpyArray, axis: int, reverse: bool) -> NumpyArray:
    if reverse:
        return np.flip(np.cumsum(np.flip(x, axis), axis, dtype=x.dtype), axis)
    return np.cumsum(x, axis, dtype=x.dtype)


@of_one_result
def cumsum_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """The cumulative sum from the other end."""
    axis, reverse = node.attrs["axis"], not node.attrs["reverse"]
    return (b.op("cumsum", dy, axis=axis, reverse=reverse),)


def cumsum_nest(ctx: NestContext) -> Sequence[Statement]:
    """One running total for each line along the axis; lines run in parallel."""
    (result,) = ctx.results
    axis, extent = ctx.node.attrs["axis"], result.shape[ctx.node.attrs["axis"]]
    names = [ctx.fresh("i") for _ in result.shape]
    place: list[Expr] = [variable(name) for name in names]
    if ctx.node.attrs["reverse"]:
        place[axis] = sub(extent - 1, variable(names[axis]))
    total = Buffer(ctx.fresh("total"), (), result.dtype, access="inout", space="register")
    running = load(total.name, (), result.dtype)
    step = (
        Store(total.name, (), call("add", running, ctx.operand(0, place))),
        Store(result.name, tuple(place), running),
    )
    body: tuple[Statement, ...] = (
        Local(total),
        Store(total.name, (), const(0, result.dtype)),
        Loop("serial", names[axis], index(0), index(extent), step),
    )
    for position, name in reversed(list(enumerate(names))):
        if position != axis:
            body = (Loop("parallel", name, index(0), index(result.shape[position]), body),)
    return body


def cumsum_samples() -> Sequence[Sample]:
    cases: list[tuple[NumpyArray, int, bool]] = [
        (distinct(shape), axis, reverse)
        for shape, axis in (((5,), 0), ((2, 3), 0), ((2, 3, 4), 1), ((1, 4), 0), ((0, 3), 0))
        for reverse in (False, True)
    ]
    found = [Sample((x,), {"axis": axis, "reverse": back}) for x, axis, back in cases]
    others = [values((2, 9), dtype, 0, 9) for dtype in (*FLOATS, *NUMBERS)]
    others += [whole((300,), dtype=int64), np.array([1, np.inf, -np.inf, 2], np.float32)]
    return found + [Sample((x,), {"axis": x.ndim - 1, "reverse": False}, (), False) for x in others]


define(
    "cumsum",
    infer=cumsum_rule,
    meaning=cumsum_meaning,
    vjp=cumsum_vjp,
    nest=cumsum_nest,
    samples=cumsum_samples,
    reduction=True,
    max_ulp=16,
)
