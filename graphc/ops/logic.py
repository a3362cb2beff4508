"""Comparisons, choices, and the logic of bools and of the bits of integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.dtypes import ALL, bool_, float32, uint8
from graphc.errors import DTypeError, ShapeError
from graphc.ir import Node, Value
from graphc.loops import Expr, call, cast, select
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, Op, Regions, Sample, Types, define
from graphc.ops.rules import (
    comparison_rule,
    describe,
    elementwise_rule,
    expect_alike,
    expect_count,
    of_one_result,
    pointwise,
)
from graphc.ops.samples import LOGICAL, SHAPES, binary, edges, truth, unary, values


def compared(relation: str) -> Callable[[Expr, Expr], Expr]:
    """The formula of a comparison; bools compare as 0 and 1."""

    def formula(x: Expr, y: Expr) -> Expr:
        if x.dtype == bool_:
            x, y = cast(x, uint8), cast(y, uint8)
        return call(relation, x, y)

    return formula


def _comparison(name: str, meaning: numerics.Meaning, symmetric: bool) -> Op:
    return define(
        name,
        infer=comparison_rule(name, ALL),
        meaning=numerics.quiet(meaning),
        lower=pointwise(compared(name)),
        samples=binary(-3, 3, dtypes=ALL, differentiable=False),
        elementwise=True,
        commutative=symmetric,
        zero_gradient=True,
    )


_comparison("lt", np.less, symmetric=False)
_comparison("le", np.less_equal, symmetric=False)
_comparison("gt", np.greater, symmetric=False)
_comparison("ge", np.greater_equal, symmetric=False)
_comparison("eq", np.equal, symmetric=True)
_comparison("ne", np.not_equal, symmetric=True)


def _logical(name: str, meaning: numerics.Meaning) -> Op:
    return define(
        name,
        infer=elementwise_rule(name, 2, LOGICAL),
        meaning=numerics.quiet(meaning),
        lower=pointwise(lambda x, y: call(name, x, y)),
        samples=binary(-99, 99, dtypes=LOGICAL, differentiable=False),
        elementwise=True,
        commutative=True,
        zero_gradient=True,
    )


_logical("and", np.bitwise_and)
_logical("or", np.bitwise_or)
_logical("xor", np.bitwise_xor)

define(
    "not",
    infer=elementwise_rule("not", 1, LOGICAL),
    meaning=numerics.quiet(np.invert),
    lower=pointwise(lambda x: call("not", x)),
    samples=unary(-99, 99, dtypes=LOGICAL, differentiable=False),
    elementwise=True,
    zero_gradient=True,
)


def where_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """(bool, a, a) -> a, all of one shape."""
    expect_count("where", types, 3)
    condition, yes, no = types
    if condition.dtype != bool_:
        raise DTypeError(f"where: operands are {describe(types)}; the condition must be bool")
    expect_alike("where", (yes, no))
    if condition.shape != yes.shape:
        raise ShapeError(f"where: operands are {describe(types)}; their shapes must be equal")
    return (yes,)


@of_one_result
def where_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    """The cotangent goes to the operand that was chosen, 0 to the other."""
    condition = node.operands[0]
    zero = b.zeros(dy.type)
    return None, b.where(condition, dy, zero), b.where(condition, zero, dy)


def where_samples() -> Sequence[Sample]:
    def sample(shape: tuple[int, ...], dtype: Any) -> Sample:
        yes, no = values(shape, dtype, seed=1), values(shape, dtype, seed=2)
        return Sample((truth(shape), yes, no), {}, (), dtype.is_float)

    found = [sample(shape, float32) for shape in SHAPES]
    found += [sample((7,), dtype) for dtype in ALL[1:]]
    special = edges(float32)
    chosen = truth(special.shape)
    return [*found, Sample((chosen, special, special[::-1].copy()), {}, (), False)]


define(
    "where",
    infer=where_rule,
    meaning=numerics.quiet(np.where),
    vjp=where_vjp,
    lower=pointwise(select),
    samples=where_samples,
    elementwise=True,
)
