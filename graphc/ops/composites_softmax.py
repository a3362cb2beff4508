"""softmax, log_softmax and logsumexp: exponentials less their greatest, so that none overflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphc.ir import Attribute, Node, TensorType, Value
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, Infer, Regions, Sample, Types, define
from graphc.ops.numerics import NumpyArray
from graphc.ops.reductions import without
from graphc.ops.rules import expect_axes, expect_count, expect_dtype, of_one_result
from graphc.ops.samples import FLOATS, real


def softmax_rule(op: str) -> Infer:
    def infer(types: Types, attrs: Attrs, regions: Regions) -> Types:
        expect_count(op, types, 1)
        expect_dtype(op, types[0].dtype, FLOATS)
        expect_axes(op, types[0], (attrs["axis"],))
        return (types[0],)

    return infer


def centred(b: Builder, x: Value, axes: Sequence[int]) -> Value:
    """x less its greatest along `axes`, through which no derivative flows: it cancels."""
    greatest = b.op("stop_gradient", b.max(x, axes))
    return b.sub(x, b.expand(greatest, axes, x.shape))


def softmax(b: Builder, x: Value, axes: Sequence[int]) -> Value:
    """exp(x - max) over its sum along `axes`."""
    powers = b.exp(centred(b, x, axes))
    return b.div(powers, b.expand(b.sum(powers, axes), axes, x.shape))


def log_of_sum(b: Builder, shifted: Value, axes: Sequence[int]) -> Value:
    """log sum exp of values that `centred` gave."""
    return b.log(b.sum(b.exp(shifted), axes))


def log_softmax(b: Builder, x: Value, axes: Sequence[int]) -> Value:
    shifted = centred(b, x, axes)
    return b.sub(shifted, b.expand(log_of_sum(b, shifted, axes), axes, x.shape))


@of_one_result
def softmax_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """y (dy - sum(y dy))."""
    y, axes = node.result, (node.attrs["axis"],)
    total = b.expand(b.sum(b.mul(y, dy), axes), axes, y.shape)
    return (b.mul(y, b.sub(dy, total)),)


@of_one_result
def log_softmax_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """dy - exp(y) sum(dy)."""
    y, axes = node.result, (node.attrs["axis"],)
    return (b.sub(dy, b.mul(b.exp(y), b.expand(b.sum(dy, axes), axes, y.shape))),)


@numerics.widened
def softmax_meaning(x: NumpyArray, axis: int) -> NumpyArray:
    powers = np.exp(x - np.max(x, axis, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


@numerics.widened
def log_softmax_meaning(x: NumpyArray, axis: int) -> NumpyArray:
    shifted = x - np.max(x, axis, keepdims=True, initial=-np.inf)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))


def softmax_samples() -> Sequence[Sample]:
    """Every axis; rows of one, of none, of large values, with infinities and NaN."""
    cases = [((2, 3), 1), ((2, 3), 0), ((2, 3, 4), 1), ((5,), 0), ((3, 1), 1), ((0, 3), 1)]
    found = [Sample((real(shape, -3, 3),), {"axis": axis}) for shape, axis in cases]
    inf = np.inf
    rows = [[1e4, 1e4, -1e4], [-inf, 0, 1], [-inf, -inf, -inf], [inf, 0, 1], [np.nan, 0, 1]]
    found.append(Sample((np.array(rows, np.float32),), {"axis": 1}, (), False))
    found.append(Sample((real((3, 100), -30, 30),), {"axis": 1}, (), False))
    found.append(Sample((real((0, 3)),), {"axis": 0}, (), False))
    return found


define(
    "softmax",
    infer=softmax_rule("softmax"),
    meaning=softmax_meaning,
    vjp=softmax_vjp,
    decompose=lambda b, node: (softmax(b, node.operands[0], (node.attrs["axis"],)),),
    samples=softmax_samples,
    reduction=True,
)

define(
    "log_softmax",
    infer=softmax_rule("log_softmax"),
    meaning=log_softmax_meaning,
    vjp=log_softmax_vjp,
    decompose=lambda b, node: (log_softmax(b, node.operands[0], (node.attrs["axis"],)),),
    samples=softmax_samples,
    reduction=True,
)


# logsumexp


def logsumexp_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("logsumexp", types, 1)
    (x,) = types
    expect_dtype("logsumexp", x.dtype, FLOATS)
    expect_axes("logsumexp", x, attrs["axes"])
    return (TensorType(_reduced(x.shape, attrs), x.dtype),)


def _reduced(shape: Sequence[int], attrs: Attrs) -> tuple[int, ...]:
    if attrs.get("keepdims", False):
        return tuple(1 if i in attrs["axes"] else n for i, n in enumerate(shape))
    return without(shape, attrs["axes"])


def logsumexp_decompose(b: Builder, node: Node) -> Sequence[Value]:
    """max + log sum exp(x - max), with 0 for an infinite max: inf - inf would be NaN."""
    (x,), axes = node.operands, node.attrs["axes"]
    greatest = b.op("stop_gradient", b.max(x, axes))
    finite = b.compare("lt", b.op("abs", greatest), b.like(np.inf, greatest))
    greatest = b.where(finite, greatest, b.zeros(greatest.type))
    powers = b.exp(b.sub(x, b.expand(greatest, axes, x.shape)))
    return (b.reshape(b.add(greatest, b.log(b.sum(powers, axes))), node.result.shape),)


@of_one_result
def logsumexp_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """dy exp(x - y); 0 where y is -inf, as all of x is."""
    (x,), axes = node.operands, node.attrs["axes"]
    nothing = b.compare("eq", node.result, b.like(-np.inf, node.result))
    y = b.where(nothing, b.zeros(node.result.type), node.result)
    kept = without(x.shape, axes)
    wide = [b.expand(b.reshape(value, kept), axes, x.shape) for value in (y, dy)]
    return (b.mul(wide[1], b.exp(b.sub(x, wide[0]))),)


@numerics.widened
def logsumexp_meaning(x: NumpyArray, axes: tuple[int, ...], keepdims: bool = False) -> NumpyArray:
    greatest = np.max(x, axes, keepdims=True, initial=-np.inf)
    base = np.where(np.isfinite(greatest), greatest, 0)
    total = base + np.log(np.sum(np.exp(x - base), axes, keepdims=True))
    return np.asarray(total if keepdims else total.reshape(without(x.shape, axes)))


def logsumexp_samples() -> Sequence[Sample]:
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]
    shapes = [((2, 3), (1,)), ((2, 3), (0,)), ((2, 3, 4), (0, 2)), ((5,), (0,)), ((2,), ())]
    found = [Sample((real(s, -3, 3),), {"axes": axes, "keepdims": False}) for s, axes in shapes]
    kept: Mapping[str, Attribute] = {"axes": (1,), "keepdims": True}
    found.append(Sample((real((2, 3)),), kept))
    inf = np.inf
    rows = [[1e4, 1e4, -1e4], [-inf, 0, 1], [-inf, -inf, -inf], [inf, 0, 1], [np.nan, 0, 1]]
    found.append(Sample((np.array(rows, np.float32),), kept, (), False))
    found.append(Sample((real((0, 3)),), {"axes": (0,), "keepdims": False}, (), False))
    return found


define(
    "logsumexp",
    infer=logsumexp_rule,
    meaning=logsumexp_meaning,
    vjp=logsumexp_vjp,
    decompose=logsumexp_decompose,
    samples=logsumexp_samples,
    reduction=True,
)
