"""Reductions over axes: sum, prod, max, min, any, all. The result has no reduced dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.dtypes import DType, bool_, float64
from graphc.ir import Attribute, Node, TensorType, Value
from graphc.loops import Axis, Expr, reduce, variable
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.define import (
    Attrs,
    Cotangents,
    Infer,
    Lower,
    LoweringContext,
    Op,
    Regions,
    Sample,
    Types,
    Vjp,
    define,
)
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import expect_axes, expect_count, expect_dtype, of_one_result
from graphc.ops.samples import NUMBERS, Samples, distinct, edges, real, truth, values

Axes = tuple[int, ...]


def reduction_lanes(type: TensorType, axes: Sequence[int]) -> int:
    """How many accumulators a fold of `type` over `axes` has: part of the result's meaning.

    Neighbours fold side by side where the reduced axes are the trailing ones: in 64 lanes of 4
    bytes (or less) or 32 of 8 bytes, or in 16 where the last axis is shorter. Where an outer axis
    is folded too, the lanes divide the last axis, so that element n of the whole fold, too, goes
    to accumulator n % lanes. Else one accumulator folds in order.

    >>> from graphc.dtypes import float32
    >>> reduction_lanes(TensorType((8, 256), float32), (1,))
    64
    >>> reduction_lanes(TensorType((8, 32, 32), float32), (1, 2))
    16
    >>> reduction_lanes(TensorType((8, 7, 33), float32), (1, 2))
    1
    >>> reduction_lanes(TensorType((8, 256), float32), (0,))
    1
    """
    trailing = tuple(axes) == tuple(range(type.rank - len(axes), type.rank))
    if not axes or not trailing:
        return 1
    last = type.shape[-1]
    alone = all(type.shape[axis] == 1 for axis in axes[:-1])
    for lanes in (32 if type.dtype.itemsize == 8 else 64, 16):
        if last >= lanes and (alone or last % lanes == 0):
            return lanes
    return 1


def without(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """The shape that is left by a reduction over `axes`."""
    return tuple(extent for axis, extent in enumerate(shape) if axis not in axes)


def reduction_rule(op: str, allowed: Sequence[DType]) -> Infer:
    def infer(types: Types, attrs: Attrs, regions: Regions) -> Types:
        expect_count(op, types, 1)
        (x,) = types
        expect_dtype(op, x.dtype, allowed)
        expect_axes(op, x, attrs["axes"])
        return (TensorType(without(x.shape, attrs["axes"]), x.dtype),)

    return infer


def reduced_index(
    ctx: LoweringContext, at: Sequence[Expr], axes: Sequence[int]
) -> tuple[list[Axis], list[Expr]]:
    """The axes of a fold over `axes` of operand 0, and the operand's index inside it."""
    shape = ctx.node.operands[0].shape
    folds = {axis: Axis(ctx.fresh("r"), shape[axis]) for axis in axes}
    kept = iter(at)
    place = [variable(folds[i].name) if i in folds else next(kept) for i in range(len(shape))]
    return list(folds.values()), place


def fold(combine: str) -> Lower:
    """Lowers a reduction to a fold of its operand."""

    def lower(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
        axes: Axes = ctx.node.attrs["axes"]
        if not axes:
            return ctx.operand(0, at)
        folds, place = reduced_index(ctx, at, axes)
        lanes = reduction_lanes(ctx.node.operands[0].type, axes)
        return reduce(combine, folds, ctx.operand(0, place), lanes=lanes)

    return lower


# Meanings


@numerics.widened
def sum_meaning(x: NumpyArray, axes: Axes) -> NumpyArray:
    return np.asarray(np.sum(x, axis=axes, dtype=x.dtype))


@numerics.widened
def prod_meaning(x: NumpyArray, axes: Axes) -> NumpyArray:
    return np.asarray(np.prod(x, axis=axes, dtype=x.dtype))


@numerics.quiet
def max_meaning(x: NumpyArray, axes: Axes) -> NumpyArray:
    """NaN wins; of no elements, the least value of the type."""
    return np.asarray(np.max(x, axis=axes, initial=lowest(x.dtype)))


@numerics.quiet
def min_meaning(x: NumpyArray, axes: Axes) -> NumpyArray:
    """NaN wins; of no elements, the greatest value of the type."""
    return np.asarray(np.min(x, axis=axes, initial=highest(x.dtype)))


def lowest(dtype: np.dtype[Any]) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def highest(dtype: np.dtype[Any]) -> Any:
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


# Derivatives


@of_one_result
def sum_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    (x,) = node.operands
    return (b.expand(dy, node.attrs["axes"], x.shape),)


@of_one_result
def extreme_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """To the elements equal to the extreme one, in equal shares; NaN where the extreme is NaN."""
    (x,) = node.operands
    if not x.dtype.is_float:
        return (None,)
    axes = node.attrs["axes"]
    chosen = b.cast(b.compare("eq", x, b.expand(node.result, axes, x.shape)), x.dtype)
    share = b.div(dy, b.sum(chosen, axes))
    return (b.mul(chosen, b.expand(share, axes, x.shape)),)


@of_one_result
def prod_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """The product of all other elements, right where some are 0 and in any order of derivative.

    Products of a balanced tree go up; what lies outside each subtree comes down, which is the
    parent's outside times the sibling: three products an element and no quotient.
    """
    (x,) = node.operands
    if x.type.size == 0:
        return (b.zeros(x.type),)
    axes = node.attrs["axes"]
    kept = [axis for axis in range(x.type.rank) if axis not in axes]
    order = (*kept, *axes)
    moved = b.transpose(x, order)
    count = math.prod(x.shape[axis] for axis in axes)
    rows = b.reshape(moved, (x.type.size // count, count))
    outside = _outside(b, rows, b.reshape(dy, (rows.shape[0], 1)))
    back = tuple(sorted(range(len(order)), key=lambda i: order[i]))
    return (b.transpose(b.reshape(outside, moved.shape), back),)


def _outside(b: Builder, rows: Value, top: Value) -> Value:
    """top[R, 1] times the product of all other elements of each row [R, n]."""
    count, level, levels = rows.shape[1], _pad_to_power_of_two(b, rows), []
    while level.shape[1] > 1:
        levels.append((_every_second(b, level, 0), _every_second(b, level, 1)))
        level = b.mul(*levels[-1])
    for left, right in reversed(levels):
        both = [b.reshape(b.mul(top, side), (*top.shape, 1)) for side in (right, left)]
        top = b.reshape(b.op("concat", *both, axis=2), (top.shape[0], 2 * top.shape[1]))
    return b.op("slice", top, start=(0, 0), stop=(top.shape[0], count), step=(1, 1))


def _pad_to_power_of_two(b: Builder, rows: Value) -> Value:
    missing = (1 << (rows.shape[1] - 1).bit_length()) - rows.shape[1]
    return b.op("pad", rows, low=(0, 0), high=(0, missing), interior=(0, 0), value=1)


def _every_second(b: Builder, rows: Value, first: int) -> Value:
    return b.op("slice", rows, start=(0, first), stop=rows.shape, step=(1, 2))


# Samples


def reduction_samples(allowed: Sequence[DType], low: float = -2, high: float = 2) -> Samples:
    """Axes of every kind; lengths around the numbers of lanes; every type; edge values."""
    cases: list[tuple[tuple[int, ...], Axes]] = [
        ((2, 3), (1,)),
        ((2, 3), (0,)),
        ((2, 3, 4), (0, 2)),
        ((2, 3), (0, 1)),
        ((2, 3), ()),
        ((), ()),
        ((1, 4, 1), (0, 2)),
        ((0, 3), (1,)),
    ]
    long: list[tuple[tuple[int, ...], Axes]] = [
        ((0, 3), (0,)),
        ((2, 64), (1,)),
        ((3, 200), (1,)),
        ((2, 5, 31), (1, 2)),
        ((150, 2), (0,)),
    ]

    def make() -> Sequence[Sample]:
        first = allowed[0]
        found = [Sample((_elements(s, first, low, high),), _over(axes)) for s, axes in cases]
        found += [
            Sample((_elements(s, first, 0.9, 1.1),), _over(axes), (), False) for s, axes in long
        ]
        for dtype in allowed[1:]:
            found.append(Sample((values((3, 70), dtype, 0, 3),), _over((1,)), (), False))
        return found + [Sample((edges(dtype),), _over((0,)), (), False) for dtype in allowed]

    return make


def _elements(shape: tuple[int, ...], dtype: DType, low: float, high: float) -> NumpyArray:
    return truth(shape) if dtype == bool_ else distinct(shape, low, high, dtype, seed=5)


def _over(axes: Axes) -> Mapping[str, Attribute]:
    return {"axes": axes}


def tie_samples() -> Sequence[Sample]:
    """As all reductions; also with several greatest elements."""
    tied = np.array([[1, 3, 3], [2, 2, 2]], np.float32)
    return [*reduction_samples(NUMBERS)(), Sample((tied,), _over((1,)), (), False)]


def product_samples() -> Sequence[Sample]:
    """As all reductions; also with one zero and two zeros in a row."""
    zeros = real((3, 5), 0.5, 2, seed=9)
    zeros[1, 2] = zeros[2, 0] = zeros[2, 3] = 0
    doubles = Sample((real((2, 7, 2), 0.5, 2, float64),), _over((1,)))
    return [*reduction_samples(NUMBERS, 0.4, 1.6)(), Sample((zeros,), _over((1,))), doubles]


def _reduction(
    name: str,
    allowed: Sequence[DType],
    meaning: numerics.Meaning,
    samples: Samples,
    vjp: Vjp | None = None,
    max_ulp: float = 0.5,
) -> Op:
    return define(
        name,
        infer=reduction_rule(name, allowed),
        meaning=meaning,
        vjp=vjp,
        lower=fold(name),
        samples=samples,
        reduction=True,
        zero_gradient=vjp is None,
        max_ulp=max_ulp,
    )


# A fold's error grows with the number of elements; these hold for the samples' few hundred.
_reduction("sum", NUMBERS, sum_meaning, reduction_samples(NUMBERS), sum_vjp, max_ulp=8)
_reduction("prod", NUMBERS, prod_meaning, product_samples, prod_vjp, max_ulp=64)
_reduction("max", NUMBERS, max_meaning, tie_samples, extreme_vjp)
_reduction("min", NUMBERS, min_meaning, tie_samples, extreme_vjp)
_reduction(
    "any",
    (bool_,),
    numerics.quiet(lambda x, axes: np.any(x, axis=axes)),
    reduction_samples((bool_,)),
)
_reduction(
    "all",
    (bool_,),
    numerics.quiet(lambda x, axes: np.all(x, axis=axes)),
    reduction_samples((bool_,)),
)
