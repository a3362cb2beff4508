"""Rewrites of views, padding and reductions: nothing here touches an element's value."""

from __future__ import annotations

import math

import numpy as np

from graphc.dtypes import DType
from graphc.ir import Array, Value
from graphc.passes.patterns import Any, Apply, Match, Row, uniform_element, uniform_value

x = Any("x")


def _unchanged(m: Match) -> Value | None:
    """The operand, where the node only repeats its type and no element moves."""
    return m["x"] if m["x"].type == m.type else None


def _reshape(m: Match) -> Value:
    return m.builder.reshape(m["x"], m.type.shape)


def _broadcast(m: Match) -> Value:
    return m.builder.broadcast(m["x"], m.type.shape)


def _broadcast_of_reshape(m: Match) -> Value | None:
    """A reshape that only adds leading dimensions of extent 1 is what a broadcast does anyway."""
    reshaped = m.node("inner").results[0].shape
    added = len(reshaped) - m["x"].type.rank
    if added < 0 or reshaped != (1,) * added + m["x"].shape:
        return None
    return _broadcast(m)


def _transpose_identity(m: Match) -> Value | None:
    axes = m.root.attrs["axes"]
    return m["x"] if axes == tuple(range(len(axes))) else None


def _transpose_of_transpose(m: Match) -> Value:
    inner, outer = m.node("inner").attrs["axes"], m.root.attrs["axes"]
    return m.builder.transpose(m["x"], [inner[axis] for axis in outer])


def _transpose_of_ones(m: Match) -> Value | None:
    """Where only dimensions of extent 1 change places, no element moves."""
    moved = [axis for axis in m.root.attrs["axes"] if m["x"].shape[axis] != 1]
    return _reshape(m) if moved == sorted(moved) else None


def _slice_whole(m: Match) -> Value | None:
    forward = all(step == 1 for step in m.root.attrs["step"])
    return m["x"] if forward and m["x"].type == m.type else None


def _slice_of_slice(m: Match) -> Value:
    """Element i of the outer slice is element start + (s + i t) step of the innermost value."""
    inner, outer = m.node("inner").attrs, m.root.attrs
    start, stop, step = [], [], []
    for axis, extent in enumerate(m.type.shape):
        first = inner["start"][axis] + outer["start"][axis] * inner["step"][axis]
        stride = inner["step"][axis] * outer["step"][axis]
        start.append(first)
        step.append(stride)
        stop.append(first + (extent - 1) * stride + 1 if extent else first)
    return m.builder.op("slice", m["x"], start=tuple(start), stop=tuple(stop), step=tuple(step))


def _pad_of_pad(m: Match) -> Value | None:
    inner, outer = m.node("inner").attrs, m.root.attrs
    spread = any(inner["interior"]) or any(outer["interior"])
    same = inner["value"] == outer["value"] and str(inner["value"]) == str(outer["value"])
    if spread or not same:
        return None
    low = tuple(a + b for a, b in zip(inner["low"], outer["low"], strict=True))
    high = tuple(a + b for a, b in zip(inner["high"], outer["high"], strict=True))
    interior = outer["interior"]
    value = outer["value"]
    return m.builder.op("pad", m["x"], low=low, high=high, interior=interior, value=value)


def _flip_of_ones(m: Match) -> Value | None:
    return m["x"] if all(m["x"].shape[axis] <= 1 for axis in m.root.attrs["axes"]) else None


def _flip_of_flip(m: Match) -> Value | None:
    inner, outer = m.node("inner").attrs["axes"], m.root.attrs["axes"]
    axes = tuple(sorted(set(inner) ^ set(outer)))
    return m.builder.op("flip", m["x"], axes=axes) if axes else m["x"]


def _concat_of_one(m: Match) -> Value | None:
    return m["x"] if len(m.root.operands) == 1 else None


def _slice_of_concat(m: Match) -> Value | None:
    """A slice within one part of a concatenation is a slice of that part."""
    node, attrs = m.node("inner"), m.root.attrs
    axis = node.attrs["axis"]
    start, stop = attrs["start"][axis], attrs["stop"][axis]
    offset = 0
    for part in node.operands:
        if offset <= start and stop <= offset + part.shape[axis]:
            first = _replaced(attrs["start"], axis, start - offset)
            last = _replaced(attrs["stop"], axis, stop - offset)
            return m.builder.op("slice", part, start=first, stop=last, step=attrs["step"])
        offset += part.shape[axis]
    return None


def _replaced(values: tuple[int, ...], position: int, value: int) -> tuple[int, ...]:
    return (*values[:position], value, *values[position + 1 :])


def _reduce_nothing(m: Match) -> Value | None:
    return m["x"] if not m.root.attrs["axes"] else None


def _extremum_of_ones(m: Match) -> Value | None:
    """The greatest of one element is that element. (A sum would turn -0 into +0.)"""
    return _reshape(m) if all(m["x"].shape[axis] == 1 for axis in m.root.attrs["axes"]) else None


def _sum_of_a_number(m: Match) -> Value | None:
    """n times a number, where each partial sum is exact: a number of few binary digits."""
    element = uniform_value(m.builder, m["x"])
    if element is None or not m["x"].dtype.is_float or not math.isfinite(element):
        return None
    count = math.prod(m["x"].shape[axis] for axis in m.root.attrs["axes"])
    numerator, _ = float(element).as_integer_ratio()
    if count == 0 or numerator == 0 or not _is_exact(abs(numerator) * count, m["x"].dtype):
        return None
    total = m.builder.constant(float(element) * count, m["x"].dtype)
    return m.builder.broadcast(total, m.type.shape)


def _is_exact(number: int, dtype: DType) -> bool:
    """Whether a float type holds all whole numbers up to this one."""
    return number <= 1 << np.finfo(dtype.numpy).nmant + 1


def _scalar_constant(m: Match) -> Value | None:
    """A constant of one repeated element is that element, broadcast."""
    array = m.root.attrs["value"]
    assert isinstance(array, Array)
    element = uniform_element(array)
    if element is None or array.data.size <= 1:
        return None
    return m.builder.broadcast(m.builder.array(element), m.type.shape)


VIEWS = (
    Row(Apply("reshape", (x,)), _unchanged, "the shape it has"),
    Row(Apply("reshape", (Apply("reshape", (x,)),)), _reshape, "only the last shape counts"),
    Row(Apply("broadcast", (x,)), _unchanged, "the shape it has"),
    Row(Apply("broadcast", (Apply("broadcast", (x,)),)), _broadcast, "only the last shape counts"),
    Row(
        Apply("broadcast", (Apply("reshape", (x,), "inner"),)),
        _broadcast_of_reshape,
        "a broadcast aligns to the right by itself",
    ),
    Row(Apply("transpose", (x,)), _transpose_identity, "no dimension moves"),
    Row(
        Apply("transpose", (Apply("transpose", (x,), "inner"),)),
        _transpose_of_transpose,
        "permutations compose",
    ),
    Row(Apply("transpose", (x,)), _transpose_of_ones, "no element moves"),
    Row(Apply("slice", (x,)), _slice_whole, "all of it"),
    Row(Apply("slice", (Apply("slice", (x,), "inner"),)), _slice_of_slice, "slices compose"),
    Row(Apply("slice", (Apply("concat", (x,), "inner"),)), _slice_of_concat, "one part alone"),
    Row(Apply("pad", (x,)), _unchanged, "padding of no width"),
    Row(Apply("pad", (Apply("pad", (x,), "inner"),)), _pad_of_pad, "widths add"),
    Row(Apply("flip", (x,)), _flip_of_ones, "nothing to reverse"),
    Row(Apply("flip", (Apply("flip", (x,), "inner"),)), _flip_of_flip, "reversed twice"),
    Row(Apply("concat", (x,)), _concat_of_one, "one part"),
    Row(Apply("constant", ()), _scalar_constant, "one element stored once"),
)

REDUCTIONS = (
    *(
        Row(Apply(op, (x,)), _reduce_nothing, "no dimension is reduced")
        for op in ("sum", "prod", "max", "min", "any", "all")
    ),
    Row(Apply("sum", (x,)), _sum_of_a_number, "the number as often as there are elements"),
    *(
        Row(Apply(op, (x,)), _extremum_of_ones, "the greatest or least of one element")
        for op in ("max", "min", "any", "all")
    ),
)
