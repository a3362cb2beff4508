"""Where a tensor lies: a storage, an offset, and the order of its dimensions in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.dtypes import DType
from graphc.loops import Expr, index

START: Expr = index(0)


@dataclass(frozen=True)
class Place:
    """A tensor in memory.

    shape    logical extents
    order    the dimensions from slowest to fastest
    offset   elements from the start of the storage, affine in the enclosing repeat indexes
    """

    storage: str
    shape: tuple[int, ...]
    dtype: DType
    order: tuple[int, ...]
    offset: Expr = START

    @property
    def strides(self) -> tuple[int, ...]:
        strides = [0] * len(self.shape)
        step = 1
        for dimension in reversed(self.order):
            strides[dimension] = step
            step *= self.shape[dimension]
        return tuple(strides)

    @property
    def is_row_major(self) -> bool:
        return same_layout(self.shape, self.order, tuple(range(len(self.shape))))


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(len(shape)))


def same_layout(shape: Sequence[int], a: Sequence[int], b: Sequence[int]) -> bool:
    """Two orders that put the elements alike: dimensions of extent 1 may lie anywhere."""
    wide = [[d for d in order if shape[d] != 1] for order in (a, b)]
    return wide[0] == wide[1]


def transposed(place: Place, axes: Sequence[int]) -> Place:
    """The view that result dimension d reads operand dimension axes[d]."""
    back = {axis: position for position, axis in enumerate(axes)}
    order = tuple(back[dimension] for dimension in place.order)
    return replace(place, shape=tuple(place.shape[axis] for axis in axes), order=order)


def reshaped(place: Place, shape: Sequence[int]) -> Place | None:
    """The view under another shape, or None where it would have to move elements.

    Extents are matched from the front in runs of equal product; a run may be split or joined if
    its dimensions lie one after the other in memory.
    """
    if 0 in place.shape:
        return replace(place, shape=tuple(shape), order=row_major(shape))
    strides = _reshaped_strides(place, shape)
    if strides is None:
        return None
    order = tuple(sorted(range(len(shape)), key=lambda d: (-strides[d], shape[d] != 1, d)))
    view = replace(place, shape=tuple(shape), order=order)
    dense = all(shape[d] == 1 or view.strides[d] == strides[d] for d in range(len(shape)))
    return view if dense else None


def _reshaped_strides(place: Place, shape: Sequence[int]) -> list[int] | None:
    old = [(n, s) for n, s in zip(place.shape, place.strides, strict=True) if n != 1]
    strides: list[int] = []
    pending: list[int] = []  # extents of the new run, not yet matched
    position = 0
    run, run_stride = 1, 1
    for extent in shape:
        pending.append(extent)
        product = 1
        for n in pending:
            product *= n
        while run < product:
            if position == len(old):
                return None
            n, s = old[position]
            if run > 1 and run_stride != n * s:
                return None
            run, run_stride, position = run * n, s, position + 1
        if run == product:
            step = run_stride
            found = []
            for n in reversed(pending):
                found.append(step)
                step *= n
            strides += reversed(found)
            pending, run = [], 1
    return strides if not pending and position == len(old) else None
