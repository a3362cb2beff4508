"""Operators with no operands: constant and iota."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphc import dtypes, loops
from graphc.dtypes import ALL, DType, float32, int64
from graphc.errors import ShapeError
from graphc.ir import Array, Attribute, TensorType
from graphc.loops import Expr, const, less, select
from graphc.ops.define import Attrs, LoweringContext, Regions, Sample, Types, define
from graphc.ops.numerics import NumpyArray
from graphc.ops.reindex import flatten
from graphc.ops.rules import expect_count, expect_dtype
from graphc.ops.samples import NUMBERS, edges, values


def constant_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("constant", types, 0)
    value = attrs["value"]
    return (TensorType(value.shape, value.dtype),)


def lower_constant(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    """A literal where all elements are one, else a binary search by element number.

    For constants of a few elements; larger ones are better read from a buffer.
    """
    data = ctx.node.attrs["value"].data
    dtype = ctx.node.result.dtype
    if data.size == 0:
        return const(0, dtype)
    return _pick(flatten(at, data.shape), data.reshape(-1), 0, dtype)


def _pick(number: Expr, elements: NumpyArray, start: int, dtype: DType) -> Expr:
    """Element `number` - `start` of `elements`."""
    first = elements[:1].tobytes()
    if elements.tobytes() == first * len(elements):
        return const(elements[0].item(), dtype)
    half = len(elements) // 2
    low = _pick(number, elements[:half], start, dtype)
    high = _pick(number, elements[half:], start + half, dtype)
    return select(less(number, start + half), low, high)


def constant_samples() -> Sequence[Sample]:
    arrays = [values(shape, float32) for shape in ((), (1,), (2, 3), (0, 2))]
    arrays += [np.full((3, 2), 0.5), np.zeros((0,), bool), *(edges(dtype) for dtype in ALL)]
    return [Sample((), {"value": Array(array)}, (), False) for array in arrays]


define(
    "constant",
    infer=constant_rule,
    meaning=lambda value: value.data,
    lower=lower_constant,
    samples=constant_samples,
    zero_gradient=True,
)


def iota_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """Each element is its index along `axis`."""
    expect_count("iota", types, 0)
    shape, axis = attrs["shape"], attrs["axis"]
    if not 0 <= axis < len(shape):
        raise ShapeError(f"iota: axis {axis} of shape {shape}")
    expect_dtype("iota", attrs["dtype"], NUMBERS)
    return (TensorType(shape, attrs["dtype"]),)


def iota_meaning(shape: tuple[int, ...], axis: int, dtype: DType) -> NumpyArray:
    along = [1] * len(shape)
    along[axis] = shape[axis]
    numbers = np.arange(shape[axis]).astype(dtype.numpy).reshape(along)
    return np.ascontiguousarray(np.broadcast_to(numbers, shape))


def lower_iota(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    return loops.cast(at[ctx.node.attrs["axis"]], ctx.node.attrs["dtype"])


def iota_samples() -> Sequence[Sample]:
    shapes = [((5,), 0), ((2, 3), 0), ((2, 3), 1), ((1, 4, 1), 1), ((0, 3), 0), ((0, 3), 1)]
    found: list[Mapping[str, Attribute]] = [
        {"shape": shape, "axis": axis, "dtype": int64} for shape, axis in shapes
    ]
    found += [{"shape": (3,), "axis": 0, "dtype": dtype} for dtype in NUMBERS]
    found.append({"shape": (300,), "axis": 0, "dtype": dtypes.uint8})
    return [Sample((), attrs, (), False) for attrs in found]


define(
    "iota",
    infer=iota_rule,
    meaning=iota_meaning,
    lower=lower_iota,
    samples=iota_samples,
    zero_gradient=True,
)
