"""Loops whose reads follow one another, as one: what is then read together fills whole lines.

    parallel h in 0..9, i in 0..512, o in 0..512:      parallel r in 0..4608, o in 0..512:
        store y[h, i, o] = x[o, i, h]              =>      store y[r % 9, r // 9, o] = x[o, r]

Loops that move on alike in every access are joined first: the height and width of a picture that
is laid out anew with its channels last or first. Where stores then move on differently, as in a
convolution's weights of 3 by 3, a quotient and a remainder for each vector find their place.
"""

from __future__ import annotations

from itertools import permutations

from graphc.loops import Kernel
from graphc.target import Target

from .collapsed import extent_of, join, nest
from .elementwise import loads, stride, values

_LONG_TILES = 8  # of rows whose edge is a small part: they need no quotients


def weave(kernel: Kernel, target: Target) -> Kernel:
    """The kernel with such loops joined; the same one where nothing crosses its stores."""
    loops, body = nest(kernel.body)
    if len(loops) < 3:
        return kernel
    column = loops[-1].var
    found = {load for value in values(body) for load in loads(value) if load.guard is None}
    if all(stride(load, column, kernel) in (0, 1) for load in found):
        return kernel
    kernel = _joined(kernel)
    return _divided(kernel, target) or kernel


def _joined(kernel: Kernel) -> Kernel:
    """Without loops that move on alike with another one, the innermost loop apart."""
    loops, _ = nest(kernel.body)
    for outer, inner in permutations(loops[:-1], 2):
        joined = join(kernel, outer, inner)
        if joined is not None:
            return _joined(joined)
    return kernel


def _divided(kernel: Kernel, target: Target) -> Kernel | None:
    """With the short loop that crossing loads run along, and the one that goes on after it, as one;
    None where they have no such loops."""
    loops, body = nest(kernel.body)
    column, side = loops[-1].var, target.vector_bytes // 4
    found = {load for value in values(body) for load in loads(value)}
    crossing = [x for x in found if stride(x, column, kernel) not in (0, 1)]
    for outer, inner in permutations(loops[:-1], 2):
        extent = extent_of(inner)
        steps = {(stride(x, inner.var, kernel), stride(x, outer.var, kernel)) for x in crossing}
        if steps == {(1, extent)} and extent % side and extent < _LONG_TILES * side:
            return join(kernel, outer, inner, divided=True)
    return None
