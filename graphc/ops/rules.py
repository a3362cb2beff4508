"""Typing rules and forms that many operator records share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.dtypes import DType, bool_
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import Expr
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, Infer, Lower, LoweringContext, Regions, Types, Vjp


def describe(types: Types) -> str:
    """The operands' types, as an error names them: `f32[2,3] and f32[3]`."""
    words = [str(type) for type in types]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def expect_count(op: str, types: Types, *counts: int) -> None:
    """Raises ArgumentError unless there are as many operands as one of `counts`."""
    if len(types) not in counts:
        expected = " or ".join(map(str, counts))
        raise ArgumentError(f"{op}: {len(types)} operands were given, {expected} expected")


def expect_dtype(op: str, dtype: DType, allowed: Sequence[DType]) -> None:
    """Raises DTypeError unless `dtype` is one of `allowed`."""
    if dtype not in allowed:
        names = ", ".join(row.name for row in allowed)
        raise DTypeError(f"{op}: operand is {dtype}, expected one of {names}")


def expect_alike(op: str, types: Types) -> None:
    """Raises ShapeError or DTypeError unless all types are the same."""
    if any(type.shape != types[0].shape for type in types):
        raise ShapeError(f"{op}: operands are {describe(types)}; their shapes must be equal")
    if any(type.dtype != types[0].dtype for type in types):
        raise DTypeError(f"{op}: operands are {describe(types)}; their types must be equal")


def expect_axes(op: str, type: TensorType, axes: Sequence[int]) -> None:
    """Raises ShapeError unless `axes` are sorted, unique and within the rank of `type`."""
    inside = all(0 <= axis < type.rank for axis in axes)
    if not inside or list(axes) != sorted(set(axes)):
        raise ShapeError(
            f"{op}: axes {tuple(axes)} of {type}; expected sorted, unique axes below {type.rank}"
        )


def elementwise_rule(
    op: str, arity: int, allowed: Sequence[DType], result: DType | None = None
) -> Infer:
    """Operands of one shape and one allowed type; the result is of that type, or of `result`."""

    def infer(types: Types, attrs: Attrs, regions: Regions) -> Types:
        expect_count(op, types, arity)
        expect_alike(op, types)
        expect_dtype(op, types[0].dtype, allowed)
        return (TensorType(types[0].shape, result or types[0].dtype),)

    return infer


def comparison_rule(op: str, allowed: Sequence[DType]) -> Infer:
    return elementwise_rule(op, 2, allowed, bool_)


def pointwise(formula: Callable[..., Expr]) -> Lower:
    """Lowers an elementwise operator: `formula` takes the operands' elements at the index."""

    def lower(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
        return formula(*(ctx.operand(i, at) for i in range(len(ctx.node.operands))))

    return lower


def of_one_result(rule: Callable[[Builder, Node, Value], Cotangents]) -> Vjp:
    """From `rule(builder, node, dy)`, of an operator with a single result: there is always a dy."""

    def vjp(b: Builder, node: Node, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        return rule(b, node, dy)

    return vjp


def unary_vjp(rule: Callable[[Builder, Value, Value, Value], Value]) -> Vjp:
    """From `rule(builder, x, y, dy)`, the cotangent of x, where y is the operator's result."""
    return of_one_result(lambda b, node, dy: (rule(b, node.operands[0], node.result, dy),))


Pair = tuple[Value | None, Value | None]


def binary_vjp(rule: Callable[[Builder, Value, Value, Value, Value], Pair]) -> Vjp:
    """From `rule(builder, x, y, z, dz)`, the cotangents of x and y, where z is the result."""

    @of_one_result
    def vjp(b: Builder, node: Node, dz: Value) -> Cotangents:
        x, y = node.operands
        return rule(b, x, y, node.result, dz)

    return vjp
