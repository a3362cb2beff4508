"""Layer, batch and RMS normalisation, found in primitives.

    before  %m: f32[8] = mean of %x over axis 1                  # net.py:7
            %c: f32[8,64] = sub(%x, %m repeated)                 # net.py:7
            %v: f32[8] = mean of mul(%c, %c)                     # net.py:8
            %y: f32[8,64] = mul(%c, rsqrt(%v + 1e-5) repeated)   # net.py:9
    after   %y: f32[8,64] = layer_norm(%x) {affine="none", axes=(1,), eps=1e-05}

A weight and a bias that follow are taken in one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from graphc.ir import Node, Value
from graphc.passes.finding import Finder, Spread, Write, both_ways


def find_scaled(finder: Finder, node: Node) -> Write | None:
    """c * rsqrt(mean(c c) + eps) and c / sqrt(mean(c c) + eps)."""
    for c, scale in both_ways(node):
        found = _root_mean_square(finder, finder.whole(scale), node.op, c)
        if found is None:
            continue
        axes, eps = found
        x = _centred_of(finder, c, axes)
        written = _normalised(c, axes, eps) if x is None else _standardised(x, axes, eps)
        if written is not None:
            return written
    return None


def _root_mean_square(
    finder: Finder, scale: Spread, op: str, c: Value
) -> tuple[tuple[int, ...], float] | None:
    """(axes, eps) where the scale is that of c: 1 / rms for a product, rms for a quotient."""
    root = finder.node(scale.value, "rsqrt" if op == "mul" else "sqrt")
    shifted = finder.node(root.operands[0], "add") if root is not None else None
    if shifted is None:
        return None
    for variance, shift in both_ways(shifted):
        eps = finder.number(shift)
        found = finder.mean(finder.seen(Spread(variance, scale.dims)), c.type.rank)
        if eps is None or found is None:
            continue
        squares, axes = found
        if finder.square(squares) is c:
            return axes, eps
    return None


def _centred_of(finder: Finder, c: Value, axes: tuple[int, ...]) -> Value | None:
    """x where c is x less its mean over `axes`."""
    difference = finder.node(c, "sub")
    if difference is None:
        return None
    x, mean = difference.operands
    found = finder.mean(finder.whole(mean), x.type.rank)
    return x if found is not None and found[0] is x and found[1] == axes else None


def _normalised(x: Value, axes: tuple[int, ...], eps: float) -> Write | None:
    if not _are_trailing(axes, x):
        return None
    return lambda b: b.op("rms_norm", x, axes=axes, eps=eps, affine="none")


def _standardised(x: Value, axes: tuple[int, ...], eps: float) -> Write | None:
    if _are_trailing(axes, x):
        return lambda b: b.op("layer_norm", x, axes=axes, eps=eps, affine="none")
    if axes == tuple(axis for axis in range(x.type.rank) if axis != 1):
        return lambda b: b.emit("batch_norm", (x,), {"eps": eps, "affine": "none"})[0]
    return None


def _are_trailing(axes: tuple[int, ...], x: Value) -> bool:
    rank = x.type.rank
    return axes == tuple(range(rank - len(axes), rank))


# A parameter that follows: operator of the node -> what the composite has, and has then.
_AFFINE = {"mul": ("none", "weight"), "add": ("weight", "both")}


def find_parameter(finder: Finder, node: Node) -> Write | None:
    """norm(x) * weight, and norm(x) * weight + bias."""
    before, after = _AFFINE[node.op]
    for y, parameter in both_ways(node):
        norm = finder.node(y, "layer_norm", "rms_norm", "batch_norm")
        if norm is None or norm.attrs["affine"] != before or norm.results[0] is not y:
            continue
        written = _with_parameter(finder, norm, parameter, after)
        if written is not None:
            return written
    return None


def _with_parameter(finder: Finder, norm: Node, parameter: Value, kind: str) -> Write | None:
    """The normalisation with one more parameter, read at the dimensions it is for."""
    x = norm.operands[0]
    attrs: Mapping[str, Any] = norm.attrs
    dims: tuple[int, ...] = attrs.get("axes", (1,))
    spread = finder.whole(parameter)
    shape = tuple(x.shape[dim] for dim in dims)
    wide = tuple(dim for dim in dims if x.shape[dim] != 1)
    if spread.read_dims != wide or spread.value.type.size != math.prod(shape):
        return None
    with_parameter = {**attrs, "affine": kind}
    value = spread.value
    return lambda b: b.emit(norm.op, (*norm.operands, b.reshape(value, shape)), with_parameter)[0]
