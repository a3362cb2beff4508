"""Changes of type and range, element by element: cast, bitcast, clamp, stop_gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc import loops
from graphc.dtypes import ALL, DType, bool_, float32, float64, int32, int64, uint8, uint32, uint64
from graphc.errors import ArgumentError, DTypeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import Expr, call, const
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, LoweringContext, Regions, Sample, Types, define
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import elementwise_rule, expect_count, expect_dtype, of_one_result, pointwise
from graphc.ops.samples import NUMBERS, SHAPES, edges, unary, values, whole


def cast_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """Any type to `dtype`."""
    expect_count("cast", types, 1)
    return (TensorType(types[0].shape, attrs["dtype"]),)


@of_one_result
def cast_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """Back to the operand's type, between floats; else there is no slope."""
    source = node.operands[0].dtype
    if not (source.is_float and dy.dtype.is_float):
        return (None,)
    return (b.cast(dy, source),)


def lower_cast(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    x = ctx.operand(0, at)
    dtype: DType = ctx.node.attrs["dtype"]
    if dtype == bool_ and x.dtype != bool_:
        return call("ne", x, const(0, x.dtype))
    return loops.cast(x, dtype)


def cast_samples() -> Sequence[Sample]:
    """Every pair of types on edge values; floats differentiated."""
    pairs = [(source, target) for source in ALL for target in ALL]
    found = [Sample((edges(source),), {"dtype": target}, (), False) for source, target in pairs]
    found += [Sample((values(s, float32),), {"dtype": float64}) for s in SHAPES]
    found += [Sample((values(s, float32),), {"dtype": int32}, (), False) for s in SHAPES]
    halves = np.array([2147483520.0, 2147483648.0, -2147483648.0, 0.99, -0.99, 255.5, 4294967296.0])
    targets = (int32, int64, uint8, uint32, uint64)
    found += [Sample((halves,), {"dtype": target}, (), False) for target in targets]
    return found


define(
    "cast",
    infer=cast_rule,
    meaning=numerics.convert,
    vjp=cast_vjp,
    lower=lower_cast,
    samples=cast_samples,
    elementwise=True,
)


def bitcast_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """Numbers to a number type of the same width."""
    expect_count("bitcast", types, 1)
    source, target = types[0].dtype, attrs["dtype"]
    expect_dtype("bitcast", source, NUMBERS)
    if target not in NUMBERS or target.bits != source.bits:
        raise DTypeError(f"bitcast: {types[0]} to {target}; expected a number type of one width")
    return (TensorType(types[0].shape, target),)


@numerics.quiet
def bitcast_meaning(x: NumpyArray, dtype: DType) -> NumpyArray:
    return np.asarray(x).view(dtype.numpy)


def bitcast_samples() -> Sequence[Sample]:
    pairs = [(a, c) for a in NUMBERS for c in NUMBERS if a.bits == c.bits and a != c]
    found = [Sample((edges(a)[:-1],), {"dtype": c}, (), False) for a, c in pairs]
    return found + [Sample((values(s, float32),), {"dtype": uint32}, (), False) for s in SHAPES]


define(
    "bitcast",
    infer=bitcast_rule,
    meaning=bitcast_meaning,
    lower=lambda ctx, at: loops.bitcast(ctx.operand(0, at), ctx.node.attrs["dtype"]),
    samples=bitcast_samples,
    elementwise=True,
    zero_gradient=True,
)


def clamp_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """Numbers; bounds None or, where the operand is of integers, whole numbers in range."""
    expect_count("clamp", types, 1)
    dtype = types[0].dtype
    expect_dtype("clamp", dtype, NUMBERS)
    for name in ("min", "max"):
        _expect_bound(name, attrs[name], dtype)
    return (types[0],)


def _expect_bound(name: str, bound: float | None, dtype: DType) -> None:
    if bound is None or dtype.is_float:
        return
    limits = np.iinfo(dtype.numpy)
    if int(bound) != bound or not limits.min <= bound <= limits.max:
        raise ArgumentError(f"clamp: {name} is {bound}, expected a whole number that {dtype} holds")


@numerics.quiet
def clamp_meaning(x: NumpyArray, min: float | None, max: float | None) -> NumpyArray:
    """NaN stays NaN; where min > max, max wins."""
    if min is not None:
        x = np.maximum(x, x.dtype.type(min))
    return x if max is None else np.minimum(x, x.dtype.type(max))


@of_one_result
def clamp_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """The cotangent where min <= x <= max, else 0."""
    (x,) = node.operands
    if not x.dtype.is_float:
        return (None,)
    for relation, bound in (("ge", node.attrs["min"]), ("le", node.attrs["max"])):
        if bound is not None:
            inside = b.compare(relation, x, b.like(bound, x))
            dy = b.where(inside, dy, b.zeros(dy.type))
    return (dy,)


def lower_clamp(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    x = ctx.operand(0, at)
    for op, bound in (("max", ctx.node.attrs["min"]), ("min", ctx.node.attrs["max"])):
        if bound is not None:
            x = call(op, x, const(bound, x.dtype))
    return x


def clamp_samples() -> Sequence[Sample]:
    both = {"min": -0.5, "max": 0.75}
    found = list(unary(-2, 2, avoid=(-0.5, 0.75), attrs=both)())
    found += unary(-2, 2, avoid=(0.25,), attrs={"min": 0.25, "max": None})()
    found += unary(-2, 2, avoid=(0.25,), attrs={"min": None, "max": 0.25})()
    found += unary(-2, 2, attrs={"min": 1.0, "max": -1.0}, avoid=(-1.0, 1.0))()[:2]
    found.append(Sample((whole((9,), dtype=int32),), {"min": -3, "max": 4}, (), False))
    found.append(Sample((whole((9,), 0, 9, uint8),), {"min": 2, "max": None}, (), False))
    return found


define(
    "clamp",
    infer=clamp_rule,
    meaning=clamp_meaning,
    vjp=clamp_vjp,
    lower=lower_clamp,
    samples=clamp_samples,
    elementwise=True,
)

define(
    "stop_gradient",
    infer=elementwise_rule("stop_gradient", 1, ALL),
    meaning=numerics.quiet(lambda x: x),
    lower=pointwise(lambda x: x),
    samples=unary(dtypes=ALL, differentiable=False),
    elementwise=True,
    zero_gradient=True,
)
