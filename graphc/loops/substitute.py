"""Free variables of expressions, and their replacement."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.dtypes import int64
from graphc.loops.build import add, floordiv, mod, mul
from graphc.loops.expressions import (
    Axis,
    Call,
    Expr,
    Literal,
    Reduce,
    Variable,
    children,
    with_children,
)


def free_variables(expr: Expr) -> frozenset[str]:
    """The names that an expression reads; axes of a fold are bound inside it."""
    match expr:
        case Variable(name=name):
            return frozenset((name,))
        case Reduce(axes=axes):
            bound = {axis.name for axis in axes}
            return _free_in_children(expr) - bound
        case _:
            return _free_in_children(expr)


def _free_in_children(expr: Expr) -> frozenset[str]:
    return frozenset().union(*map(free_variables, children(expr)))


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """Free variables replaced by expressions; what does not change stays the same object.

    Index arithmetic is folded on the way (0 + i is i). An axis of a fold that would capture a
    variable of a replacement is renamed.
    """
    if not values:
        return expr
    match expr:
        case Variable(name=name):
            return values.get(name, expr)
        case Reduce():
            return _substitute_in_reduce(expr, values)
        case _:
            return _rebuild(expr, tuple(substitute(part, values) for part in children(expr)))


def _substitute_in_reduce(fold: Reduce, values: Mapping[str, Expr]) -> Expr:
    inner = dict(values)
    free = frozenset().union(*map(free_variables, values.values()))
    axes = []
    for axis in fold.axes:
        inner.pop(axis.name, None)
        name = axis.name
        while name in free:
            name += "_"
        if name != axis.name:
            inner[axis.name] = Variable(name)
        axes.append(Axis(name, axis.extent))
    renamed = Reduce(fold.combine, tuple(axes), fold.body, fold.dtype, fold.where, fold.lanes)
    same = renamed if tuple(axes) != fold.axes else fold
    return _rebuild(same, tuple(substitute(part, inner) for part in children(same)))


def _rebuild(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    if all(new is old for new, old in zip(parts, children(expr), strict=True)):
        return expr
    match with_children(expr, parts):
        case Call(op="add", args=(a, b), dtype=dtype) if dtype == int64:
            return add(a, b)
        case Call(op="mul", args=(a, b), dtype=dtype) if dtype == int64:
            return mul(a, b)
        case Call(op="floordiv", args=(a, Literal(value=value)), dtype=dtype) if (
            dtype == int64 and value > 0
        ):
            return floordiv(a, int(value))
        case Call(op="mod", args=(a, Literal(value=value)), dtype=dtype) if (
            dtype == int64 and value > 0
        ):
            return mod(a, int(value))
        case rebuilt:
            return rebuilt
