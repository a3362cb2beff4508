"""Elements at given indices. Integers known while tracing are checked at once.

Of indices known only when the program runs, F.take, F.take_along_axis and x[i] understand
-n … n - 1; F.embedding and F.dynamic_slice 0 … n - 1. Any other reads 0, and the call raises
IndexFault.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.dtypes import get, int32, int64
from graphc.errors import ArgumentError, DTypeError, IndexFault, ShapeError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_tensor,
    broadcast,
    broadcast_shape,
    cast,
    emit,
    like,
    normal_axis,
    to,
    whole_number,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_logic import equal, stop_gradient, where
from graphc.frontends.tracing.functional_shapes import (
    expand_dims,
    ravel,
    shape_tuple,
    stack,
)
from graphc.frontends.tracing.tensor import Tensor


def wrapped(indices: ArrayLike, extent: int, what: str) -> Tensor:
    """Indices as a tensor in 0 … extent - 1, where they were in -extent … extent - 1.

    Raises DTypeError for no integers, IndexFault for known ones out of range.
    """
    if not isinstance(indices, Tensor) or indices.elements is not None:
        return _checked(np.asarray(as_array(indices)), extent, what)
    if not indices.dtype.is_integer:
        raise DTypeError(f"{what}: indices are {indices.type}; expected integers")
    if not indices.dtype.is_signed:
        return as_index(indices)
    tensor = as_tensor(indices)
    negative = emit("lt", tensor, like(0, tensor))
    return emit("where", negative, emit("add", tensor, like(extent, tensor)), tensor)


def as_array(indices: ArrayLike) -> Any:
    """The elements of indices that are known."""
    return indices.elements if isinstance(indices, Tensor) else indices


def as_index(indices: Tensor) -> Tensor:
    """Indices in i32 or i64, the types that gathers take."""
    return indices if indices.dtype in (int32, int64) else cast(indices, int64)


def _checked(indices: np.ndarray[Any, Any], extent: int, what: str) -> Tensor:
    if indices.size == 0:
        indices = indices.astype(np.int64)
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"{what}: indices are {indices.dtype}; expected integers")
    outside = (indices < -extent) | (indices >= extent)
    if outside.any():
        worst = indices[outside].flat[0]
        raise IndexFault(f"{what}: index {worst} is out of range for {extent} elements")
    return as_tensor(np.where(indices < 0, indices + extent, indices).astype(np.int64))


@face()
def take(x: ArrayLike, indices: ArrayLike, axis: int | None = None) -> Tensor:
    """The elements at `indices` along `axis`; without one, of the flattened array."""
    tensor = as_tensor(x)
    if axis is None:
        tensor, axis = ravel(tensor), 0
    place = normal_axis(axis, tensor.ndim, "take")
    return emit("gather", tensor, wrapped(indices, tensor.shape[place], "take"), axis=place)


@face()
def take_along_axis(x: ArrayLike, indices: ArrayLike, axis: int = -1) -> Tensor:
    """x at indices of the same rank: result[i, j] = x[i, indices[i, j]] along the last axis."""
    tensor = as_tensor(x)
    place = normal_axis(axis, tensor.ndim, "take_along_axis")
    index = wrapped(indices, tensor.shape[place], "take_along_axis")
    if index.ndim != tensor.ndim:
        raise ShapeError(f"take_along_axis: {tensor.type} and indices {index.type} differ in rank")
    others = [(*shape[:place], 1, *shape[place + 1 :]) for shape in (tensor.shape, index.shape)]
    common = broadcast_shape("take_along_axis", *others)
    full = [
        broadcast(item, common[:place] + item.shape[place : place + 1] + common[place + 1 :])
        for item in (tensor, index)
    ]
    return emit("gather_elements", *full, axis=place)


@face()
def embedding(input: ArrayLike, weight: ArrayLike, padding_idx: int | None = None) -> Tensor:
    """Rows of weight[number, features]; row `padding_idx` gets no gradient."""
    table, indices = as_tensor(weight), as_tensor(input)
    if table.ndim != 2:
        raise ShapeError(f"embedding: weight is {table.type}; expected [number, features]")
    if not indices.dtype.is_integer:
        raise DTypeError(f"embedding: input is {indices.type}; expected integers")
    rows = emit("gather", table, as_index(indices), axis=0)
    if padding_idx is None:
        return rows
    row = padding_idx % table.shape[0]
    return where(expand_dims(equal(indices, row), -1), stop_gradient(rows), rows)


@face()
def one_hot(tensor: ArrayLike, num_classes: int = -1) -> Tensor:
    """1 at the class, 0 elsewhere, along a new last dimension, i64."""
    indices = as_tensor(tensor)
    if not indices.dtype.is_integer:
        raise DTypeError(f"one_hot: input is {indices.type}; expected integers")
    if num_classes == -1 and indices.elements is not None and indices.size:
        num_classes = int(indices.elements.max()) + 1
    if num_classes < 1:
        raise ArgumentError(
            f"one_hot: num_classes is {num_classes}; it must be given, "
            "since the indices are known only when the program runs"
        )
    depth = whole_number(num_classes, "one_hot: num_classes")
    return emit("one_hot", as_index(indices), depth=depth, dtype=get("int64"))


@face()
def scatter_add(x: ArrayLike, indices: ArrayLike, updates: ArrayLike, axis: int = 0) -> Tensor:
    """x with `updates` added at `indices` along `axis`; equal indices add up, in order."""
    tensor = as_tensor(x)
    place = normal_axis(axis, tensor.ndim, "scatter_add")
    index = wrapped(indices, tensor.shape[place], "scatter_add")
    shape = tensor.shape[:place] + index.shape + tensor.shape[place + 1 :]
    addends = broadcast(to(updates, tensor.dtype), shape)
    return emit("scatter_add", tensor, index, addends, axis=place)


# Slices at a place known only when the program runs


@face()
def dynamic_slice(x: ArrayLike, start_indices: Any, slice_sizes: Any) -> Tensor:
    """The block of extents `slice_sizes` that starts at `start_indices`, one a dimension."""
    tensor = as_tensor(x)
    sizes = shape_tuple(slice_sizes, "dynamic_slice: slice_sizes")
    if len(sizes) != tensor.ndim:
        raise ShapeError(f"dynamic_slice: {len(sizes)} sizes for {tensor.type}")
    return emit("dynamic_slice", tensor, _starts(tensor, start_indices), sizes=sizes)


@face()
def dynamic_update_slice(x: ArrayLike, update: ArrayLike, start_indices: Any) -> Tensor:
    """x with the block `update` in place of its elements from `start_indices` on."""
    tensor = as_tensor(x)
    block = to(update, tensor.dtype)
    if block.ndim != tensor.ndim:
        raise ShapeError(f"dynamic_update_slice: {tensor.type} and {block.type} differ in rank")
    return emit("dynamic_update", tensor, block, _starts(tensor, start_indices))


def _starts(x: Tensor, start_indices: Any) -> Tensor:
    """The starts as i64[rank], from such a tensor or from one number or scalar a dimension."""
    if isinstance(start_indices, tuple | list):
        scalars = [to(start, int64) for start in start_indices]
        starts = stack(scalars) if scalars else as_tensor(np.zeros(0, np.int64))
    else:
        starts = to(start_indices, int64)
        starts = expand_dims(starts, 0) if starts.ndim == 0 else starts
    if starts.shape != (x.ndim,):
        raise ShapeError(f"dynamic slice: {x.type} needs {x.ndim} starts; got {starts.shape}")
    return starts
