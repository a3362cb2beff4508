"""Whether the accesses of a kernel stay inside their buffers, as far as intervals can show.

For every load and store, each index is bounded from the ranges of loops and folds, the values of
lets, and the conditions it stands under: `when`, the `where` of a fold, its own guard. A store's
guard covers its index, not its value, and a load's guard only that load. Code that never runs, in
loops and folds of no iterations or under conditions that exclude each other, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from graphc.dtypes import int64
from graphc.loops.affine import Affine, Bounds
from graphc.loops.build import add, mul, sub
from graphc.loops.expressions import Call, Expr, Load, Reduce, Variable, children
from graphc.loops.intervals import Interval, whole
from graphc.loops.kernel import (
    Buffer,
    Contract,
    Kernel,
    Let,
    Local,
    Loop,
    Prefetch,
    Statement,
    Store,
    When,
)
from graphc.loops.text import format_expression, format_statement

_FACT_LIMIT = 32  # conjuncts of one condition


@dataclass(frozen=True)
class Access:
    """One index of a load or store: what is known of it, and where it stands."""

    buffer: str
    dimension: int
    index: Expr
    bounds: Interval
    extent: int
    guarded: bool
    statement: Statement

    @property
    def is_proved(self) -> bool:
        return Interval(0, self.extent - 1).contains(self.bounds)

    @property
    def is_outside(self) -> bool:
        """Whether the index lies outside the buffer whenever it is read."""
        return self.bounds.high < 0 or self.bounds.low >= self.extent

    def __str__(self) -> str:
        low, high = self.bounds
        return (
            f"index {self.dimension} of {self.buffer!r}, {format_expression(self.index)}, is in "
            f"{low}..{high} of 0..{self.extent - 1} ({format_statement(self.statement)})"
        )


@dataclass(frozen=True)
class _Scope:
    """What is known at one place of a kernel."""

    buffers: Mapping[str, Buffer]
    ranges: Mapping[str, Interval] = field(default_factory=dict)
    sums: Mapping[str, Affine] = field(default_factory=dict)
    facts: Mapping[str, tuple[Expr, ...]] = field(default_factory=dict)
    conditions: tuple[Expr, ...] = ()

    @cached_property
    def known(self) -> Bounds:
        return Bounds(self.ranges, self.conditions, self.sums)

    def where(self, condition: Expr | None) -> _Scope:
        if condition is None:
            return self
        return replace(self, conditions=(*self.conditions, *self._conjuncts(condition)))

    def _conjuncts(self, condition: Expr) -> tuple[Expr, ...]:
        """What holds where the condition does, bool variables replaced by what they stand for."""
        match condition:
            case Call(op="and", args=args):
                parts = tuple(part for arg in args for part in self._conjuncts(arg))
                return tuple(dict.fromkeys(parts))[:_FACT_LIMIT]
            case Variable(name=name):
                return self.facts.get(name, ())
            case _:
                return (condition,)

    def ranging(self, ranges: Mapping[str, Interval]) -> _Scope:
        return replace(self, ranges={**self.ranges, **ranges})

    def define(self, name: str, value: Expr) -> _Scope:
        """A variable's bounds, and what it is the sum or conjunction of."""
        if value.dtype.is_float:
            return self
        found = self.ranging({name: self.known.interval(value)})
        if value.dtype.kind == "bool":
            return replace(found, facts={**self.facts, name: self._conjuncts(value)})
        form = self.known.affine(value) if value.dtype == int64 else None
        if form is None or form.is_large:
            return found
        return replace(found, sums={**self.sums, name: form})

    def declare(self, buffer: Buffer) -> _Scope:
        return replace(self, buffers={**self.buffers, buffer.name: buffer})


def unproved_accesses(kernel: Kernel) -> tuple[Access, ...]:
    """The accesses that intervals cannot show to be inside their buffers, in order.

    The kernel is taken to be one that `verify_kernel` accepts.
    """
    return tuple(access for access in accesses(kernel) if not access.is_proved)


def accesses(kernel: Kernel) -> Iterator[Access]:
    """Every index of every load and store that may run."""
    return _in_body(kernel.body, _Scope(kernel.by_name))


def _in_body(body: Sequence[Statement], scope: _Scope) -> Iterator[Access]:
    for statement in body:
        match statement:
            case Let(name, value):
                yield from _in_expression(value, scope, statement)
                scope = scope.define(name, value)
            case Local(buffer=buffer):
                scope = scope.declare(buffer)
            case Store():
                yield from _in_store(statement, scope)
            case Loop():
                yield from _in_loop(statement, scope)
            case When(condition, inner):
                yield from _in_expression(condition, scope, statement)
                yield from _in_body(inner, scope.where(condition))
            case Contract():
                yield from _in_contract(statement, scope)
            case Prefetch(buffer, index):
                yield from _of_index(buffer, index, None, scope, statement)


def _in_store(store: Store, scope: _Scope) -> Iterator[Access]:
    yield from _in_expression(store.value, scope, store)
    if store.guard is not None:
        yield from _in_expression(store.guard, scope, store)
    inner = scope.where(store.guard)
    for part in store.index:
        yield from _in_expression(part, inner, store)
    yield from _of_index(store.buffer, store.index, store.guard, scope, store)


def _of_index(
    buffer: str, index: Sequence[Expr], guard: Expr | None, scope: _Scope, statement: Statement
) -> Iterator[Access]:
    known = scope.where(guard).known
    bounds = [known.interval(part) for part in index]
    if known.contradictory:
        return
    shape = scope.buffers[buffer].shape
    for dimension, (part, bound, extent) in enumerate(zip(index, bounds, shape, strict=True)):
        yield Access(buffer, dimension, part, bound, extent, guard is not None, statement)


def _in_expression(expr: Expr, scope: _Scope, statement: Statement) -> Iterator[Access]:
    match expr:
        case Load(buffer, index, _, guard):
            yield from _of_index(buffer, index, guard, scope, statement)
        case Reduce():
            yield from _in_fold(expr, scope, statement)
            return
    for part in children(expr):
        yield from _in_expression(part, scope, statement)


def _in_fold(fold: Reduce, scope: _Scope, statement: Statement) -> Iterator[Access]:
    if any(axis.extent == 0 for axis in fold.axes):
        return
    scope = scope.ranging({axis.name: Interval(0, axis.extent - 1) for axis in fold.axes})
    if fold.where is not None:
        yield from _in_expression(fold.where, scope, statement)
    for part in fold.body:
        yield from _in_expression(part, scope.where(fold.where), statement)


def _in_loop(loop: Loop, scope: _Scope) -> Iterator[Access]:
    for part in (loop.lower, loop.upper):
        yield from _in_expression(part, scope, loop)
    span = _greatest_span(loop, scope.known)
    if span <= 0:
        return
    steps = Interval(0, (span - 1) // loop.step)
    inner = scope.ranging({_steps(loop).name: steps})
    inner = inner.define(loop.var, add(loop.lower, mul(_steps(loop), loop.step)))
    variable = Variable(loop.var)
    below = Call("lt", (variable, loop.upper), loop.upper.dtype)
    yield from _in_body(loop.body, inner.where(below))


def _greatest_span(loop: Loop, known: Bounds) -> int:
    """The greatest upper - lower, read as a sum where neither bound can have wrapped."""
    lower, upper = known.interval(loop.lower), known.interval(loop.upper)
    apart = upper.high - lower.low
    if whole(int64) in (lower, upper):
        return apart
    return min(apart, known.interval(sub(loop.upper, loop.lower)).high)


def _steps(loop: Loop) -> Variable:
    """How many iterations came before, so that a variable keeps the multiples of its step."""
    return Variable(f"\0{loop.var}")


def _in_contract(contract: Contract, scope: _Scope) -> Iterator[Access]:
    rows, columns = scope.buffers[contract.tile].shape
    if rows * columns == 0:
        return
    ranges = {contract.row: Interval(0, rows - 1), contract.column: Interval(0, columns - 1)}
    for part in (contract.a, contract.b):
        yield from _in_expression(part, scope.ranging(ranges), contract)
