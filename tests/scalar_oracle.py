"""Kernels one element at a time, in plain Python: the oracle of the NumPy evaluation.

Shares with it only the primitive operations and the table of folds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.loops import combine
from graphc.loops.arithmetic import apply
from graphc.loops.evaluate import evaluate_formula
from graphc.loops.expressions import Call, Expr, Item, Literal, Load, Reduce, Variable
from graphc.loops.formulas import formula, is_formula
from graphc.loops.kernel import Contract, Kernel, Let, Local, Loop, Statement, Store, When

Array = NDArray[Any]
Scope = dict[str, Any]


def run(kernel: Kernel, arrays: Mapping[str, Array]) -> None:
    """Run a kernel on arrays in logical shape."""
    execute(kernel.body, {}, dict(arrays))


def execute(body: Sequence[Statement], scope: Scope, memory: dict[str, Array]) -> None:
    scope, memory = dict(scope), dict(memory)
    for statement in body:
        match statement:
            case Let(name, value):
                scope[name] = evaluate(value, scope, memory)
            case Store(buffer, index, value, guard):
                if guard is None or evaluate(guard, scope, memory):
                    stored = evaluate(value, scope, memory)
                    memory[buffer][place(index, scope, memory)] = stored
            case Local(buffer):
                memory[buffer.name] = np.zeros(buffer.shape, buffer.dtype.numpy)
            case When(condition, inner):
                if evaluate(condition, scope, memory):
                    execute(inner, scope, memory)
            case Loop():
                lower, upper = place((statement.lower, statement.upper), scope, memory)
                for i in range(lower, upper, statement.step):
                    execute(statement.body, {**scope, statement.var: np.int64(i)}, memory)
            case Contract(tile, row, column, a, b):
                contract(memory[tile], row, column, (a, b), scope, memory)


def contract(
    tile: Array, row: str, column: str, factors: Sequence[Expr], scope: Scope, memory: Any
) -> None:
    for i, j in np.ndindex(tile.shape):
        inner = {**scope, row: np.int64(i), column: np.int64(j)}
        a, b = (evaluate(factor, inner, memory) for factor in factors)
        tile[i, j] = apply("fma", factors[0].dtype, a, b, tile[i, j])


def place(index: Sequence[Expr], scope: Scope, memory: Mapping[str, Array]) -> tuple[int, ...]:
    return tuple(int(evaluate(part, scope, memory)) for part in index)


def evaluate(expr: Expr, scope: Scope, memory: Mapping[str, Array]) -> Any:
    match expr:
        case Literal(value, dtype):
            return dtype.numpy.type(value)
        case Variable(name):
            return scope[name]
        case Call(op, args, dtype):
            values = [evaluate(arg, scope, memory) for arg in args]
            if is_formula(op):
                return evaluate_formula(formula(op, args[0].dtype), *values)[()]
            return apply(op, dtype, *values)[()]
        case Load(buffer, index, dtype, guard, fill):
            if guard is not None and not evaluate(guard, scope, memory):
                assert fill is not None
                return dtype.numpy.type(fill.value)
            return memory[buffer][place(index, scope, memory)]
        case Reduce():
            return fold(expr, scope, memory)[0]
        case Item(reduce, position):
            return fold(reduce, scope, memory)[position]


def fold(expr: Reduce, scope: Scope, memory: Mapping[str, Array]) -> list[Any]:
    units = [start.dtype.numpy.type(start.value) for start in combine.unit(expr)]
    held = [list(units) for _ in range(expr.lanes)]
    extents = [range(axis.extent) for axis in expr.axes]
    names = combine.accumulators(expr, "held")
    new = tuple(Variable(f"new{k}", body.dtype) for k, body in enumerate(expr.body))
    for t, indices in enumerate(itertools.product(*extents)):
        inner = {**scope, **{a.name: np.int64(i) for a, i in zip(expr.axes, indices, strict=True)}}
        if expr.where is not None and not evaluate(expr.where, inner, memory):
            continue
        elements = [evaluate(body, inner, memory) for body in expr.body]
        lane = t % (expr.axes[-1].extent if expr.axes else 1) % expr.lanes
        pairs = zip((*names, *new), (*held[lane], *elements), strict=True)
        step_scope = {variable.name: value for variable, value in pairs}
        held[lane] = [evaluate(e, step_scope, {}) for e in combine.step(expr.combine, names, new)]
    count = expr.lanes
    while count > 1:
        count //= 2
        for lane in range(count):
            other = tuple(Variable(f"other{k}", v.dtype) for k, v in enumerate(names))
            pairs = zip((*names, *other), (*held[lane], *held[lane + count]), strict=True)
            step_scope = {variable.name: value for variable, value in pairs}
            held[lane] = [
                evaluate(e, step_scope, {}) for e in combine.merge(expr.combine, names, other)
            ]
    return held[0]
