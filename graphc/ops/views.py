"""Views: other indices for the same elements, moved only where a layout asks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import Attribute, Node, TensorType, Value
from graphc.loops import Expr, add, index, mul
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, LoweringContext, Regions, Types, define
from graphc.ops.numerics import NumpyArray
from graphc.ops.reindex import reshaped_index
from graphc.ops.rules import expect_count, of_one_result, unary_vjp
from graphc.ops.samples import shape_samples

Index = tuple[Expr, ...]


# broadcast


def broadcast_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """As NumPy: aligned at the right; dimensions that are new or of size 1 repeat."""
    expect_count("broadcast", types, 1)
    old, new = types[0].shape, attrs["shape"]
    aligned = (1,) * (len(new) - len(old)) + old
    fits = len(aligned) == len(new) and all(a in (1, c) for a, c in zip(aligned, new, strict=True))
    if not fits:
        raise ShapeError(f"broadcast: operand is {types[0]}, which does not expand to {new}")
    return (TensorType(new, types[0].dtype),)


def broadcast_meaning(x: NumpyArray, shape: tuple[int, ...]) -> NumpyArray:
    return np.ascontiguousarray(np.broadcast_to(x, shape)).reshape(shape)


def broadcast_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """The sum over all copies of an element."""
    lead = y.type.rank - x.type.rank
    repeated = [
        axis for axis in range(y.type.rank) if axis < lead or x.shape[axis - lead] != y.shape[axis]
    ]
    return b.reshape(b.sum(dy, repeated), x.shape)


def lower_broadcast(ctx: LoweringContext, at: Index) -> Expr:
    old = ctx.node.operands[0].shape
    aligned = at[len(at) - len(old) :]
    moved = [index(0) if n == 1 else i for i, n in zip(aligned, old, strict=True)]
    return ctx.operand(0, moved)


define(
    "broadcast",
    infer=broadcast_rule,
    meaning=broadcast_meaning,
    vjp=unary_vjp(broadcast_vjp),
    lower=lower_broadcast,
    samples=shape_samples(
        ((3,), {"shape": (2, 3)}),
        ((), {"shape": (2, 2)}),
        ((), {"shape": ()}),
        ((2, 1), {"shape": (2, 3)}),
        ((2, 1, 1), {"shape": (4, 2, 3, 1)}),
        ((1, 3), {"shape": (0, 3)}),
        ((0,), {"shape": (2, 0)}),
    ),
    view=True,
)


# reshape


def reshape_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """The same elements in row-major order."""
    expect_count("reshape", types, 1)
    new = attrs["shape"]
    if math.prod(new) != types[0].size or any(extent < 0 for extent in new):
        raise ShapeError(
            f"reshape: operand is {types[0]} ({types[0].size} elements), "
            f"shape {new} has {math.prod(new)}"
        )
    return (TensorType(new, types[0].dtype),)


def reshape_vjp(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    return b.reshape(dy, x.shape)


def lower_reshape(ctx: LoweringContext, at: Index) -> Expr:
    return ctx.operand(0, reshaped_index(at, ctx.node.result.shape, ctx.node.operands[0].shape))


define(
    "reshape",
    infer=reshape_rule,
    meaning=lambda x, shape: np.reshape(x, shape),
    vjp=unary_vjp(reshape_vjp),
    lower=lower_reshape,
    samples=shape_samples(
        ((2, 6), {"shape": (3, 4)}),
        ((2, 3, 4), {"shape": (6, 4)}),
        ((24,), {"shape": (2, 3, 4)}),
        ((2, 3, 4), {"shape": (24,)}),
        ((2, 1, 3), {"shape": (1, 2, 3, 1)}),
        ((4, 6), {"shape": (2, 2, 3, 2)}),
        ((6, 4), {"shape": (4, 6)}),
        ((), {"shape": (1, 1)}),
        ((1, 1), {"shape": ()}),
        ((0, 3), {"shape": (2, 0)}),
    ),
    view=True,
)


# transpose


def transpose_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """Result dimension i is operand dimension axes[i]."""
    expect_count("transpose", types, 1)
    axes = attrs["axes"]
    if sorted(axes) != list(range(types[0].rank)):
        raise ShapeError(f"transpose: axes {axes} are no permutation of those of {types[0]}")
    return (TensorType(tuple(types[0].shape[axis] for axis in axes), types[0].dtype),)


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes `axes`.

    >>> inverse((2, 0, 1))
    (1, 2, 0)
    """
    return tuple(sorted(range(len(axes)), key=lambda i: axes[i]))


@of_one_result
def transpose_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    return (b.transpose(dy, inverse(node.attrs["axes"])),)


def lower_transpose(ctx: LoweringContext, at: Index) -> Expr:
    return ctx.operand(0, [at[i] for i in inverse(ctx.node.attrs["axes"])])


define(
    "transpose",
    infer=transpose_rule,
    meaning=lambda x, axes: np.ascontiguousarray(np.transpose(x, axes)).reshape(
        [x.shape[axis] for axis in axes]
    ),
    vjp=transpose_vjp,
    lower=lower_transpose,
    samples=shape_samples(
        ((2, 3), {"axes": (1, 0)}),
        ((2, 3, 4), {"axes": (2, 0, 1)}),
        ((2, 3, 4), {"axes": (0, 1, 2)}),
        ((2, 1, 3, 4), {"axes": (0, 3, 1, 2)}),
        ((), {"axes": ()}),
        ((0, 3), {"axes": (1, 0)}),
    ),
    view=True,
)


# slice


def slice_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """Elements start, start + step, ... below stop, along each dimension."""
    expect_count("slice", types, 1)
    (x,) = types
    bounds = [attrs["start"], attrs["stop"], attrs["step"]]
    if any(len(bound) != x.rank for bound in bounds):
        raise ShapeError(f"slice: operand is {x}, expected one start, stop and step for each axis")
    parts = list(zip(*bounds, x.shape, strict=True))
    if any(not (0 <= start <= stop <= n and step >= 1) for start, stop, step, n in parts):
        start, stop, step = bounds
        raise ShapeError(
            f"slice: operand is {x}, start {start}, stop {stop}, step {step}; "
            "expected 0 <= start <= stop <= extent and step >= 1"
        )
    shape = tuple(len(range(start, stop, step)) for start, stop, step, _ in parts)
    return (TensorType(shape, x.dtype),)


def slice_meaning(
    x: NumpyArray, start: tuple[int, ...], stop: tuple[int, ...], step: tuple[int, ...]
) -> NumpyArray:
    return np.array(x[tuple(map(slice, start, stop, step))])


@of_one_result
def slice_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """The cotangent, its elements set apart by zeros, padded to the operand's shape."""
    (x,) = node.operands
    if dy.type.size == 0:
        return (b.zeros(x.type),)
    start, step = node.attrs["start"], node.attrs["step"]
    used = [s + (m - 1) * k + 1 for s, m, k in zip(start, dy.shape, step, strict=True)]
    high = tuple(n - m for n, m in zip(x.shape, used, strict=True))
    interior = tuple(k - 1 for k in step)
    return (b.op("pad", dy, low=start, high=high, interior=interior, value=0),)


def lower_slice(ctx: LoweringContext, at: Index) -> Expr:
    start, step = ctx.node.attrs["start"], ctx.node.attrs["step"]
    return ctx.operand(0, [add(mul(i, k), s) for i, k, s in zip(at, step, start, strict=True)])


def _cut(*bounds: tuple[int, int, int]) -> dict[str, Attribute]:
    """Attributes of a slice from (start, stop, step) of each dimension."""
    columns = [tuple(column) for column in zip(*bounds, strict=True)] or [(), (), ()]
    return dict(zip(("start", "stop", "step"), columns, strict=True))


define(
    "slice",
    infer=slice_rule,
    meaning=slice_meaning,
    vjp=slice_vjp,
    lower=lower_slice,
    samples=shape_samples(
        ((4, 5), _cut((1, 3, 1), (0, 5, 2))),
        ((7,), _cut((1, 7, 3))),
        ((7,), _cut((0, 7, 1))),
        ((7,), _cut((3, 3, 1))),
        ((4, 1, 3), _cut((0, 4, 3), (0, 1, 1), (2, 3, 9))),
        ((0, 3), _cut((0, 0, 1), (1, 2, 1))),
        ((), _cut()),
    ),
    view=True,
)
