"""The invariants of expressions; `graphc.loops.verify` lists them.

A `Scope` says what an expression may read: variables with their types, and buffers.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from graphc.dtypes import ALL, DType, bool_, int64
from graphc.errors import VerifyError
from graphc.loops import combine
from graphc.loops.expressions import Call, Expr, Item, Literal, Load, Reduce, Variable
from graphc.loops.intervals import Interval, whole
from graphc.loops.kernel import Buffer
from graphc.loops.signatures import fault

_CLASSES = (Literal, Variable, Call, Load, Reduce, Item)


class Scope:
    """The names in force, and where errors are said to be."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.variables: ChainMap[str, DType] = ChainMap()
        self.buffers: ChainMap[str, Buffer] = ChainMap()

    def fail(self, invariant: str, problem: str) -> VerifyError:
        return VerifyError(f"{self.place}: {problem} [{invariant}]")

    @contextmanager
    def block(self) -> Iterator[None]:
        """What is declared inside is forgotten after."""
        self.variables, self.buffers = self.variables.new_child(), self.buffers.new_child()
        try:
            yield
        finally:
            self.variables, self.buffers = self.variables.parents, self.buffers.parents

    def bind(self, name: Any, dtype: DType) -> None:
        if not isinstance(name, str):
            raise self.fail("fields", f"the name of a variable is {name!r}")
        if name in self.variables:
            raise self.fail("names", f"variable {name!r} is bound where it already is")
        self.variables[name] = dtype

    def buffer(self, name: str) -> Buffer:
        if name not in self.buffers:
            raise self.fail("buffers", f"buffer {name!r} is not declared")
        return self.buffers[name]


def check(expr: Expr, scope: Scope) -> None:
    """Raise VerifyError where the expression, or one inside it, breaks an invariant."""
    if not isinstance(expr, _CLASSES):
        raise scope.fail("fields", f"{expr!r} is not an expression")
    if expr.dtype not in ALL:
        raise scope.fail("types", f"{expr.dtype!r} is not an element type")
    match expr:
        case Literal():
            _check_literal(expr, scope)
        case Variable():
            _check_variable(expr, scope)
        case Call(args=args):
            for arg in args:
                check(arg, scope)
            if problem := fault(expr):
                raise scope.fail("operations", problem)
        case Load():
            _check_load(expr, scope)
        case Reduce():
            _check_fold(expr, scope)
            if combine.get(expr.combine).accumulators > 1:
                raise scope.fail("folds", f"{expr.combine} gives several values; take one item")
        case Item():
            _check_item(expr, scope)


def check_type(expr: Expr, dtype: DType, what: str, scope: Scope) -> None:
    """An expression that must have a type."""
    check(expr, scope)
    if expr.dtype != dtype:
        raise scope.fail("types", f"{what} is {expr.dtype}; expected {dtype}")


def check_guard(guard: Expr | None, scope: Scope) -> None:
    if guard is not None:
        check_type(guard, bool_, "a condition", scope)


def check_index(buffer: Buffer, index: Sequence[Expr], scope: Scope) -> None:
    if len(index) != len(buffer.shape):
        problem = f"{buffer.name!r} has {len(buffer.shape)} dimensions and {len(index)} indices"
        raise scope.fail("indices", problem)
    for part in index:
        check(part, scope)
        if part.dtype != int64:
            raise scope.fail("indices", f"an index of {buffer.name!r} is {part.dtype}, not int64")


def _check_literal(literal: Literal, scope: Scope) -> None:
    value, dtype = literal.value, literal.dtype
    kind = float if dtype.is_float else bool if dtype == bool_ else int
    fits = type(value) is kind and (
        dtype.is_float or whole(dtype).contains(Interval(int(value), int(value)))
    )
    if not fits:
        raise scope.fail("literals", f"{value!r} is no {dtype}")


def _check_variable(variable: Variable, scope: Scope) -> None:
    bound = scope.variables.get(variable.name)
    if bound is None:
        raise scope.fail("variables", f"variable {variable.name!r} is not bound")
    if bound != variable.dtype:
        problem = f"variable {variable.name!r} is {bound}, read as {variable.dtype}"
        raise scope.fail("variables", problem)


def _check_load(load: Load, scope: Scope) -> None:
    buffer = scope.buffer(load.buffer)
    if load.dtype != buffer.dtype:
        problem = f"{buffer.name!r} holds {buffer.dtype}, read as {load.dtype}"
        raise scope.fail("buffers", problem)
    check_index(buffer, load.index, scope)
    check_guard(load.guard, scope)
    if (load.guard is None) != (load.fill is None):
        problem = f"a load of {buffer.name!r} has a guard or a fill, not both"
        raise scope.fail("guards", problem)
    if load.fill is not None:
        if not isinstance(load.fill, Literal):
            raise scope.fail("guards", f"the fill {load.fill!r} is not a literal")
        check_type(load.fill, load.dtype, "the fill of a load", scope)


def _check_item(item: Item, scope: Scope) -> None:
    if not isinstance(item.reduce, Reduce):
        raise scope.fail("fields", f"{item.reduce!r} is not a fold")
    _check_fold(item.reduce, scope)
    units = combine.unit(item.reduce)
    if item.position not in range(len(units)):
        problem = f"no item {item.position} of the {len(units)} of {item.reduce.combine}"
        raise scope.fail("folds", problem)
    expected = units[item.position].dtype
    if item.dtype != expected:
        problem = f"item {item.position} of {item.reduce.combine} is {expected}, not {item.dtype}"
        raise scope.fail("folds", problem)


def _check_fold(fold: Reduce, scope: Scope) -> None:
    row = combine.TABLE.get(fold.combine)
    if row is None:
        raise scope.fail("folds", f"no fold {fold.combine!r}")
    if len(fold.body) != row.elements:
        problem = f"{fold.combine} folds {row.elements} expressions, not {len(fold.body)}"
        raise scope.fail("folds", problem)
    if fold.lanes < 1 or fold.lanes & (fold.lanes - 1) or (fold.lanes > 1 and not fold.axes):
        raise scope.fail("folds", f"{fold.lanes} lanes over {len(fold.axes)} axes")
    with scope.block():
        for axis in fold.axes:
            if type(axis.extent) is not int or axis.extent < 0:
                raise scope.fail("folds", f"axis {axis.name!r} has extent {axis.extent!r}")
            scope.bind(axis.name, int64)
        check_guard(fold.where, scope)
        for part in fold.body:
            check(part, scope)
    _check_fold_types(fold, scope)


def _check_fold_types(fold: Reduce, scope: Scope) -> None:
    types = [part.dtype for part in fold.body]
    bits = fold.combine in ("any", "all")
    arithmetic = fold.combine in ("sum", "prod", "dot", "sum_or", "sum_sum")
    wrong = (
        (fold.combine in ("dot", "sum_sum") and types[0] != types[1])
        or (fold.combine in ("argmax", "argmin", "sum_or") and not types[1].is_integer)
        or (bits and types[0].is_float)
        or (arithmetic and types[0] == bool_)
    )
    if wrong:
        given = ", ".join(dtype.name for dtype in types)
        raise scope.fail("folds", f"{fold.combine} does not fold {given}")
    if fold.dtype != types[0]:
        raise scope.fail("folds", f"{fold.combine} of {types[0]} is not {fold.dtype}")
