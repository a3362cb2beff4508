"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import Axis, Expr, call, index, reduce, variable
from graphc.ops.define import Attrs, Cotangents, LoweringContext, Regions, Sample, Types, define
from graphc.ops.numerics import widened
from graphc.ops.reductions import reduction_lanes
from graphc.ops.rules import of_one_result
from graphc.ops.samples import real, whole


def _infer_matmul(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """a[..., M, K] and b[..., K, N] give [..., M, N]; the leading dimensions broadcast."""
    a, b = types
    if a.dtype != b.dtype or a.dtype.kind == "bool":
        raise DTypeError(f"matmul: operands are {a} and {b}, expected numbers of one type")
    if a.rank < 2 or b.rank < 2:
        raise ShapeError(f"matmul: operands are {a} and {b}, expected at least two dimensions each")
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: {a} has {a.shape[-1]} columns, {b} has {b.shape[-2]} rows; "
            "these must be equal"
        )
    leading = _broadcast_leading(a, b)
    return (TensorType((*leading, a.shape[-2], b.shape[-1]), a.dtype),)


def _broadcast_leading(a: TensorType, b: TensorType) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(
            f"matmul: leading dimensions of {a} and {b} do not broadcast to one shape"
        ) from None


@of_one_result
def _matmul_vjp(b: Any, node: Node, dy: Value) -> Cotangents:
    """dA = dY Bᵀ and dB = Aᵀ dY, each summed over the leading dimensions that were broadcast.

    Where B is one matrix for all of A's, dB is a single product over all rows at once.
    """
    left, right = node.operands
    d_left = _sum_to(b, b.matmul(dy, b.swap(right)), left.shape)
    if right.type.rank == 2:
        rows = math.prod(left.shape[:-1])
        flat_left = b.reshape(left, (rows, left.shape[-1]))
        flat_dy = b.reshape(dy, (rows, dy.shape[-1]))
        return d_left, b.matmul(b.swap(flat_left), flat_dy)
    return d_left, _sum_to(b, b.matmul(b.swap(left), dy), right.shape)


def _sum_to(b: Any, x: Value, shape: tuple[int, ...]) -> Value:
    """Undo a broadcast of `shape`: x summed over the dimensions that it added or stretched."""
    added = x.type.rank - len(shape)
    stretched = [
        axis
        for axis, extent in enumerate(x.shape)
        if axis < added or (shape[axis - added] == 1 and extent != 1)
    ]
    total: Value = b.reshape(b.sum(x, stretched), shape)
    return total


def _lower_matmul(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    left, right = (value.type for value in ctx.node.operands)
    inner = variable(ctx.fresh("k"))
    a = ctx.operand(0, (*_leading_index(left, at), at[-2], inner))
    b = ctx.operand(1, (*_leading_index(right, at), inner, at[-1]))
    axes = (Axis(inner.name, left.shape[-1]),)
    if left.dtype.is_float:
        return reduce("dot", axes, a, b, lanes=_lanes(left, right))
    return reduce("sum", axes, call("mul", a, b))


def _lanes(left: TensorType, right: TensorType) -> int:
    """Products are added in the order of k, but in lanes where there is one column alone."""
    return reduction_lanes(left, (left.rank - 1,)) if right.shape[-1] == 1 else 1


def _leading_index(type: TensorType, at: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The result's leading index, at an operand whose leading dimensions broadcast."""
    leading = type.shape[:-2]
    aligned = at[len(at) - type.rank : -2]
    return tuple(index(0) if extent == 1 else i for extent, i in zip(leading, aligned, strict=True))


def _matmul_samples() -> list[Sample]:
    shapes = [
        ((3, 5), (5, 4)),
        ((1, 1), (1, 7)),
        ((17, 9), (9, 33)),
        ((2, 3, 5), (5, 4)),
        ((2, 3, 5), (2, 5, 1)),
        ((2, 1, 3, 2), (4, 2, 3)),
        ((3, 2), (2, 2, 3)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
        ((2, 0, 3), (3, 2)),
    ]
    samples = [Sample((real(a, seed=1), real(b, seed=2))) for a, b in shapes]
    integers = whole((2, 3, 4)), whole((4, 2))
    return [*samples, Sample(integers, differentiable=False)]


matmul = define(
    "matmul",
    infer=_infer_matmul,
    meaning=widened(np.matmul),
    vjp=_matmul_vjp,
    lower=_lower_matmul,
    samples=_matmul_samples,
    contraction=True,
    max_ulp=8,
)
