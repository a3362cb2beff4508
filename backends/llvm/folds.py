"""Reductions as LLVM: loops over the axes around accumulators in registers.

The order of a fold is its meaning: element t of the last axis goes to accumulator t % lanes, and
the accumulators are halved at the end. Where the fold itself runs in vectors, neighbouring
accumulators are the lanes of a vector. Where it stands inside a vector loop, each accumulator is
a vector, one lane for each element of that loop. The bits are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from graphc.loops import Axis, Expr, Literal, Reduce, Variable, index
from graphc.loops.clamp import clamp
from graphc.loops.combine import merge, step, unit

from .elementwise import reduces
from .function import Val, vector
from .registers import Lanes
from .scalars import literal

if TYPE_CHECKING:
    from .expressions import Expressions

# Steps of a fold's last axis that are written out inside a vector loop.
_SHORT = 4

Body = Callable[["Expr | None", "list[Val]"], "list[Val]"]
Steps = Callable[["Expr | None", "list[Val]", Val, int], "list[Val]"]


@dataclass
class Folds:
    """Emits the folds that expressions hold; several items of one fold share its loop."""

    x: Expressions
    _made: dict[tuple[int, int], tuple[Reduce, list[Val]]] = field(default_factory=dict)

    def values(self, reduce: Reduce) -> list[Val]:
        """The accumulators at the end."""
        key = (id(reduce), self.x.function.scope)
        if key not in self._made:
            self._made[key] = (reduce, self._fold(reduce))
        return self._made[key][1]

    def _fold(self, reduce: Reduce) -> list[Val]:
        if reduce.lanes == 1:
            starts = self._units(reduce, self._width)
            step = partial(self._step_once, reduce)
            short = self.x.lanes is not None and not _holds_fold(reduce)
            return self._over_axes(reduce.axes, reduce.where, starts, step, short)
        if self.x.lanes is None:
            return self._fold_in_vectors(reduce)
        return self._fold_across(reduce)

    @property
    def _width(self) -> int:
        return self.x.lanes.width if self.x.lanes else 1

    def _units(self, reduce: Reduce, width: int) -> list[Val]:
        return [literal(u.value, u.dtype, width) for u in unit(reduce)]

    def _over_axes(
        self,
        axes: Sequence[Axis],
        where: Expr | None,
        accumulators: list[Val],
        body: Body,
        written_out: bool = False,
    ) -> list[Val]:
        """The loops over the axes; the last one's steps written out where they are few."""
        if not axes:
            return body(where, accumulators)
        axis, inner = axes[0], axes[1:]
        hidden = {other.name for other in inner}
        if self.x.lanes:
            hidden.add(self.x.lanes.variable)
        lower, upper, left = clamp(axis.name, axis.extent, where, hidden)
        low, high = self.x.index_value(lower), self.x.index_value(upper)
        if written_out and not inner and (count := _short(lower, upper)):
            return self._written_out(axis, count, left, accumulators, body)
        always = _is_known_to_run(lower, upper)
        with self.x.function.loop(low, high, 1, accumulators, always) as (index, state):
            self.x.values[axis.name] = index
            state.next = self._over_axes(inner, left, state.current, body, written_out)
        return state.result

    def _written_out(
        self, axis: Axis, count: int, where: Expr | None, values: list[Val], body: Body
    ) -> list[Val]:
        """The steps of a short last axis one after the other: what they read at fixed places is
        then the same in each turn of the loops around."""
        for position in range(count):
            self.x.values[axis.name] = self.x.function.int_(position)
            values = body(where, values)
        return values

    def _step_once(self, reduce: Reduce, where: Expr | None, before: list[Val]) -> list[Val]:
        if where is None:
            return self._step(reduce, before)
        condition = self.x.emit(where)
        if condition.width == 1:
            with self.x.function.branch(condition, before) as state:
                state.next = self._step(reduce, before)
            return state.result
        with self.x.masked(condition):
            after = self._step(reduce, before)
        return self._chosen(condition, after, before)

    def _chosen(self, condition: Val, after: Sequence[Val], before: Sequence[Val]) -> list[Val]:
        pairs = zip(after, before, strict=True)
        return [self.x.scalars.select(condition, new, old) for new, old in pairs]

    def _step(self, reduce: Reduce, accumulators: Sequence[Val]) -> list[Val]:
        """The accumulators after one element (or one vector of elements)."""
        held = self._bind("accumulator", reduce, accumulators)
        width = accumulators[0].width
        after = step(reduce.combine, held, reduce.body)
        return [self.x.widen(self.x.emit(expr), width) for expr in after]

    # Each accumulator a vector over the enclosing vector loop

    def _fold_across(self, reduce: Reduce) -> list[Val]:
        starts = self._units(reduce, self._width) * reduce.lanes
        values = self._over_lanes(reduce, starts, partial(self._steps_across, reduce))
        return self._merge_groups(reduce, _parts(values, reduce.lanes))

    def _over_lanes(self, reduce: Reduce, starts: list[Val], steps: Steps) -> list[Val]:
        sweep = partial(self._sweep, reduce, steps)
        return self._over_axes(reduce.axes[:-1], reduce.where, starts, sweep)

    def _sweep(
        self, reduce: Reduce, steps: Steps, where: Expr | None, before: list[Val]
    ) -> list[Val]:
        """All of the last axis, `lanes` elements at a time."""
        function, extent, lanes = self.x.function, reduce.axes[-1].extent, reduce.lanes
        whole, values = extent - extent % lanes, before
        if whole:
            bounds = function.int_(0), function.int_(whole)
            with function.loop(*bounds, lanes, before, True) as (index, state):
                state.next = steps(where, state.current, index, lanes)
            values = state.result
        if extent > whole:
            values = steps(where, values, function.int_(whole), extent - whole)
        return values

    def _steps_across(
        self, reduce: Reduce, where: Expr | None, values: list[Val], start: Val, count: int
    ) -> list[Val]:
        """One element for each of the first `count` accumulators."""
        groups = _parts(values, reduce.lanes)
        for position in range(count):
            index = self.x.function.iadd(start, self.x.function.int_(position))
            self.x.values[reduce.axes[-1].name] = index
            groups[position] = self._step_once(reduce, where, groups[position])
        return [value for group in groups for value in group]

    # Neighbouring accumulators as the lanes of vectors

    def _fold_in_vectors(self, reduce: Reduce) -> list[Val]:
        width = min(self.x.width_of(reduce.dtype), reduce.lanes)
        vectors = reduce.lanes // width
        starts = self._units(reduce, width) * vectors
        values = self._over_lanes(reduce, starts, partial(self._vector_steps, reduce, width))
        return self._halve(reduce, self._merge_groups(reduce, _parts(values, vectors)))

    def _vector_steps(
        self,
        reduce: Reduce,
        width: int,
        where: Expr | None,
        values: list[Val],
        start: Val,
        count: int,
    ) -> list[Val]:
        """One element for each of the first `count` accumulators, a vector at a time."""
        name, groups = reduce.axes[-1].name, _parts(values, reduce.lanes // width)
        for position, first in enumerate(range(0, count, width)):
            self.x.values[name] = self.x.function.iadd(start, self.x.function.int_(first))
            self.x.lanes = Lanes(name, width, min(width, count - first))
            groups[position] = self._vector_step(reduce, where, groups[position])
            self.x.lanes = None
        return [value for group in groups for value in group]

    def _vector_step(self, reduce: Reduce, where: Expr | None, before: list[Val]) -> list[Val]:
        on = None if where is None else self.x.emit(where)
        mask = self.x.lane_mask(on)
        if mask is None:
            return self._step(reduce, before)
        if on is None:
            return self._chosen(mask, self._step(reduce, before), before)
        with self.x.masked(on):
            after = self._step(reduce, before)
        return self._chosen(mask, after, before)

    # Accumulators into one

    def _merge_groups(self, reduce: Reduce, groups: list[list[Val]]) -> list[Val]:
        while len(groups) > 1:
            half = len(groups) // 2
            groups = [self._merge(reduce, groups[i], groups[i + half]) for i in range(half)]
        return groups[0]

    def _halve(self, reduce: Reduce, values: list[Val]) -> list[Val]:
        """The lanes of vectors merged until one is left."""
        while values[0].width > 1:
            half = values[0].width // 2
            low = [self._part(value, 0, half) for value in values]
            high = [self._part(value, half, half) for value in values]
            values = self._merge(reduce, low, high)
        return values

    def _part(self, value: Val, first: int, count: int) -> Val:
        if count == 1:
            return self.x.lane(value, first)
        scalar = value.type[1:-1].split(" x ")[1]
        lanes = ", ".join(f"i32 {first + lane}" for lane in range(count))
        return self.x.function.pure(
            f"shufflevector {value}, {value.type} poison, <{count} x i32> <{lanes}>",
            vector(scalar, count),
            count,
            value,
        )

    def _merge(self, reduce: Reduce, low: list[Val], high: list[Val]) -> list[Val]:
        """Accumulators taken into others."""
        held = self._bind("accumulator", reduce, low)
        other = self._bind("part", reduce, high)
        merged = merge(reduce.combine, held, other)
        return [self.x.widen(self.x.emit(expr), low[0].width) for expr in merged]

    def _bind(self, prefix: str, reduce: Reduce, values: Sequence[Val]) -> tuple[Variable, ...]:
        """Accumulators as variables that a fold's rule can be written over."""
        number = self.x.number()
        names = [f"{prefix}.{number}.{position}" for position in range(len(values))]
        self.x.values.update(zip(names, values, strict=True))
        types = [start.dtype for start in unit(reduce)]
        return tuple(Variable(name, dtype) for name, dtype in zip(names, types, strict=True))


def _is_known_to_run(lower: Expr, upper: Expr) -> bool:
    """Whether a loop has an iteration for certain; one that `clamp` narrowed may have none."""
    if not (isinstance(lower, Literal) and isinstance(upper, Literal)):
        return False
    return int(lower.value) < int(upper.value)


def _short(lower: Expr, upper: Expr) -> int:
    """The steps of a loop from 0 that has few of them, whatever surrounds it; else 0."""
    if lower != index(0) or not isinstance(upper, Literal):
        return 0
    return int(upper.value) if int(upper.value) <= _SHORT else 0


def _holds_fold(reduce: Reduce) -> bool:
    """Whether an element is itself a fold, whose loops each step would repeat."""
    parts = (*reduce.body, *(() if reduce.where is None else (reduce.where,)))
    return any(next(reduces(part), None) is not None for part in parts)


def _parts(values: list[Val], count: int) -> list[list[Val]]:
    """The values in `count` equal runs."""
    size = len(values) // count
    return [values[i * size : (i + 1) * size] for i in range(count)]
