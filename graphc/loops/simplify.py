"""Kernels made plain: loops and axes of one iteration go, indices are reduced, true guards drop.

    parallel i in 0..64: parallel j in 0..1: y[i, (i*1 + j) // 1] = x[i + 0]
    =>  parallel i in 0..64: y[i, i] = x[i]

The ranges of the loops decide quotients and remainders: (i*8 + j) // 8 is i where j is in 0..7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphc.dtypes import bool_, int64
from graphc.loops.affine import Affine, affine, interval, substitute
from graphc.loops.build import alltrue, index
from graphc.loops.clamp import conjuncts
from graphc.loops.expressions import (
    Axis,
    Call,
    Expr,
    Item,
    Literal,
    Load,
    Reduce,
    Variable,
    children,
    with_children,
)
from graphc.loops.intervals import Interval
from graphc.loops.kernel import Contract, Kernel, Let, Local, Loop, Prefetch, Statement, Store, When

Ranges = Mapping[str, Interval]


def simplify_kernel(kernel: Kernel) -> Kernel:
    """The same kernel with plainer indices, guards and loops."""
    return replace(kernel, body=_Simplifier({}, {}).body(kernel.body))


class _Simplifier:
    def __init__(self, ranges: Ranges, values: Mapping[str, Expr]) -> None:
        self.ranges = dict(ranges)
        self.values = dict(values)
        self._known: dict[int, tuple[Expr, Expr]] = {}

    def body(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        return tuple(new for statement in statements for new in self.statement(statement))

    def statement(self, statement: Statement) -> Sequence[Statement]:
        match statement:
            case Loop():
                return self._loop(statement)
            case Let(name, value):
                return (Let(name, self.expr(value)),)
            case Store(buffer, at, value, guard):
                places = tuple(map(self.expr, at))
                return (Store(buffer, places, self.expr(value), self.condition(guard)),)
            case When(condition, body):
                left = self.condition(condition)
                inner = self.body(body)
                return inner if left is None else (When(left, inner),)
            case Contract(tile, row, column, a, b):
                return (Contract(tile, row, column, self.expr(a), self.expr(b)),)
            case Prefetch(buffer, at):
                return (Prefetch(buffer, tuple(map(self.expr, at))),)
            case Local():
                return (statement,)

    def _loop(self, loop: Loop) -> Sequence[Statement]:
        lower, upper = self.expr(loop.lower), self.expr(loop.upper)
        bounds = Interval(
            interval(lower, self.ranges).low, max(0, interval(upper, self.ranges).high - 1)
        )
        single = isinstance(lower, Literal) and upper == index(int(lower.value) + 1)
        if single and loop.kind != "vector":
            return self._inside({}, {loop.var: lower}).body(loop.body)
        inner = self._inside({loop.var: bounds}, {})
        return (replace(loop, lower=lower, upper=upper, body=inner.body(loop.body)),)

    def _inside(self, ranges: Ranges, values: Mapping[str, Expr]) -> _Simplifier:
        return _Simplifier({**self.ranges, **ranges}, {**self.values, **values})

    def condition(self, condition: Expr | None) -> Expr | None:
        return alltrue(*(self._conjunct(part) for part in conjuncts(condition)))

    def _conjunct(self, condition: Expr) -> Expr | None:
        plain = self.expr(condition)
        return None if always_holds(plain, self.ranges) else plain

    def expr(self, expr: Expr) -> Expr:
        known = self._known.get(id(expr))
        if known is None:
            known = (expr, self._rewrite(expr))
            self._known[id(expr)] = known
        return known[1]

    def _rewrite(self, expr: Expr) -> Expr:
        match expr:
            case Literal():
                return expr
            case Variable(name):
                return self.values.get(name, expr)
            case Load(buffer, at, dtype, guard, fill):
                left = self.condition(guard)
                fill = None if left is None else fill
                return Load(buffer, tuple(map(self.expr, at)), dtype, left, fill)
            case Reduce():
                return self._reduce(expr)
            case Item(reduce, position, dtype):
                inner = self.expr(reduce)
                if inner is reduce:
                    return expr
                return Item(inner, position, dtype) if isinstance(inner, Reduce) else inner
            case Call(dtype=dtype) if dtype == int64:
                return self._index(expr)
            case Call():
                parts = tuple(map(self.expr, children(expr)))
                return expr if parts == children(expr) else with_children(expr, parts)

    def _index(self, expr: Expr) -> Expr:
        form = affine(substitute(expr, self.values), self.ranges)
        if form is not None:
            return form.expr
        return with_children(expr, tuple(map(self.expr, children(expr))))

    def _reduce(self, reduce: Reduce) -> Expr:
        single = {axis.name: index(0) for axis in reduce.axes if axis.extent == 1}
        axes: tuple[Axis, ...] = tuple(axis for axis in reduce.axes if axis.extent != 1)
        ranges = {axis.name: Interval(0, max(0, axis.extent - 1)) for axis in axes}
        inner = self._inside(ranges, single)
        body = tuple(map(inner.expr, reduce.body))
        where = inner.condition(reduce.where)
        if where == Literal(True, bool_):
            where = None
        plain = Reduce(reduce.combine, axes, body, reduce.dtype, where, reduce.lanes)
        # The same object where nothing changed: the items of one fold are known by it.
        return reduce if plain == reduce else plain


def always_holds(condition: Expr, ranges: Ranges) -> bool:
    """Whether the ranges of the variables prove a condition."""
    if interval(condition, ranges).low == 1:
        return True
    match condition:
        case Call(op="le" | "lt" as op, args=(a, b)) if a.dtype == int64:
            left, right = affine(a, ranges), affine(b, ranges)
            if left is not None and right is not None:
                gap = right.plus(left, -1).plus(Affine(1 if op == "lt" else 0), -1)
                return interval(gap.expr, ranges).low >= 0
    return False
