"""Functions that move elements and compute nothing, with NumPy's names and meanings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_tensor,
    broadcast,
    broadcast_shape,
    common_type,
    emit,
    normal_axes,
    normal_axis,
    strong_operand,
    to,
    together,
    whole_number,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.tensor import Tensor


def shape_tuple(shape: Any, what: str = "shape") -> tuple[int, ...]:
    """An int or a sequence of ints as a shape."""
    items = shape if isinstance(shape, tuple | list | np.ndarray) else (shape,)
    return tuple(whole_number(item, what) for item in items)


@face()
def reshape(x: ArrayLike, shape: Any) -> Tensor:
    """The same elements in another shape; one extent may be -1, the rest of them."""
    tensor = as_tensor(x)
    target = _resolved(tensor, shape_tuple(shape))
    return tensor if target == tensor.shape else emit("reshape", tensor, shape=target)


def _resolved(x: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with -1 replaced. Raises ShapeError where the elements do not fit."""
    known = math.prod(extent for extent in shape if extent != -1)
    fits = shape.count(-1) == 1 and known > 0 and x.size % known == 0
    if fits:
        return tuple(x.size // known if extent == -1 else extent for extent in shape)
    if min(shape, default=0) < 0 or known != x.size:
        raise ShapeError(f"reshape: {x.type} has {x.size} elements, which do not fill {shape}")
    return shape


@face()
def ravel(x: ArrayLike) -> Tensor:
    return reshape(x, (-1,)) if as_tensor(x).size else reshape(x, (0,))


@face()
def flatten(input: ArrayLike, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim … end_dim as one."""
    tensor = as_tensor(input)
    if tensor.ndim == 0:
        return reshape(tensor, (1,))
    first, last = (normal_axis(dim, tensor.ndim, "flatten") for dim in (start_dim, end_dim))
    if first > last:
        raise ArgumentError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    merged = math.prod(tensor.shape[first : last + 1])
    return reshape(tensor, (*tensor.shape[:first], merged, *tensor.shape[last + 1 :]))


@face()
def transpose(x: ArrayLike, axes: Sequence[int] | None = None) -> Tensor:
    """The dimensions in another order; by default reversed."""
    tensor = as_tensor(x)
    rank = tensor.ndim
    order = range(rank)[::-1] if axes is None else axes
    normal = tuple(normal_axis(axis, rank, "transpose") for axis in order)
    if sorted(normal) != list(range(rank)):
        raise ArgumentError(f"transpose: axes {tuple(order)} are no permutation of {rank}")
    return tensor if normal == tuple(range(rank)) else emit("transpose", tensor, axes=normal)


@face()
def swapaxes(x: ArrayLike, axis1: int, axis2: int) -> Tensor:
    tensor = as_tensor(x)
    order = list(range(tensor.ndim))
    a, b = (normal_axis(axis, tensor.ndim, "swapaxes") for axis in (axis1, axis2))
    order[a], order[b] = order[b], order[a]
    return transpose(tensor, order)


@face()
def moveaxis(x: ArrayLike, source: Any, destination: Any) -> Tensor:
    """Dimensions `source` at the places `destination`, the others in their order."""
    tensor = as_tensor(x)
    places = [_axis_list(axes, tensor.ndim) for axes in (source, destination)]
    if len(places[0]) != len(places[1]):
        raise ArgumentError(f"moveaxis: {source} and {destination} differ in number")
    order = [axis for axis in range(tensor.ndim) if axis not in places[0]]
    for target, origin in sorted(zip(places[1], places[0], strict=True)):
        order.insert(target, origin)
    return transpose(tensor, order)


def _axis_list(axes: Any, rank: int) -> list[int]:
    listed = axes if isinstance(axes, tuple | list) else (axes,)
    return [normal_axis(axis, rank, "moveaxis") for axis in listed]


@face()
def broadcast_to(x: ArrayLike, shape: Any) -> Tensor:
    tensor = as_tensor(x)
    target = shape_tuple(shape)
    if broadcast_shape("broadcast_to", tensor.shape, target) != target:
        raise ShapeError(f"broadcast_to: {tensor.type} does not broadcast to {target}")
    return broadcast(tensor, target)


@face()
def broadcast_arrays(*xs: ArrayLike) -> tuple[Tensor, ...]:
    tensors = [as_tensor(x) for x in xs]
    shape = broadcast_shape("broadcast_arrays", *(tensor.shape for tensor in tensors))
    return tuple(broadcast(tensor, shape) for tensor in tensors)


@face()
def expand_dims(x: ArrayLike, axis: Any) -> Tensor:
    """A dimension of one element at each place in `axis`, counted in the result."""
    tensor = as_tensor(x)
    count = len(axis) if isinstance(axis, tuple | list) else 1
    places = normal_axes(axis, tensor.ndim + count, "expand_dims")
    shape = list(tensor.shape)
    for place in places:
        shape.insert(place, 1)
    return reshape(tensor, shape)


@face()
def squeeze(x: ArrayLike, axis: Any = None) -> Tensor:
    """Without the dimensions of one element, or without those in `axis`."""
    tensor = as_tensor(x)
    if axis is None:
        axes = tuple(i for i, extent in enumerate(tensor.shape) if extent == 1)
    else:
        axes = normal_axes(axis, tensor.ndim, "squeeze")
    if any(tensor.shape[place] != 1 for place in axes):
        raise ShapeError(f"squeeze: dimensions {axes} of {tensor.type} are not all of extent 1")
    return reshape(tensor, [n for i, n in enumerate(tensor.shape) if i not in axes])


# Joining and parting


@face("concat")
def concatenate(arrays: Sequence[ArrayLike], axis: int | None = 0) -> Tensor:
    """Arrays one after the other along `axis`; with None, of the flattened arrays."""
    tensors = _same_type(arrays, "concatenate")
    if axis is None:
        tensors, axis = [ravel(tensor) for tensor in tensors], 0
    place = normal_axis(axis, tensors[0].ndim, "concatenate")
    return emit("concat", *tensors, axis=place) if len(tensors) > 1 else tensors[0]


def _same_type(arrays: Sequence[ArrayLike], what: str) -> list[Tensor]:
    operands = [strong_operand(array) for array in arrays]
    if not operands:
        raise ArgumentError(f"{what}: no array was given")
    dtype = common_type(*operands)
    return [to(operand, dtype) for operand in operands]


@face()
def stack(arrays: Sequence[ArrayLike], axis: int = 0) -> Tensor:
    """Arrays of one shape along a new dimension."""
    tensors = _same_type(arrays, "stack")
    shapes = {tensor.shape for tensor in tensors}
    if len(shapes) > 1:
        raise ShapeError(f"stack: shapes {sorted(shapes)} differ")
    place = normal_axis(axis, tensors[0].ndim + 1, "stack")
    return concatenate([expand_dims(tensor, place) for tensor in tensors], place)


@face()
def split(x: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """That many equal parts along `axis`, or parts that end at the given positions."""
    tensor = as_tensor(x)
    place = normal_axis(axis, tensor.ndim, "split")
    extent = tensor.shape[place]
    bounds = [0, *_cuts(indices_or_sections, extent), extent]
    return [slice_axis(tensor, place, start, stop) for start, stop in pairwise(bounds)]


def _cuts(indices_or_sections: Any, extent: int) -> list[int]:
    if isinstance(indices_or_sections, tuple | list | np.ndarray):
        return [min(max(int(cut), 0), extent) for cut in indices_or_sections]
    sections = whole_number(indices_or_sections, "split: sections")
    if sections < 1 or extent % sections:
        raise ShapeError(f"split: extent {extent} does not divide into {sections} equal parts")
    return list(range(extent // sections, extent, max(extent // sections, 1)))[: sections - 1]


def slice_axis(x: Tensor, axis: int, start: int, stop: int, step: int = 1) -> Tensor:
    """x[start:stop:step] along one axis; 0 <= start, stop <= extent, step >= 1."""
    stop = max(start, stop)
    if (start, stop, step) == (0, x.shape[axis], 1):
        return x
    starts = [0] * x.ndim
    stops = list(x.shape)
    steps = [1] * x.ndim
    starts[axis], stops[axis], steps[axis] = start, stop, step
    return emit("slice", x, start=tuple(starts), stop=tuple(stops), step=tuple(steps))


@face()
def chunk(x: ArrayLike, chunks: int, dim: int = 0) -> list[Tensor]:
    """At most `chunks` parts of equal extent along `dim`, the last may be smaller (as torch's)."""
    tensor = as_tensor(x)
    extent = tensor.shape[normal_axis(dim, tensor.ndim, "chunk")]
    part = max(-(-extent // whole_number(chunks, "chunk: chunks")), 1)
    return split(tensor, list(range(part, extent, part)), dim)


# Repetition and order


@face()
def flip(x: ArrayLike, axis: Any = None) -> Tensor:
    """The elements in reverse along `axis`, by default along every one."""
    tensor = as_tensor(x)
    axes = normal_axes(axis, tensor.ndim, "flip")
    return emit("flip", tensor, axes=axes) if axes else tensor


@face()
def roll(x: ArrayLike, shift: int, axis: int) -> Tensor:
    """Elements moved by `shift` along `axis`; those beyond the end come in at the start."""
    tensor = as_tensor(x)
    place = normal_axis(axis, tensor.ndim, "roll")
    extent = tensor.shape[place]
    moved = whole_number(shift, "roll: shift") % extent if extent else 0
    if not moved:
        return tensor
    cut = extent - moved
    ends = slice_axis(tensor, place, cut, extent), slice_axis(tensor, place, 0, cut)
    return concatenate(ends, place)


@face()
def repeat(x: ArrayLike, repeats: int, axis: int | None = None) -> Tensor:
    """Each element `repeats` times in a row."""
    tensor = as_tensor(x)
    if axis is None:
        tensor, axis = ravel(tensor), 0
    place = normal_axis(axis, tensor.ndim, "repeat")
    count = whole_number(repeats, "repeat: repeats")
    before, after = tensor.shape[: place + 1], tensor.shape[place + 1 :]
    wide = broadcast(reshape(tensor, (*before, 1, *after)), (*before, count, *after))
    return reshape(wide, (*before[:-1], before[-1] * count, *after))


@face()
def tile(x: ArrayLike, reps: Any) -> Tensor:
    """The whole array `reps` times along each dimension."""
    tensor = as_tensor(x)
    counts = shape_tuple(reps, "tile: reps")
    rank = max(len(counts), tensor.ndim)
    counts = (1,) * (rank - len(counts)) + counts
    shape = (1,) * (rank - tensor.ndim) + tensor.shape
    apart = [extent for pair in zip([1] * rank, shape, strict=True) for extent in pair]
    wide = [extent for pair in zip(counts, shape, strict=True) for extent in pair]
    target = [count * extent for count, extent in zip(counts, shape, strict=True)]
    return reshape(broadcast(reshape(tensor, apart), wide), target)


@face()
def tril(x: ArrayLike, k: int = 0) -> Tensor:
    """Zero above the diagonal `k` of the last two dimensions."""
    return _triangle(as_tensor(x), k, "ge")


@face()
def triu(x: ArrayLike, k: int = 0) -> Tensor:
    """Zero below the diagonal `k` of the last two dimensions."""
    return _triangle(as_tensor(x), k, "le")


def _triangle(x: Tensor, k: int, relation: str) -> Tensor:
    """x where row + k stands in the relation to the column, else 0."""
    if x.ndim < 2:
        raise ShapeError(f"triangle of {x.type}; expected at least two dimensions")
    rows, columns = (_positions(x.shape[-2:], axis) for axis in (0, 1))
    shifted, columns = together("triangle", _plus(rows, k), columns)
    kept = broadcast(emit(relation, shifted, columns), x.shape)
    return emit("where", kept, x, broadcast(as_tensor(0, x.dtype), x.shape))


def _positions(shape: tuple[int, ...], axis: int) -> Tensor:
    from graphc.dtypes import int64

    return emit("iota", shape=shape, axis=axis, dtype=int64)


def _plus(x: Tensor, k: int) -> Tensor:
    return x if k == 0 else emit("add", x, broadcast(as_tensor(k, x.dtype), x.shape))
