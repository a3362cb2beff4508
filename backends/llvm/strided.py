"""Loads of lanes that lie a few elements apart: whole vectors, and shuffles that pick from them.

    x[0] x[2] x[4] …  =  shuffle(x[0] x[1] … , x[16] x[17] …, <0, 2, 4, …>)

Nothing before the first lane's element or after the last one's is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.loops import Buffer

from .function import Val, vector

if TYPE_CHECKING:
    from .expressions import Expressions

# With more, most of what the vectors bring is not wanted.
MOST_STRIDE = 4


def read_strided(
    x: Expressions, buffer: Buffer, offset: Val, stride: int, guard: Val | None
) -> Val:
    """The lanes' elements, `stride` apart from `offset` on; lanes that `guard` shuts out are 0."""
    assert x.lanes is not None
    width, last = x.lanes.width, (x.lanes.active - 1) * stride
    result: Val | None = None
    for number in range(last // width + 1):
        first = number * width
        place = x.function.iadd(offset, x.function.int_(first))
        part = x.vector_at(buffer, place, _mask(x, first, last, stride, guard))
        result = part if result is None else _picked(x, result, part, first, stride)
    assert result is not None
    return result if last >= width else _picked(x, result, result, width, stride)


def _mask(x: Expressions, first: int, last: int, stride: int, guard: Val | None) -> Val | None:
    """Which elements of the vector that begins at `first` are touched; None for all."""
    assert x.lanes is not None
    width = x.lanes.width
    places = range(first, first + width)
    type = vector("i1", width)
    if guard is None:
        if places[-1] <= last:
            return None
        bits = ", ".join(f"i1 {'true' if place <= last else 'false'}" for place in places)
        return Val(f"<{bits}>", type, width)
    wanted = [place % stride == 0 and place <= last for place in places]
    picks = [place // stride if on else width for place, on in zip(places, wanted, strict=True)]
    lanes = ", ".join(f"i32 {pick}" for pick in picks)
    wide = x.widen(guard, width)
    text = f"shufflevector {wide}, {type} zeroinitializer, <{width} x i32> <{lanes}>"
    return x.function.pure(text, type, width, wide)


def _picked(x: Expressions, before: Val, part: Val, first: int, stride: int) -> Val:
    """`before`, with the lanes whose elements are in the vector that begins at `first`.

    The first vector is picked from together with the second.
    """
    width = before.width
    fresh = first == width
    picks = []
    for lane in range(width):
        place = lane * stride
        if first <= place < first + width:
            picks.append(width + place - first)
        else:
            picks.append(place if fresh and place < width else lane)
    lanes = ", ".join(f"i32 {pick}" for pick in picks)
    text = f"shufflevector {before}, {part}, <{width} x i32> <{lanes}>"
    return x.function.pure(text, before.type, width, before, part)
