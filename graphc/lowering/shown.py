"""Parts of tensors that need no memory of their own: who reads them reads the whole at an offset.

    %2 = slice(%1)      f32[8,256,384]   of   f32[8,256,1152]
    %3 = reshape(%2)    f32[8,256,6,64]                            each index of %1 is a sum of
    %4 = transpose(%3)  f32[8,6,256,64]                            multiples of the indices of %4

A place is dense, so a part of one is none. Slices, and the reshapes and transposes of them that
leave indices sums of multiples, are read through by all consumers instead of being copied.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.ir import Node, Value
from graphc.lowering.places import Place
from graphc.ops.reindex import matching_runs

Strides = tuple[int, ...]


def shown_strides(
    value: Value, places: Mapping[Value, Place], producers: Mapping[Value, Node]
) -> Strides | None:
    """Elements between neighbours along each dimension of what a value shows of memory.

    None: it is not in memory, or its indices would have to be divided.
    """
    place = places.get(value)
    if place is not None:
        return place.strides
    node = producers.get(value)
    if node is None or node.op not in ("slice", "reshape", "transpose"):
        return None
    strides = shown_strides(node.operands[0], places, producers)
    return None if strides is None else _seen_through(node, strides)


def _seen_through(node: Node, strides: Strides) -> Strides | None:
    """The strides of a view's result, given those of its operand."""
    match node.op:
        case "slice":
            return tuple(s * step for s, step in zip(strides, node.attrs["step"], strict=True))
        case "transpose":
            return tuple(strides[axis] for axis in node.attrs["axes"])
        case _:
            return _split(node, strides)


def _split(node: Node, strides: Strides) -> Strides | None:
    """The strides after a reshape that only splits dimensions, or drops and adds those of 1."""
    old, new = node.operands[0].shape, node.result.shape
    if 0 in old:
        return None
    found: list[int] = []
    for olds, news in matching_runs(old, new):
        wide = [strides[d] for d in olds if old[d] != 1]
        if len(wide) > 1:
            return None
        step = wide[0] if wide else 1
        run = []
        for d in reversed(news):
            run.append(step)
            step *= new[d]
        found += reversed(run)
    return tuple(found)


def order_of(shape: tuple[int, ...], strides: Strides) -> tuple[int, ...]:
    """The dimensions from slowest to fastest.

    >>> order_of((2, 3, 4), (4, 100, 1))
    (1, 0, 2)
    """
    return tuple(sorted(range(len(shape)), key=lambda d: (-strides[d], shape[d] != 1, d)))
