"""Reading and adding slices at indices known only at run time.

gather(x, i)[..., p, ...] = x[..., i[p], ...] along one axis; scatter_add(x, i, u) adds u[p] to the
slice i[p]. Single elements are in indexing_elements.py, which shares what is public here.

An index outside 0 ... n-1 never traps: a read gives 0 and an addition is dropped; `fault` says so
to the program. Additions at one place happen in increasing order of their positions, so that the
sum has one value: every column of the result has one owner, which goes through all positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.dtypes import DType, float32, float64, int32, int64, uint8
from graphc.errors import DTypeError, ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import (
    Expr,
    Let,
    Loop,
    Statement,
    Store,
    When,
    call,
    cast,
    const,
    index,
    load,
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
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import expect_count, of_one_result
from graphc.ops.samples import real, whole

# Typing rules


def expect_indices(op: str, indices: TensorType) -> None:
    if not indices.dtype.is_integer:
        raise DTypeError(f"{op}: indices are {indices}, expected an integer type")


def expect_axis(op: str, x: TensorType, axis: int) -> None:
    if not 0 <= axis < x.rank:
        raise ShapeError(f"{op}: axis {axis} of {x}, expected 0 to {x.rank - 1}")


def expect_updates(op: str, x: TensorType, updates: TensorType, shape: tuple[int, ...]) -> None:
    if updates.dtype != x.dtype or x.dtype.kind == "bool":
        raise DTypeError(f"{op}: updates are {updates}, {x} takes numbers of its own type")
    if updates.shape != shape:
        raise ShapeError(f"{op}: updates are {updates}, expected the shape {shape}")


def _infer_gather(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("gather", types, 2)
    x, indices = types
    expect_indices("gather", indices)
    expect_axis("gather", x, attrs["axis"])
    return (TensorType(_gathered(x.shape, indices.shape, attrs["axis"]), x.dtype),)


def _gathered(x: Sequence[int], indices: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*x[:axis], *indices, *x[axis + 1 :])


def _infer_scatter_add(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("scatter_add", types, 3)
    x, indices, updates = types
    expect_indices("scatter_add", indices)
    expect_axis("scatter_add", x, attrs["axis"])
    expect_updates("scatter_add", x, updates, _gathered(x.shape, indices.shape, attrs["axis"]))
    return (x,)


def _infer_one_hot(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("one_hot", types, 1)
    (indices,) = types
    expect_indices("one_hot", indices)
    return (TensorType((*indices.shape, attrs["depth"]), attrs["dtype"]),)


# Meanings


def valid_indices(indices: NumpyArray, extent: int) -> NumpyArray:
    return np.asarray((indices >= 0) & (indices < extent))


def _meaning_gather(x: NumpyArray, indices: NumpyArray, axis: int) -> NumpyArray:
    valid = valid_indices(indices, x.shape[axis])
    if x.shape[axis] == 0:
        return np.zeros(_gathered(x.shape, indices.shape, axis), x.dtype)
    found = np.take(x, np.where(valid, indices, 0).astype(np.int64), axis)
    inner = (1,) * (x.ndim - axis - 1)
    return np.where(valid.reshape(valid.shape + inner), found, np.zeros((), x.dtype))


def _meaning_scatter_add(
    x: NumpyArray, indices: NumpyArray, updates: NumpyArray, axis: int
) -> NumpyArray:
    result = x.copy()
    valid = valid_indices(indices, x.shape[axis]).reshape(-1)
    rows = np.moveaxis(
        updates.reshape((*x.shape[:axis], valid.size, *x.shape[axis + 1 :])), axis, 0
    )
    np.add.at(
        np.moveaxis(result, axis, 0), indices.reshape(-1)[valid].astype(np.int64), rows[valid]
    )
    return result


def _meaning_one_hot(indices: NumpyArray, depth: int, dtype: DType) -> NumpyArray:
    return np.asarray(indices[..., None] == np.arange(depth)).astype(dtype.numpy)


# Gradients: gather and scatter_add are each other's


def vjp_of_read(scatter: str) -> Any:
    """x's cotangent has dy added at the indices, to zeros."""

    @of_one_result
    def vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
        x, indices = node.operands
        return b.op(scatter, b.zeros(x.type), indices, dy, axis=node.attrs["axis"]), None

    return vjp


def vjp_of_addition(gather: str) -> Any:
    """x takes the cotangent as it is, the updates what lies at their indices."""

    @of_one_result
    def vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
        return dy, None, b.op(gather, dy, node.operands[1], axis=node.attrs["axis"])

    return vjp


# Faults


def outside(b: Builder, indices: Value, extent: int) -> Value:
    """bool[]: some index is outside 0 ... extent - 1."""
    bad = b.compare("ge", indices, b.like(extent, indices))
    if indices.dtype.is_signed:
        bad = b.op("or", bad, b.compare("lt", indices, b.like(0, indices)))
    return b.op("any", bad, axes=tuple(range(indices.type.rank)))


def axis_fault(b: Builder, node: Node) -> Value:
    x, indices = node.operands[:2]
    return outside(b, indices, x.shape[node.attrs["axis"]])


# Lowerings


def _lower_gather(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    x, indices = (value.type for value in ctx.node.operands)
    axis = ctx.node.attrs["axis"]
    place = cast(ctx.operand(1, at[axis : axis + indices.rank]), int64)
    where = (*at[:axis], place, *at[axis + indices.rank :])
    return ctx.operand(0, where, within(place, x.shape[axis]))


def _lower_one_hot(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    dtype = ctx.node.attrs["dtype"]
    hot = call("eq", cast(ctx.operand(0, at[:-1]), int64), at[-1])
    return select(hot, const(1, dtype), const(0, dtype))


def _nest_scatter_add(ctx: NestContext) -> Sequence[Statement]:
    x, indices = (value.shape for value in ctx.node.operands[:2])
    axis = ctx.node.attrs["axis"]
    before = [variable(ctx.fresh("i")) for _ in x[:axis]]
    after = [variable(ctx.fresh("j")) for _ in x[axis + 1 :]]
    positions = [variable(ctx.fresh("p")) for _ in indices]
    place = cast(ctx.operand(1, positions), int64)
    update = ctx.operand(2, (*before, *positions, *after))
    steps = add_at(ctx, before, place, after, update)
    owner = [*copy_column(ctx, before, after), *nested("serial", positions, indices, steps)]
    return nested("parallel", before + after, (*x[:axis], *x[axis + 1 :]), owner)


def copy_column(
    ctx: NestContext, before: Sequence[Expr], after: Sequence[Expr]
) -> Sequence[Statement]:
    """The result's column starts as x's."""
    axis = len(before)
    row = variable(ctx.fresh("r"))
    at = (*before, row, *after)
    copy = Store(ctx.results[0].name, at, ctx.operand(0, at))
    return nested("serial", [row], [ctx.results[0].shape[axis]], [copy])


def add_at(
    ctx: NestContext, before: Sequence[Expr], place: Expr, after: Sequence[Expr], update: Expr
) -> Sequence[Statement]:
    """result[before, place, after] += update, where there is such a place."""
    result = ctx.results[0]
    target = variable(ctx.fresh("t"))
    at = (*before, target, *after)
    total = call("add", load(result.name, at, result.dtype), update)
    valid = within(target, result.shape[len(before)])
    assert valid is not None
    return [Let(target.name, place), When(valid, (Store(result.name, at, total),))]


def nested(
    kind: Any, variables: Sequence[Any], extents: Sequence[int], body: Sequence[Statement]
) -> Sequence[Statement]:
    """`body` inside one loop for each variable, the first outermost."""
    for var, extent in reversed(list(zip(variables, extents, strict=True))):
        body = [Loop(kind, var.name, index(0), index(extent), tuple(body))]
    return body


# Samples


def _table_cases() -> list[tuple[NumpyArray, NumpyArray, int]]:
    """(x, indices, axis): repeated, negative and too large indices, every rank of indices."""
    return [
        (real((5, 3), seed=1), whole((4,), 0, 5), 0),
        (real((2, 4, 3), seed=2), whole((2, 3), 0, 4, int32), 1),
        (real((2, 3), seed=3), whole((), 0, 3), 1),
        (real((6,), seed=4), whole((9,), -3, 9), 0),
        (real((3, 2), seed=5), whole((7,), 0, 6, uint8), 0),
        (real((4, 2), seed=6), whole((0,)), 0),
        (real((0, 2), seed=7), whole((3,)), 0),
        (real((2, 1), dtype=float64, seed=8), whole((1, 2), 0, 1), 1),
    ]


def _gather_samples() -> list[Sample]:
    found = [Sample((x, indices), {"axis": axis}) for x, indices, axis in _table_cases()]
    integers = Sample((whole((3, 2)), whole((2,), 0, 3)), {"axis": 0}, differentiable=False)
    return [*found, integers]


def _scatter_add_samples() -> list[Sample]:
    found = []
    for x, indices, axis in _table_cases():
        updates = real(_gathered(x.shape, indices.shape, axis), seed=9).astype(x.dtype)
        found.append(Sample((x, indices, updates), {"axis": axis}))
    integers = whole((3, 2)), whole((5,), 0, 3), whole((5, 2))
    return [*found, Sample(integers, {"axis": 0}, differentiable=False)]


def _one_hot_samples() -> list[Sample]:
    return [
        Sample((whole((5,), -1, 4),), {"depth": 3, "dtype": float32}, differentiable=False),
        Sample((whole((2, 3), 0, 4, int32),), {"depth": 4, "dtype": int64}, differentiable=False),
        Sample((whole((), 0, 2),), {"depth": 2, "dtype": float64}, differentiable=False),
        Sample((whole((0,)),), {"depth": 1, "dtype": float32}, differentiable=False),
    ]


gather = define(
    "gather",
    infer=_infer_gather,
    meaning=_meaning_gather,
    vjp=vjp_of_read("scatter_add"),
    lower=_lower_gather,
    samples=_gather_samples,
    fault=axis_fault,
)

scatter_add = define(
    "scatter_add",
    infer=_infer_scatter_add,
    meaning=_meaning_scatter_add,
    vjp=vjp_of_addition("gather"),
    nest=_nest_scatter_add,
    samples=_scatter_add_samples,
    fault=axis_fault,
)

one_hot = define(
    "one_hot",
    infer=_infer_one_hot,
    meaning=_meaning_one_hot,
    lower=_lower_one_hot,
    samples=_one_hot_samples,
    zero_gradient=True,
)
