"""Sorting: stable, NaN last (first where descending)."""

from __future__ import annotations

from graphc.errors import ShapeError
from graphc.frontends.tracing.convert import ArrayLike, as_tensor, normal_axis, whole_number
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_shapes import ravel, slice_axis
from graphc.frontends.tracing.recorder import current
from graphc.frontends.tracing.tensor import Tensor


def _sorted(x: ArrayLike, axis: int | None, descending: bool) -> tuple[Tensor, Tensor, int]:
    """Sorted values, their former positions, and the axis."""
    tensor = as_tensor(x)
    if axis is None:
        tensor, axis = ravel(tensor), 0
    place = normal_axis(axis, tensor.ndim, "sort")
    attrs = {"axis": place, "descending": bool(descending)}
    values, positions = current().emit("sort", [tensor], attrs)
    return values, positions, place


@face()
def sort(x: ArrayLike, axis: int | None = -1, descending: bool = False) -> Tensor:
    return _sorted(x, axis, descending)[0]


@face()
def argsort(x: ArrayLike, axis: int | None = -1, descending: bool = False) -> Tensor:
    """The positions, i64, that sort x."""
    return _sorted(x, axis, descending)[1]


@face()
def topk(
    input: ArrayLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Tensor, Tensor]:
    """The k greatest (or smallest) elements along `dim`, in order, and their positions, i64."""
    tensor = as_tensor(input)
    extent = tensor.shape[normal_axis(dim, tensor.ndim, "topk")]
    count = whole_number(k, "topk: k")
    if not 0 <= count <= extent:
        raise ShapeError(f"topk: k is {count}; {tensor.type} has {extent} elements along {dim}")
    values, positions, place = _sorted(tensor, dim, largest)
    return slice_axis(values, place, 0, count), slice_axis(positions, place, 0, count)
