"""`x[index]`: NumPy's indexing, written as slices, flips, reshapes and gathers.

Integers, slices, None and … are known while tracing. An array of integers, or a traced integer,
is gathered; several of them broadcast together and index element by element, as in NumPy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.dtypes import int64
from graphc.errors import ArgumentError, DTypeError, IndexFault, TraceError
from graphc.frontends.tracing.convert import ArrayLike, as_tensor, cast, emit, like
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_indexing import wrapped
from graphc.frontends.tracing.functional_shapes import broadcast_arrays, reshape, transpose
from graphc.frontends.tracing.tensor import Tensor


@face()
def getitem(x: ArrayLike, index: Any) -> Tensor:
    """x[index], as NumPy's."""
    tensor = as_tensor(x)
    items = _expanded(index if isinstance(index, tuple) else (index,), tensor)
    if any(_is_array(item) for item in items):
        # Beside an array an integer counts as one, which decides where the result's axes go.
        items = [np.asarray(item) if _is_integer(item) else item for item in items]
    sliced, kept = _basic(tensor, items)
    return _gathered(sliced, kept)


def _is_integer(item: Any) -> bool:
    return hasattr(item, "__index__") and not isinstance(item, bool | np.ndarray | Tensor)


def _is_array(item: Any) -> bool:
    return isinstance(item, np.ndarray | Tensor)


def _expanded(items: tuple[Any, ...], x: Tensor) -> list[Any]:
    """One item for each dimension of x, and None for each new one; lists become arrays."""
    normal: list[Any] = []
    for item in items:
        normal.extend(_normal(item))
    used = sum(item is not None and item is not Ellipsis for item in normal)
    if used > x.ndim:
        raise IndexFault(f"{used} indices for {x.type}, which has {x.ndim} dimensions")
    if sum(item is Ellipsis for item in normal) > 1:
        raise ArgumentError("an index has more than one '...'")
    if not any(item is Ellipsis for item in normal):
        normal.append(Ellipsis)
    place = next(i for i, item in enumerate(normal) if item is Ellipsis)
    return normal[:place] + [slice(None)] * (x.ndim - used) + normal[place + 1 :]


def _normal(item: Any) -> list[Any]:
    """The item, checked; a mask that is known becomes the arrays of its true positions."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return [item]
    if isinstance(item, Tensor):
        if item.elements is not None:
            return _normal(item.elements)
        if item.dtype.kind == "bool":
            raise TraceError(
                f"a traced mask {item.type} as index: the result's size would depend on its "
                "elements; use F.where(mask, x, other)"
            )
        return [item]
    if isinstance(item, bool | np.bool_):
        raise TraceError("a bool as index; use F.expand_dims or F.where")
    if isinstance(item, list | tuple | np.ndarray):
        array = np.asarray(item)
        if array.dtype.kind == "b":
            return list(array.nonzero())
        return [array if array.size else array.astype(np.int64)]
    if _is_integer(item):
        return [item.__index__()]
    raise DTypeError(f"an index of type {type(item).__name__}; expected integers or slices")


# Integers, slices and new axes


@dataclass(frozen=True)
class _Cut:
    """What a slice takes of one dimension: `count` elements from `start`, maybe backwards."""

    start: int
    stop: int
    step: int
    flipped: bool


def _cut(item: Any, extent: int) -> _Cut:
    if isinstance(item, slice):
        return _cut_slice(item, extent)
    if _is_integer(item):
        position = int(item)
        if not -extent <= position < extent:
            raise IndexFault(f"index {position} is out of range for {extent} elements")
        position %= extent
        return _Cut(position, position + 1, 1, False)
    return _Cut(0, extent, 1, False)


def _cut_slice(item: slice, extent: int) -> _Cut:
    if any(isinstance(bound, Tensor) for bound in (item.start, item.stop, item.step)):
        raise TraceError(
            "a slice with a traced bound, so that its size is unknown; "
            "use F.dynamic_slice(x, starts, sizes)"
        )
    if item.step == 0:
        raise ArgumentError("a slice with step 0")
    taken = range(*item.indices(extent))
    if len(taken) == 0:
        return _Cut(0, 0, 1, False)
    low, high = min(taken[0], taken[-1]), max(taken[0], taken[-1])
    return _Cut(low, high + 1, abs(taken.step) if len(taken) > 1 else 1, taken.step < 0)


def _basic(x: Tensor, items: list[Any]) -> tuple[Tensor, list[Any]]:
    """x with slices, integers and new axes applied; and an array or None for each axis left."""
    cuts = [
        _cut(item, extent)
        for item, extent in zip([i for i in items if i is not None], x.shape, strict=True)
    ]
    sliced = _slice(x, cuts)
    shape: list[int] = []
    arrays: list[Any] = []
    extents = iter(sliced.shape)
    for item in items:
        extent = 1 if item is None else next(extents)
        if not _is_integer(item):
            shape.append(extent)
            arrays.append(item if _is_array(item) else None)
    return reshape(sliced, shape), arrays


def _slice(x: Tensor, cuts: list[_Cut]) -> Tensor:
    if any(
        (cut.start, cut.stop, cut.step) != (0, n, 1) for cut, n in zip(cuts, x.shape, strict=True)
    ):
        x = emit(
            "slice",
            x,
            start=tuple(cut.start for cut in cuts),
            stop=tuple(cut.stop for cut in cuts),
            step=tuple(cut.step for cut in cuts),
        )
    flipped = tuple(axis for axis, cut in enumerate(cuts) if cut.flipped)
    return emit("flip", x, axes=flipped) if flipped else x


# Arrays of integers


def _gathered(x: Tensor, arrays: list[Any]) -> Tensor:
    """x gathered at the arrays, one or None for each axis."""
    axes = [axis for axis, array in enumerate(arrays) if array is not None]
    if not axes:
        return x
    if len(axes) == 1:
        index = wrapped(arrays[axes[0]], x.shape[axes[0]], "index")
        return emit("gather", x, index, axis=axes[0])
    return _gather_several(x, axes, [arrays[axis] for axis in axes])


def _gather_several(x: Tensor, axes: list[int], arrays: list[Any]) -> Tensor:
    """One gather over the indexed axes, merged into one.

    Adjacent ones stay in place; otherwise the result's new axes come first, as NumPy's.
    """
    adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
    place = axes[0] if adjacent else 0
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    order = rest[:place] + axes + rest[place:]
    extents = [x.shape[axis] for axis in axes]
    moved = transpose(x, order)
    merged_shape = (
        *moved.shape[:place],
        math.prod(extents),
        *moved.shape[place + len(axes) :],
    )
    index = _flat_index(arrays, extents)
    return emit("gather", reshape(moved, merged_shape), index, axis=place)


def _flat_index(arrays: list[Any], extents: list[int]) -> Tensor:
    """Row-major position of the indices; -1 where one of them is out of range."""
    parts = [
        cast(wrapped(array, extent, "index"), int64)
        for array, extent in zip(arrays, extents, strict=True)
    ]
    parts = list(broadcast_arrays(*parts))
    flat = parts[0]
    for part, extent in zip(parts[1:], extents[1:], strict=True):
        flat = emit("add", emit("mul", flat, like(extent, flat)), part)
    inside = _all_inside(parts, arrays, extents)
    return flat if inside is None else emit("where", inside, flat, like(-1, flat))


def _all_inside(parts: list[Tensor], arrays: list[Any], extents: list[int]) -> Tensor | None:
    """Whether every index that is known only at run time is in range; None without such."""
    result: Tensor | None = None
    for part, array, extent in zip(parts, arrays, extents, strict=True):
        if not isinstance(array, Tensor):
            continue
        above = emit("ge", part, like(0, part))
        below = emit("lt", part, like(extent, part))
        both = emit("and", above, below)
        result = both if result is None else emit("and", result, both)
    return result
