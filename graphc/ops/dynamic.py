"""Slices and updates at a place known only at run time; both are total.

dynamic_slice(x, starts)[i]  = x[starts + i], 0 outside of x
dynamic_update(x, u, starts)[i] = u[i - starts] where there is such an element, else x[i]

An update that may be stored over x (a cache of keys and values) writes u alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dtypes import int64
from graphc.errors import DTypeError, ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import (
    Expr,
    Statement,
    Store,
    When,
    alltrue,
    call,
    index,
    select,
    variable,
    within,
)
from graphc.ops.build import Builder
from graphc.ops.define import (
    Attrs,
    Cotangents,
    LoweringContext,
    NestContext,
    Regions,
    Sample,
    Types,
    define,
)
from graphc.ops.indexing import nested
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import expect_count, of_one_result
from graphc.ops.samples import real, truth, whole

# Typing rules


def _expect_starts(op: str, x: TensorType, starts: TensorType) -> None:
    if starts != TensorType((x.rank,), int64):
        raise DTypeError(f"{op}: starts are {starts}, expected i64[{x.rank}] for {x}")


def _expect_fit(op: str, x: TensorType, sizes: Sequence[int]) -> None:
    fits = len(sizes) == x.rank and all(0 <= s <= n for s, n in zip(sizes, x.shape, strict=True))
    if not fits:
        raise ShapeError(f"{op}: sizes {tuple(sizes)} do not fit into {x}")


def _infer_slice(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("dynamic_slice", types, 2)
    x, starts = types
    _expect_starts("dynamic_slice", x, starts)
    _expect_fit("dynamic_slice", x, attrs["sizes"])
    return (TensorType(tuple(attrs["sizes"]), x.dtype),)


def _infer_update(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("dynamic_update", types, 3)
    x, update, starts = types
    _expect_starts("dynamic_update", x, starts)
    if update.dtype != x.dtype:
        raise DTypeError(f"dynamic_update: update is {update}, expected the type of {x}")
    _expect_fit("dynamic_update", x, update.shape)
    return (x,)


# Meanings


def _overlap(
    starts: NumpyArray, sizes: Sequence[int], extents: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """What of a box of `sizes` lies inside of `extents`: seen from the box, and from outside."""
    inner, outer = [], []
    for start, size, extent in zip(map(int, starts), sizes, extents, strict=True):
        low, high = min(max(start, 0), extent), max(min(start + size, extent), 0)
        high = max(low, high)
        outer.append(slice(low, high))
        inner.append(slice(low - start, high - start) if high > low else slice(0, 0))
    return tuple(inner), tuple(outer)


def _meaning_slice(x: NumpyArray, starts: NumpyArray, sizes: tuple[int, ...]) -> NumpyArray:
    y = np.zeros(sizes, x.dtype)
    inner, outer = _overlap(starts, sizes, x.shape)
    y[inner] = x[outer]
    return y


def _meaning_update(x: NumpyArray, update: NumpyArray, starts: NumpyArray) -> NumpyArray:
    y = x.copy()
    inner, outer = _overlap(starts, update.shape, x.shape)
    y[outer] = update[inner]
    return y


# Gradients


@of_one_result
def _slice_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    x, starts = node.operands
    return b.op("dynamic_update", b.zeros(x.type), dy, starts), None


@of_one_result
def _update_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """x's cotangent is dy with zeros where the update went, the update's is that part of dy."""
    _, update, starts = node.operands
    dx = b.op("dynamic_update", dy, b.zeros(update.type), starts)
    return dx, b.op("dynamic_slice", dy, starts, sizes=update.shape), None


# Faults: the box must lie inside wholly


def _fault(b: Builder, x: Value, starts: Value, sizes: Sequence[int]) -> Value:
    room = b.array(np.array([n - s for n, s in zip(x.shape, sizes, strict=True)], np.int64))
    low = b.compare("lt", starts, b.like(0, starts))
    bad = b.op("or", low, b.compare("gt", starts, room))
    return b.op("any", bad, axes=(0,))


def _slice_fault(b: Builder, node: Node) -> Value:
    x, starts = node.operands
    return _fault(b, x, starts, node.result.shape)


def _update_fault(b: Builder, node: Node) -> Value:
    x, update, starts = node.operands
    return _fault(b, x, starts, update.shape)


# Lowerings


def _starts(ctx: LoweringContext, position: int) -> list[Expr]:
    rank = ctx.node.operands[0].type.rank
    return [ctx.operand(position, (index(dimension),)) for dimension in range(rank)]


def _lower_slice(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    """A start far outside may wrap in `start + i`, and then it is still outside."""
    x = ctx.node.operands[0]
    where = [call("add", start, i) for start, i in zip(_starts(ctx, 1), at, strict=True)]
    guard = alltrue(*(within(i, n) for i, n in zip(where, x.shape, strict=True)))
    return ctx.operand(0, where, guard)


def _lower_update(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    update = ctx.node.operands[1]
    where = [call("sub", i, start) for start, i in zip(_starts(ctx, 2), at, strict=True)]
    guard = alltrue(*(within(i, n) for i, n in zip(where, update.shape, strict=True)))
    new = ctx.operand(1, where, guard)
    return new if guard is None else select(guard, new, ctx.operand(0, at))


def _nest_update(ctx: NestContext) -> Sequence[Statement]:
    """u's elements at their places in x's own memory, which the result is stored over."""
    x, update = ctx.node.operands[:2]
    (result,) = ctx.results
    at = [variable(ctx.fresh("u")) for _ in update.shape]
    where = [call("add", start, i) for start, i in zip(_starts(ctx, 2), at, strict=True)]
    ctx.operand(0, where)  # what is not written keeps its value: the buffer is read, too
    store: Statement = Store(result.name, (*where,), ctx.operand(1, at))
    guard = alltrue(*(within(i, n) for i, n in zip(where, x.shape, strict=True)))
    body = [store if guard is None else When(guard, (store,))]
    return nested("parallel", at, update.shape, body)


# Samples


def _cases() -> list[tuple[tuple[int, ...], tuple[int, ...], list[int]]]:
    """(extents, sizes, starts): inside, hanging over each side, wholly outside, extreme."""
    return [
        ((5, 4), (2, 3), [1, 1]),
        ((5, 4), (2, 3), [4, -1]),
        ((5, 4), (2, 3), [-7, 0]),
        ((6,), (6,), [0]),
        ((6,), (1,), [5]),
        ((4, 3), (2, 2), [2**62, -(2**62)]),
        ((3, 2), (0, 2), [1, 0]),
        ((), (), []),
    ]


def _slice_samples() -> list[Sample]:
    found = [
        Sample((real(extents, seed=1), np.array(starts, np.int64)), {"sizes": sizes})
        for extents, sizes, starts in _cases()
    ]
    flags = Sample((truth((5,)), np.array([3])), {"sizes": (3,)}, differentiable=False)
    return [*found, flags]


def _update_samples() -> list[Sample]:
    found = [
        Sample((real(extents, seed=1), real(sizes, seed=2), np.array(starts, np.int64)))
        for extents, sizes, starts in _cases()
    ]
    integers = whole((4,)), whole((2,)), np.array([1])
    return [*found, Sample(integers, differentiable=False)]


dynamic_slice = define(
    "dynamic_slice",
    infer=_infer_slice,
    meaning=_meaning_slice,
    vjp=_slice_vjp,
    lower=_lower_slice,
    samples=_slice_samples,
    fault=_slice_fault,
)

dynamic_update = define(
    "dynamic_update",
    infer=_infer_update,
    meaning=_meaning_update,
    vjp=_update_vjp,
    lower=_lower_update,
    nest=_nest_update,
    overwrites=((0, 0),),
    samples=_update_samples,
    fault=_update_fault,
)
