"""Average pooling and adaptive average pooling over [N, C, H, W], as torch's, and their gradients.

Both divide the sum of a run of elements by a count; they differ in which run an output takes.
`Strided` and `Adaptive` say that for one dimension; the rest is shared. The gradients are written
in gather form: an input element sums over the outputs that cover it, in increasing order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import (
    Axis,
    Expr,
    Literal,
    alltrue,
    call,
    cast,
    const,
    index,
    mul,
    reduce,
    select,
    variable,
)
from graphc.ops.define import Attrs, Cotangents, LoweringContext, Regions, Sample, Types, define
from graphc.ops.numerics import NumpyArray, widened
from graphc.ops.rules import of_one_result
from graphc.ops.runs import Adaptive, Runs, Strided
from graphc.ops.samples import real
from graphc.ops.windows import make_windows

Sides = tuple[Runs, Runs]


# Typing rules


def _strided(op: str, sizes: Sequence[int], attrs: Attrs) -> Sides:
    windows = make_windows(op, sizes, attrs["kernel"], attrs)
    for window in windows:
        if 2 * window.padding > window.kernel:
            raise ArgumentError(
                f"{op}: padding {window.padding} is more than half of the kernel {window.kernel}"
            )
    high, wide = (Strided(window, attrs["count_include_pad"]) for window in windows)
    return high, wide


def _adaptive(op: str, sizes: Sequence[int], outputs: Sequence[int]) -> Sides:
    if min(*sizes, *outputs) < 1:
        raise ShapeError(
            f"{op}: input size {tuple(sizes)} and output size {tuple(outputs)}, "
            "expected at least 1 in each dimension"
        )
    return Adaptive(sizes[0], outputs[0]), Adaptive(sizes[1], outputs[1])


def _forward_sides(op: str, x: Sequence[int], attrs: Attrs) -> Sides:
    """The runs of a forward operator, from the shape of its operand."""
    if op == "adaptive_avg_pool2d":
        return _adaptive(op, x[2:], attrs["output_size"])
    return _strided(op, x[2:], attrs)


def _backward_sides(op: str, dy: Sequence[int], attrs: Attrs) -> Sides:
    """The runs of a gradient, from the shape of the cotangent."""
    if op == "adaptive_avg_pool2d_grad":
        return _adaptive(op, attrs["input_size"], dy[2:])
    return _strided(op, attrs["input_size"], attrs)


def _check_operand(op: str, x: TensorType) -> None:
    if x.rank != 4:
        raise ShapeError(f"{op}: operand is {x}, expected four dimensions")
    if not x.dtype.is_float:
        raise DTypeError(f"{op}: operand is {x}, expected a float type")


def _infer_forward(op: str) -> Callable[..., Types]:
    def infer(types: Types, attrs: Attrs, regions: Regions) -> Types:
        (x,) = types
        _check_operand(op, x)
        high, wide = _forward_sides(op, x.shape, attrs)
        return (TensorType((*x.shape[:2], high.output, wide.output), x.dtype),)

    return infer


def _infer_backward(op: str) -> Callable[..., Types]:
    def infer(types: Types, attrs: Attrs, regions: Regions) -> Types:
        (dy,) = types
        _check_operand(op, dy)
        high, wide = _backward_sides(op, dy.shape, attrs)
        if dy.shape[2:] != (high.output, wide.output):
            raise ShapeError(
                f"{op}: cotangent is {dy}, the pooling gives {high.output} x {wide.output}"
            )
        return (TensorType((*dy.shape[:2], high.size, wide.size), dy.dtype),)

    return infer


# Meanings: the sum over a rectangle is a sum over rows, then over columns


def _meaning_forward(op: str) -> Callable[..., NumpyArray]:
    @widened
    def meaning(x: NumpyArray, **attrs: Any) -> NumpyArray:
        high, wide = _forward_sides(op, x.shape, attrs)
        total = _sum_runs(_sum_runs(x, high, 2), wide, 3)
        return total / _divisors(high, wide, x.dtype)

    return meaning


def _meaning_backward(op: str) -> Callable[..., NumpyArray]:
    @widened
    def meaning(dy: NumpyArray, **attrs: Any) -> NumpyArray:
        high, wide = _backward_sides(op, dy.shape, attrs)
        share = dy / _divisors(high, wide, dy.dtype)
        return _spread_runs(_spread_runs(share, wide, 3), high, 2)

    return meaning


def _sum_runs(x: NumpyArray, runs: Runs, axis: int) -> NumpyArray:
    """The sum of every run along one axis."""
    columns = x.swapaxes(0, axis)
    sums = [columns[slice(*runs.bounds(output))].sum(axis=0) for output in range(runs.output)]
    return np.stack(sums).swapaxes(0, axis)


def _spread_runs(y: NumpyArray, runs: Runs, axis: int) -> NumpyArray:
    """Each output added to every element of its run, along one axis."""
    shape = (*y.shape[:axis], runs.size, *y.shape[axis + 1 :])
    result = np.zeros(shape, y.dtype)
    columns, outputs = result.swapaxes(0, axis), y.swapaxes(0, axis)
    for output in range(runs.output):
        columns[slice(*runs.bounds(output))] += outputs[output]
    return result


def _divisors(high: Runs, wide: Runs, dtype: np.dtype[Any]) -> NumpyArray:
    rows = [high.divisor(output) for output in range(high.output)]
    columns = [wide.divisor(output) for output in range(wide.output)]
    return np.outer(rows, columns).astype(dtype)


# Gradients


def _without(node: Node, name: str) -> dict[str, Any]:
    return {key: value for key, value in node.attrs.items() if key != name}


@of_one_result
def _avg_pool_vjp(b: Any, node: Node, dy: Value) -> Cotangents:
    size = node.operands[0].shape[2:]
    return (b.op("avg_pool2d_grad", dy, input_size=size, **node.attrs),)


@of_one_result
def _avg_pool_grad_vjp(b: Any, node: Node, t: Value) -> Cotangents:
    return (b.op("avg_pool2d", t, **_without(node, "input_size")),)


@of_one_result
def _adaptive_vjp(b: Any, node: Node, dy: Value) -> Cotangents:
    return (b.op("adaptive_avg_pool2d_grad", dy, input_size=node.operands[0].shape[2:]),)


@of_one_result
def _adaptive_grad_vjp(b: Any, node: Node, t: Value) -> Cotangents:
    return (b.op("adaptive_avg_pool2d", t, output_size=node.operands[0].shape[2:]),)


# Lowerings


def _lower_forward(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    x = ctx.node.operands[0]
    high, wide = _forward_sides(ctx.node.op, x.shape, ctx.node.attrs)
    n, c, oh, ow = at
    kh, kw = variable(ctx.fresh("kh")), variable(ctx.fresh("kw"))
    (h, h_inside), (w, w_inside) = high.source(oh, kh), wide.source(ow, kw)
    total = reduce(
        "sum",
        (Axis(kh.name, high.taps), Axis(kw.name, wide.taps)),
        ctx.operand(0, (n, c, h, w)),
        where=alltrue(h_inside, w_inside),
    )
    return _divide(total, high, wide, oh, ow)


def _lower_backward(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    dy = ctx.node.operands[0]
    high, wide = _backward_sides(ctx.node.op, dy.shape, ctx.node.attrs)
    n, c, h, w = at
    high_number, high_axes = _candidates(ctx, high, "jh")
    wide_number, wide_axes = _candidates(ctx, wide, "jw")
    (oh, high_covers), (ow, wide_covers) = (
        high.covering(h, high_number),
        wide.covering(w, wide_number),
    )
    covered = alltrue(high_covers, wide_covers)
    axes = high_axes + wide_axes
    share = ctx.operand(0, (n, c, oh, ow), None if axes else covered)
    if not axes:
        return _share(share, high, wide, oh, ow, covered)
    return reduce("sum", axes, _divide(share, high, wide, oh, ow), where=covered)


def _share(dy: Expr, high: Runs, wide: Runs, oh: Expr, ow: Expr, covered: Expr | None) -> Expr:
    """The one output's share; where the element has none, dy is 0 and its count may be too."""
    value = _divide(dy, high, wide, oh, ow)
    return value if covered is None else select(covered, value, const(0, dy.dtype))


def _candidates(ctx: LoweringContext, runs: Runs, prefix: str) -> tuple[Expr, tuple[Axis, ...]]:
    """The number of a covering output and the axis that it runs over; none for a single one."""
    if runs.covers == 1:
        return index(0), ()
    number = variable(ctx.fresh(prefix))
    return number, (Axis(number.name, runs.covers),)


def _divide(value: Expr, high: Runs, wide: Runs, oh: Expr, ow: Expr) -> Expr:
    count = mul(_count(high, oh), _count(wide, ow))
    if isinstance(count, Literal):
        return call("div", value, const(count.value, value.dtype))
    return call("div", value, cast(count, value.dtype))


def _count(runs: Runs, output: Expr) -> Expr:
    counts = {runs.divisor(position) for position in range(runs.output)}
    return index(counts.pop()) if len(counts) == 1 else runs.count(output)


# Samples

_Pair = tuple[int, int]
_STRIDED: tuple[tuple[tuple[int, ...], _Pair, _Pair, _Pair, bool, bool], ...] = (
    ((2, 3, 4, 6), (2, 2), (2, 2), (0, 0), False, True),
    ((1, 2, 5, 7), (3, 3), (1, 1), (1, 1), False, False),
    ((1, 2, 5, 7), (3, 2), (2, 2), (1, 1), False, True),
    ((2, 1, 6, 5), (2, 3), (3, 2), (1, 1), True, True),
    ((1, 1, 6, 6), (3, 2), (2, 3), (1, 0), True, False),
    ((1, 1, 5, 4), (1, 1), (2, 3), (0, 0), False, True),
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0), False, True),
)
_ADAPTIVE = (
    ((2, 3, 4, 6), (2, 3)),
    ((1, 2, 7, 5), (3, 2)),
    ((1, 2, 5, 3), (1, 1)),
    ((1, 1, 2, 3), (4, 5)),
    ((0, 2, 4, 4), (3, 3)),
)


def _strided_cases() -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    names = ("kernel", "stride", "padding", "ceil_mode", "count_include_pad")
    return [(shape, dict(zip(names, options, strict=True))) for shape, *options in _STRIDED]


def _forward_samples() -> list[Sample]:
    return [Sample((real(shape, seed=1),), attrs) for shape, attrs in _strided_cases()]


def _backward_samples() -> list[Sample]:
    samples = []
    for shape, attrs in _strided_cases():
        y = _meaning_forward("avg_pool2d")(np.zeros(shape), **attrs)
        attrs["input_size"] = shape[2:]
        samples.append(Sample((real(y.shape, seed=2),), attrs))
    return samples


def _adaptive_samples() -> list[Sample]:
    return [Sample((real(shape, seed=3),), {"output_size": size}) for shape, size in _ADAPTIVE]


def _adaptive_grad_samples() -> list[Sample]:
    return [
        Sample((real((*shape[:2], *size), seed=4),), {"input_size": shape[2:]})
        for shape, size in _ADAPTIVE
    ]


meaning_avg_pool = _meaning_forward("avg_pool2d")

avg_pool2d = define(
    "avg_pool2d",
    infer=_infer_forward("avg_pool2d"),
    meaning=meaning_avg_pool,
    vjp=_avg_pool_vjp,
    lower=_lower_forward,
    samples=_forward_samples,
    reduction=True,
    max_ulp=8,
)

avg_pool2d_grad = define(
    "avg_pool2d_grad",
    infer=_infer_backward("avg_pool2d_grad"),
    meaning=_meaning_backward("avg_pool2d_grad"),
    vjp=_avg_pool_grad_vjp,
    lower=_lower_backward,
    samples=_backward_samples,
    reduction=True,
    max_ulp=8,
)

adaptive_avg_pool2d = define(
    "adaptive_avg_pool2d",
    infer=_infer_forward("adaptive_avg_pool2d"),
    meaning=_meaning_forward("adaptive_avg_pool2d"),
    vjp=_adaptive_vjp,
    lower=_lower_forward,
    samples=_adaptive_samples,
    reduction=True,
    max_ulp=8,
)

adaptive_avg_pool2d_grad = define(
    "adaptive_avg_pool2d_grad",
    infer=_infer_backward("adaptive_avg_pool2d_grad"),
    meaning=_meaning_backward("adaptive_avg_pool2d_grad"),
    vjp=_adaptive_grad_vjp,
    lower=_lower_backward,
    samples=_adaptive_grad_samples,
    reduction=True,
    max_ulp=8,
)
