"""Expressions of literals, variables and operations, on arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.errors import VerifyError
from graphc.loops.arithmetic import Array, apply
from graphc.loops.expressions import Call, Expr, Literal, Variable
from graphc.loops.formulas import Formula, formula, is_formula

Compute = Callable[[Expr], Array]


def literal(expr: Literal) -> Array:
    """A literal as its type holds it: integers modulo the width, floats rounded."""
    if expr.dtype.is_integer:
        low_bits = int(expr.value) & (1 << expr.dtype.bits) - 1
        return np.asarray(low_bits, np.uint64).astype(expr.dtype.numpy)
    return np.asarray(expr.value, expr.dtype.numpy)


def call(expr: Call, compute: Compute) -> Array:
    """An operation or a formula on the values of its arguments."""
    values = [compute(arg) for arg in expr.args]
    if is_formula(expr.op):
        return evaluate_formula(formula(expr.op, expr.args[0].dtype), *values)
    return apply(expr.op, expr.dtype, *values)


def pure(expr: Expr, scope: Mapping[str, Array]) -> Array:
    """An expression that reads no memory, given its variables."""
    match expr:
        case Literal():
            return literal(expr)
        case Variable(name):
            return scope[name]
        case Call():
            return call(expr, lambda arg: pure(arg, scope))
        case _:
            raise VerifyError(f"{type(expr).__name__} in an expression that reads no memory")


def evaluate_formula(definition: Formula, *arguments: Any) -> Array:
    """A formula on arrays of its type, let by let."""
    names = (parameter.name for parameter in definition.parameters)
    scope = dict(zip(names, map(np.asarray, arguments), strict=True))
    for let in definition.lets:
        scope[let.name] = pure(let.value, scope)
    return pure(definition.result, scope)
