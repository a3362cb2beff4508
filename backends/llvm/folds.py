"""Reductions as LLVM: loops over the axes around accumulators in registers.

The order of a fold is its meaning: element t of the last axis goes to accumulator t % lanes, and
the accumulators are halved at the end. Where the fold itself runs in vectors, neighbouring
accumulators are the lanes of a vector. Where it stands inside a vector loop, each accumulator is
a vector, one lane for each element of that loop. The bits are the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from graphc.dtypes import int64
from graphc.loops import Axis, Call, Expr, Literal, Load, Reduce, Variable
from graphc.loops.affine import Affine, affine, free_variables
from graphc.loops.clamp import clamp
from graphc.loops.combine import follow, merge, step, unit

from .elementwise import loads, reduces
from .function import Val, vector
from .registers import Lanes
from .scalars import literal

if TYPE_CHECKING:
    from .expressions import Expressions

# Steps that are written out inside a vector loop: of a last axis, of a whole window.
_SHORT, WINDOW = 4, 32

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
        if reduce.lanes == 1 and self._is_written_whole(reduce):
            return self._fold_whole(reduce)
        if reduce.lanes == 1:
            starts = self._units(reduce, self._width)
            step = partial(self._step_once, reduce)
            return self._over_axes(reduce.axes, reduce.where, starts, step, self._steps(reduce))
        if self.x.lanes is None:
            return self._fold_in_vectors(reduce)
        return self._fold_across(reduce)

    def _steps(self, reduce: Reduce) -> int:
        """How many steps of a fold in order may be written out."""
        if self.x.lanes is None or _holds_fold(reduce):
            return 0
        read = (load for part in reduce.body for load in loads(part))
        near = all(map(self.x.is_near, read))
        return WINDOW if len(reduce.axes) > 1 and near else _SHORT

    def _is_written_whole(self, reduce: Reduce) -> bool:
        """Whether each element is known to come after those before it, and all are written out."""
        few = 0 < math.prod(axis.extent for axis in reduce.axes) <= self._steps(reduce)
        return few and reduce.where is None and _grows(reduce)

    def _fold_whole(self, reduce: Reduce) -> list[Val]:
        """The elements one after the other, the first as it is."""
        held: list[Val] = []
        for place in itertools.product(*(range(axis.extent) for axis in reduce.axes)):
            for axis, number in zip(reduce.axes, place, strict=True):
                self.x.values[axis.name] = self.x.function.int_(number)
            bound = self._bind("accumulator", reduce, held) if held else None
            after = follow(reduce.combine, bound, reduce.body)
            assert after is not None
            held = [self.x.widen(self.x.emit(expr), self._width) for expr in after]
        return held

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
        steps: int = 0,
    ) -> list[Val]:
        """The loops over the axes, those inside written out where all are `steps` at most."""
        if not axes:
            return body(where, accumulators)
        axis, inner = axes[0], axes[1:]
        hidden = {other.name for other in inner}
        if self.x.lanes:
            hidden.add(self.x.lanes.variable)
        lower, upper, left = clamp(axis.name, axis.extent, where, hidden)
        low, high = self.x.index_value(lower), self.x.index_value(upper)
        each = math.prod(other.extent for other in inner)
        if known := _known_steps(lower, upper, steps // max(1, each)):
            body = partial(self._over_axes, inner, body=body, steps=steps)
            return self._written_out(axis, known, left, accumulators, body)
        always = _is_known_to_run(lower, upper)
        with self.x.function.loop(low, high, 1, accumulators, always) as (index, state):
            self.x.values[axis.name] = index
            state.next = self._over_axes(inner, left, state.current, body, steps)
        return state.result

    def _written_out(
        self, axis: Axis, known: range, where: Expr | None, values: list[Val], body: Body
    ) -> list[Val]:
        """The steps of a short axis one after the other: what they read at fixed places is then the
        same in each turn of the loops around."""
        for position in known:
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
        with self.x.masked(condition, self._inside(reduce, where)):
            after = self._step(reduce, before)
        return self._chosen(condition, after, before)

    def _inside(self, reduce: Reduce, where: Expr) -> list[Load]:
        """Single elements that may be read whatever the condition says, as a window's weights: by
        indexes that it does not read, and by whole axes."""
        read = [load for part in reduce.body for load in loads(part) if load.guard is None]
        tested = free_variables(where)
        axes: dict[Expr, int] = {Variable(x.name, int64): x.extent for x in reduce.axes}
        found = []
        for load in read:
            shape = self.x.buffers[load.buffer].shape if load.buffer in self.x.buffers else ()
            places = list(zip(load.index, shape, strict=False))
            if places and all(
                not tested & free_variables(place) or axes.get(place, extent + 1) <= extent
                for place, extent in places
            ):
                found.append(load)
        return found

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


def _known_steps(lower: Expr, upper: Expr, most: int) -> range:
    """The steps of a loop that has `most` at most, whatever surrounds it; else none."""
    if not (isinstance(lower, Literal) and isinstance(upper, Literal)):
        return range(0)
    steps = range(int(lower.value), int(upper.value))
    return steps if len(steps) <= most else range(0)


def _grows(reduce: Reduce) -> bool:
    """Whether a fold has a form for elements in order, and those beside the values grow in it."""
    if follow(reduce.combine, None, reduce.body) is None:
        return False
    forms = [affine(_without_cast(part)) for part in reduce.body[1:]]
    if any(form is None for form in forms):
        return False
    return all(_is_lexicographic(form, reduce.axes) for form in forms if form is not None)


def _is_lexicographic(form: Affine, axes: Sequence[Axis]) -> bool:
    """Whether a sum over the axes grows with each step of a fold."""
    inner = 0
    for axis in reversed(axes):
        factor = form.coefficient(axis.name)
        if factor <= inner:
            return False
        inner += factor * (axis.extent - 1)
    return True


def _without_cast(expr: Expr) -> Expr:
    match expr:
        case Call(op="cast", args=(inner,), dtype=dtype) if dtype.is_integer:
            return inner
    return expr


def _holds_fold(reduce: Reduce) -> bool:
    """Whether an element is itself a fold, whose loops each step would repeat."""
    parts = (*reduce.body, *(() if reduce.where is None else (reduce.where,)))
    return any(next(reduces(part), None) is not None for part in parts)


def _parts(values: list[Val], count: int) -> list[list[Val]]:
    """The values in `count` equal runs."""
    size = len(values) // count
    return [values[i * size : (i + 1) * size] for i in range(count)]
