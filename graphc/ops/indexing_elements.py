"""Reading and adding single elements at indices known only at run time.

gather_elements(x, i)[a, p, b] = x[a, i[a, p, b], b] along one axis, as torch's gather, and
scatter_add_elements(x, i, u) adds u[a, p, b] there. Indices outside are as in indexing.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dtypes import int32, int64
from graphc.errors import ShapeError
from graphc.ir import TensorType
from graphc.loops import Expr, Statement, cast, variable, within
from graphc.ops.define import Attrs, LoweringContext, NestContext, Regions, Sample, Types, define
from graphc.ops.indexing import (
    add_at,
    axis_fault,
    copy_column,
    expect_axis,
    expect_indices,
    expect_updates,
    nested,
    valid_indices,
    vjp_of_addition,
    vjp_of_read,
)
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import expect_count
from graphc.ops.samples import real, whole

# Typing rules


def _expect_elements(op: str, x: TensorType, indices: TensorType, axis: int) -> None:
    """The index tensor has x's shape, but for the extent of `axis`."""
    expect_indices(op, indices)
    expect_axis(op, x, axis)
    expected = [*x.shape]
    if indices.rank == x.rank:
        expected[axis] = indices.shape[axis]
    if list(indices.shape) != expected:
        raise ShapeError(
            f"{op}: indices are {indices}, expected the shape of {x} except for axis {axis}"
        )


def _infer_gather_elements(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("gather_elements", types, 2)
    x, indices = types
    _expect_elements("gather_elements", x, indices, attrs["axis"])
    return (TensorType(indices.shape, x.dtype),)


def _infer_scatter_add_elements(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("scatter_add_elements", types, 3)
    x, indices, updates = types
    _expect_elements("scatter_add_elements", x, indices, attrs["axis"])
    expect_updates("scatter_add_elements", x, updates, indices.shape)
    return (x,)


# Meanings


def _meaning_gather_elements(x: NumpyArray, indices: NumpyArray, axis: int) -> NumpyArray:
    valid = valid_indices(indices, x.shape[axis])
    if x.shape[axis] == 0:
        return np.zeros(indices.shape, x.dtype)
    found = np.take_along_axis(x, np.where(valid, indices, 0).astype(np.int64), axis)
    return np.where(valid, found, np.zeros((), x.dtype))


def _meaning_scatter_add_elements(
    x: NumpyArray, indices: NumpyArray, updates: NumpyArray, axis: int
) -> NumpyArray:
    result = x.copy()
    valid = np.nonzero(valid_indices(indices, x.shape[axis]))
    places = list(valid)
    places[axis] = indices[valid].astype(np.int64)
    np.add.at(result, tuple(places), updates[valid])
    return result


# Lowerings


def _lower_gather_elements(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    axis = ctx.node.attrs["axis"]
    place = cast(ctx.operand(1, at), int64)
    where = (*at[:axis], place, *at[axis + 1 :])
    return ctx.operand(0, where, within(place, ctx.node.operands[0].shape[axis]))


def _nest_scatter_add_elements(ctx: NestContext) -> Sequence[Statement]:
    x, indices = (value.shape for value in ctx.node.operands[:2])
    axis = ctx.node.attrs["axis"]
    before = [variable(ctx.fresh("i")) for _ in x[:axis]]
    after = [variable(ctx.fresh("j")) for _ in x[axis + 1 :]]
    position = variable(ctx.fresh("p"))
    at = (*before, position, *after)
    place = cast(ctx.operand(1, at), int64)
    steps = add_at(ctx, before, place, after, ctx.operand(2, at))
    owner = [
        *copy_column(ctx, before, after),
        *nested("serial", [position], [indices[axis]], steps),
    ]
    return nested("parallel", before + after, (*x[:axis], *x[axis + 1 :]), owner)


# Samples


def _element_cases() -> list[tuple[NumpyArray, NumpyArray, int]]:
    return [
        (real((5, 3), seed=1), whole((4, 3), 0, 5), 0),
        (real((2, 4, 3), seed=2), whole((2, 6, 3), 0, 4, int32), 1),
        (real((4,), seed=3), whole((7,), -2, 6), 0),
        (real((3, 1), seed=4), whole((3, 2), 0, 1), 1),
        (real((2, 0), seed=5), whole((2, 2)), 1),
        (real((0, 2), seed=6), whole((0, 5)), 1),
    ]


def _gather_elements_samples() -> list[Sample]:
    return [Sample((x, indices), {"axis": axis}) for x, indices, axis in _element_cases()]


def _scatter_add_elements_samples() -> list[Sample]:
    return [
        Sample((x, indices, real(indices.shape, seed=7)), {"axis": axis})
        for x, indices, axis in _element_cases()
    ]


gather_elements = define(
    "gather_elements",
    infer=_infer_gather_elements,
    meaning=_meaning_gather_elements,
    vjp=vjp_of_read("scatter_add_elements"),
    lower=_lower_gather_elements,
    samples=_gather_elements_samples,
    fault=axis_fault,
)

scatter_add_elements = define(
    "scatter_add_elements",
    infer=_infer_scatter_add_elements,
    meaning=_meaning_scatter_add_elements,
    vjp=vjp_of_addition("gather_elements"),
    nest=_nest_scatter_add_elements,
    samples=_scatter_add_elements_samples,
    fault=axis_fault,
)
