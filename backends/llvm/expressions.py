"""Loop expressions as LLVM values, one element or one vector of elements at a time.

Inside a vector loop the loop's index stands for `width` neighbouring elements. A value that does
not depend on it stays scalar and is spread only where it meets one that does. A load is one vector
load where neighbours lie next to each other, one scalar load where the index does not matter, and
one load a lane otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from graphc.dtypes import DType, bool_, int64, uint8
from graphc.errors import CompileError
from graphc.loops import (
    Axis,
    Buffer,
    Call,
    Expr,
    Item,
    Literal,
    Load,
    Reduce,
    Variable,
)
from graphc.loops.affine import Affine, affine, free_variables
from graphc.loops.clamp import clamp
from graphc.loops.combine import merge, step, unit
from graphc.loops.formulas import expand_call, is_formula
from graphc.target import Target

from .function import SCALAR, STORED, Function, Val, overload, vector
from .scalars import Scalars, literal

FoldBody = Callable[[Reduce, "Expr | None", "list[Val]"], "list[Val]"]


@dataclass(frozen=True)
class Lanes:
    """The index that is vectorised now; the last `width - active` lanes are past the end."""

    variable: str
    width: int
    active: int


@dataclass
class Tile:
    """A register buffer: rows of vectors, as SSA values."""

    buffer: Buffer
    width: int
    values: list[list[Val]]

    @property
    def columns(self) -> int:
        return self.buffer.shape[-1] if self.buffer.shape else 1

    @property
    def chunks(self) -> int:
        return -(-self.columns // self.width)

    @property
    def rows(self) -> int:
        return self.buffer.size // self.columns

    def flat(self) -> list[Val]:
        return [value for row in self.values for value in row]

    def fill(self, values: Sequence[Val]) -> None:
        chunks = self.chunks
        self.values = [list(values[r * chunks : (r + 1) * chunks]) for r in range(self.rows)]


@dataclass
class Expressions:
    """Emits expressions into a function.

    pointers   buffer -> its first element; buffers and tiles by name
    values     variable -> value; of the vectorised index: its first lane
    mask       lanes that are on, beside `lanes.active`
    """

    function: Function
    target: Target
    buffers: dict[str, Buffer] = field(default_factory=dict)
    pointers: dict[str, Val] = field(default_factory=dict)
    tiles: dict[str, Tile] = field(default_factory=dict)
    values: dict[str, Val] = field(default_factory=dict)
    lanes: Lanes | None = None
    mask: Val | None = None

    def __post_init__(self) -> None:
        self.scalars = Scalars(self.function, self.target)
        self._count = 0
        self._folds: dict[tuple[int, int], tuple[Reduce, list[Val]]] = {}

    def width_of(self, dtype: DType) -> int:
        return max(1, self.target.vector_bytes // max(dtype.itemsize, 4))

    # Values

    def emit(self, expr: Expr) -> Val:
        match expr:
            case Literal(value, dtype):
                return literal(value, dtype)
            case Variable(name):
                return self._variable(name)
            case Call():
                return self._call(expr)
            case Load():
                return self._load(expr)
            case Reduce():
                return self._fold(expr)[0]
            case Item(reduce, position):
                return self._fold(reduce)[position]

    def _variable(self, name: str) -> Val:
        value = self.values[name]
        if self.lanes is None or name != self.lanes.variable:
            return value
        steps = ", ".join(f"i64 {lane}" for lane in range(self.lanes.width))
        counts = Val(f"<{steps}>", vector("i64", self.lanes.width), self.lanes.width)
        return self.function.binary("add", self.widen(value, self.lanes.width), counts)

    def widen(self, value: Val, width: int) -> Val:
        """The value in every lane."""
        if value.width == width:
            return value
        wide = vector(value.type, width)
        if not value.name.startswith("%"):
            return Val(f"splat ({value.type} {value.name})", wide, width)
        first = self.function.pure(
            f"insertelement {wide} poison, {value}, i32 0", wide, width, value
        )
        return self.function.pure(
            f"shufflevector {first}, {wide} poison, <{width} x i32> zeroinitializer",
            wide,
            width,
            first,
        )

    def _call(self, expr: Call) -> Val:
        if is_formula(expr.op):
            return self._formula(expr)
        args = [self.emit(arg) for arg in expr.args]
        width = max(arg.width for arg in args)
        if expr.op == "select":
            return self._select(args, width)
        args = [self.widen(arg, width) for arg in args]
        return self.scalars.call(expr.op, args, expr.args[-1].dtype, expr.dtype)

    def _select(self, args: list[Val], width: int) -> Val:
        condition, yes, no = args
        if condition.width == 1 and width > 1 and yes.width == no.width == 1:
            width = 1
        return self.scalars.select(condition, self.widen(yes, width), self.widen(no, width))

    def _formula(self, expr: Call) -> Val:
        self._count += 1
        number = self._count
        lets, result = expand_call(expr, lambda prefix: f"{prefix}.{number}")
        for let in lets:
            self.values[let.name] = self.emit(let.value)
        return self.emit(result)

    # Loads

    def _load(self, load: Load) -> Val:
        if load.buffer in self.tiles:
            return self._tile_element(load)
        buffer = self.buffers[load.buffer]
        guard = self._guard(load.guard)
        address = self.address(buffer, load.index)
        value = self._read(buffer, address, guard)
        if guard is None or load.guard is None:
            return value
        fill = literal(load.fill.value if load.fill else 0, load.dtype)
        return self._select([guard, value, fill], max(value.width, guard.width))

    def _guard(self, condition: Expr | None) -> Val | None:
        if condition is None:
            return self.mask
        value = self.emit(condition)
        if self.mask is None:
            return value
        width = max(value.width, self.mask.width)
        return self.function.binary("and", self.widen(value, width), self.widen(self.mask, width))

    def _read(self, buffer: Buffer, address: Address, guard: Val | None) -> Val:
        if self.lanes is None or address.stride == 0:
            if guard is not None and guard.width > 1:  # one element for all lanes: any lane on
                guard = self.function.reduce_or(guard)
            return self._read_one(buffer, address.offset, guard)
        if address.stride == 1:
            return self._read_vector(buffer, address.offset, guard)
        return self._read_lanes(buffer, address, guard)

    def _read_one(self, buffer: Buffer, offset: Val, guard: Val | None) -> Val:
        stored = STORED[buffer.dtype.name]
        base = self.pointers[buffer.name]
        place = self.function.address(base, stored, offset)
        if guard is not None:  # elsewhere read the first element, which is always there
            place = self.function.pure(
                f"select {guard}, {place}, {base}", "ptr", 1, guard, place, base
            )
        text = f"load {stored}, {place}, align {buffer.dtype.itemsize}"
        return self._loaded(buffer, text, 1, place)

    def _loaded(self, buffer: Buffer, text: str, width: int, place: Val) -> Val:
        type = vector(STORED[buffer.dtype.name], width)
        steady = buffer.space == "formal" and buffer.access == "in"
        if steady and place.depth == 0 and buffer.size == 1:
            value = self.function.pure(text, type, width, place)
        elif steady:
            value = self.function.once_here(text, type, width)
        else:
            value = self.function.here(text, type, width)
        if buffer.dtype.kind != "bool":
            return value
        return self.scalars.call("ne", [value, literal(0, uint8, width)], uint8, bool_)

    def _read_vector(self, buffer: Buffer, offset: Val, guard: Val | None) -> Val:
        assert self.lanes is not None
        stored, width = STORED[buffer.dtype.name], self.lanes.width
        place = self.function.address(self.pointers[buffer.name], stored, offset)
        type = vector(stored, width)
        mask = self.lane_mask(guard)
        if mask is None:
            text = f"load {type}, {place}, align {buffer.dtype.itemsize}"
        else:
            name = f"@llvm.masked.load.{overload(type)}.p0"
            self.function.declare(f"{type} {name}(ptr, i32, {mask.type}, {type})")
            text = (
                f"call {type} {name}({place}, i32 {buffer.dtype.itemsize}, {mask}, "
                f"{type} zeroinitializer)"
            )
        return self._loaded(buffer, text, width, place)

    def lane_mask(self, guard: Val | None) -> Val | None:
        """The lanes that may touch memory, or None for all."""
        assert self.lanes is not None
        width, active = self.lanes.width, self.lanes.active
        if active == width:
            return None if guard is None else self.widen(guard, width)
        bits = ", ".join(f"i1 {'true' if lane < active else 'false'}" for lane in range(width))
        static = Val(f"<{bits}>", vector("i1", width), width)
        if guard is None:
            return static
        return self.function.binary("and", self.widen(guard, width), static)

    def _read_lanes(self, buffer: Buffer, address: Address, guard: Val | None) -> Val:
        assert self.lanes is not None
        width = self.lanes.width
        type = vector(SCALAR[buffer.dtype.name], width)
        result = Val("poison", type, width)
        for lane in range(self.lanes.active):
            on = None if guard is None else self.lane(guard, lane)
            element = self._read_one(buffer, address.at_lane(self, lane), on)
            result = self.function.pure(
                f"insertelement {result}, {element}, i32 {lane}", type, width, result, element
            )
        return result

    def lane(self, value: Val, lane: int) -> Val:
        """One lane of a vector."""
        if value.width == 1:
            return value
        scalar = value.type[1:-1].split(" x ")[1]
        return self.function.pure(f"extractelement {value}, i32 {lane}", scalar, 1, value)

    def _tile_element(self, load: Load) -> Val:
        tile = self.tiles[load.buffer]
        row, chunk = self.tile_position(tile, load.index)
        return tile.values[row][chunk]

    def tile_position(self, tile: Tile, index: Sequence[Expr]) -> tuple[int, int]:
        """(row, chunk) of an element of a register tile: its indices are known numbers."""
        place = [self._known(expr) for expr in index]
        row = 0
        for extent, number in zip(tile.buffer.shape[:-1], place[:-1], strict=True):
            row = row * extent + number
        return row, (place[-1] // tile.width if place else 0)

    def _known(self, expr: Expr) -> int:
        value = self.index_value(expr)
        if value.name.startswith("%"):
            raise CompileError("the index of a register tile is not known when compiled")
        return int(value.name)

    # Addresses

    def address(self, buffer: Buffer, index: Sequence[Expr]) -> Address:
        """Where an element lies, and how far neighbouring lanes lie apart."""
        form, opaque = Affine(0), []
        for expr, stride in zip(index, buffer.strides, strict=True):
            part = affine(expr)
            if part is None:
                opaque.append((expr, stride))
            else:
                form = form.plus(part, stride)
        return self._place(form, opaque)

    def _place(self, form: Affine, opaque: list[tuple[Expr, int]]) -> Address:
        if self.lanes is None:
            return Address(self.sum(form, opaque), 0)
        name = self.lanes.variable
        if form.hides(name) or any(name in free_variables(expr) for expr, _ in opaque):
            return Address(self.vector_sum(form, opaque), None)
        stride = form.coefficient(name)
        if any(self.emit(expr).width > 1 for expr, _ in opaque):
            return Address(self.vector_sum(form, opaque), None)
        return Address(self.sum(form, opaque), stride)

    def sum(self, form: Affine, opaque: Sequence[tuple[Expr, int]] = ()) -> Val:
        """A scalar sum; outer variables first, so that their part is computed outside."""
        constant = form.constant
        parts: list[tuple[Val, int]] = []
        for atom, factor in form.terms:
            value = self.index_value(atom)
            if value.name.startswith("%"):
                parts.append((value, factor))
            else:
                constant += factor * int(value.name)
        parts += [(self.emit(expr), factor) for expr, factor in opaque]
        total = self.function.int_(0)
        for value, factor in sorted(parts, key=lambda part: part[0].depth):
            total = self.function.iadd(total, self.function.imul(value, factor))
        return self.function.iadd(total, self.function.int_(constant)) if constant else total

    def vector_sum(self, form: Affine, opaque: Sequence[tuple[Expr, int]]) -> Val:
        """The offsets of all lanes."""
        assert self.lanes is not None
        parts = [*form.terms, *opaque, (Literal(form.constant, int64), 1)]
        total = literal(0, int64, self.lanes.width)
        for expr, factor in parts:
            value = self.widen(self.emit(expr), self.lanes.width)
            scaled = self.scalars.call(
                "mul", [value, literal(factor, int64, value.width)], int64, int64
            )
            total = self.function.binary("add", total, scaled)
        return total

    def index_value(self, expr: Expr) -> Val:
        """An index as a scalar: of the vectorised index, its first lane."""
        match expr:
            case Variable(name):
                return self.values[name]
            case Literal(value=value):
                return self.function.int_(int(value))
        form = affine(expr)
        if form is not None and not (
            len(form.terms) == 1 and form.constant == 0 and form.terms[0][0] == expr
        ):
            return self.sum(form)
        return self._scalar_call(expr)

    def _scalar_call(self, expr: Expr) -> Val:
        if not isinstance(expr, Call):
            return self.emit(expr)
        args = [self.index_value(arg) for arg in expr.args]
        if all(not arg.name.startswith("%") for arg in args):
            return self.function.int_(_fold_index(expr.op, [int(arg.name) for arg in args]))
        return self.scalars.call(expr.op, args, expr.args[-1].dtype, expr.dtype)

    # Folds

    def _fold(self, reduce: Reduce) -> list[Val]:
        key = (id(reduce), self.function.scope)
        if key not in self._folds:
            self._folds[key] = (reduce, self._fold_anew(reduce))
        return self._folds[key][1]

    def _fold_anew(self, reduce: Reduce) -> list[Val]:
        if reduce.lanes > 1:
            return self._fold_lanes(reduce)
        width = self.lanes.width if self.lanes else 1
        starts = self.units(reduce, width)
        return self._fold_axes(reduce, reduce.axes, reduce.where, starts, self._step_once)

    def units(self, reduce: Reduce, width: int) -> list[Val]:
        return [literal(u.value, u.dtype, width) for u in unit(reduce)]

    def _fold_axes(
        self,
        reduce: Reduce,
        axes: Sequence[Axis],
        where: Expr | None,
        accumulators: list[Val],
        body: FoldBody,
    ) -> list[Val]:
        if not axes:
            return body(reduce, where, accumulators)
        axis, inner = axes[0], axes[1:]
        hidden = {other.name for other in inner} | self._vector_names()
        lower, upper, left = clamp(axis.name, axis.extent, where, hidden)
        low, high = self.index_value(lower), self.index_value(upper)
        always = isinstance(lower, Literal) and isinstance(upper, Literal) and axis.extent > 0
        with self.function.loop(low, high, 1, accumulators, always) as (index, state):
            self.values[axis.name] = index
            state.next = self._fold_axes(reduce, inner, left, state.current, body)
        return state.result

    def _vector_names(self) -> set[str]:
        return {self.lanes.variable} if self.lanes else set()

    def _step_once(self, reduce: Reduce, where: Expr | None, before: list[Val]) -> list[Val]:
        if where is None:
            return self.step(reduce, before)
        condition = self.emit(where)
        if condition.width == 1:
            with self.function.branch(condition, before) as state:
                state.next = self.step(reduce, before)
            return state.result
        with self.masked(condition):
            after = self.step(reduce, before)
        return [self.scalars.select(condition, a, b) for a, b in zip(after, before, strict=True)]

    @contextmanager
    def masked(self, condition: Val) -> Iterator[None]:
        saved = self.mask
        if saved is not None:
            width = max(saved.width, condition.width)
            condition = self.function.binary(
                "and", self.widen(saved, width), self.widen(condition, width)
            )
        self.mask = condition
        yield
        self.mask = saved

    def step(self, reduce: Reduce, accumulators: Sequence[Val]) -> list[Val]:
        """The accumulators after one element (or one vector of elements)."""
        held = self._bind("accumulator", reduce, accumulators)
        width = accumulators[0].width
        after = step(reduce.combine, held, reduce.body)
        return [self.widen(self.emit(expr), width) for expr in after]

    def _fold_lanes(self, reduce: Reduce) -> list[Val]:
        """Lane after lane of the last axis; accumulators side by side, halved at the end."""
        width = min(self.width_of(reduce.dtype), reduce.lanes)
        vectors = reduce.lanes // width
        starts = [value for _ in range(vectors) for value in self.units(reduce, width)]

        def sweep(fold: Reduce, where: Expr | None, before: list[Val]) -> list[Val]:
            return self._sweep_lanes(fold, where, before, width)

        values = self._fold_axes(reduce, reduce.axes[:-1], reduce.where, starts, sweep)
        count = len(values) // vectors
        groups = [values[v * count : (v + 1) * count] for v in range(vectors)]
        return self._halve(reduce, groups)

    def _sweep_lanes(
        self, reduce: Reduce, where: Expr | None, before: list[Val], width: int
    ) -> list[Val]:
        axis = reduce.axes[-1]
        whole = axis.extent - axis.extent % reduce.lanes
        values = before
        if whole:
            bounds = self.function.int_(0), self.function.int_(whole)
            with self.function.loop(*bounds, reduce.lanes, before, True) as (index, state):
                state.next = self._lane_steps(
                    reduce, where, state.current, index, width, reduce.lanes
                )
            values = state.result
        if axis.extent > whole:
            start = self.function.int_(whole)
            values = self._lane_steps(reduce, where, values, start, width, axis.extent - whole)
        return values

    def _lane_steps(
        self,
        reduce: Reduce,
        where: Expr | None,
        values: list[Val],
        start: Val,
        width: int,
        count: int,
    ) -> list[Val]:
        """One element for each of the first `count` accumulators."""
        name, values = reduce.axes[-1].name, list(values)
        items = len(values) * width // reduce.lanes
        for position, first in enumerate(range(0, count, width)):
            here = slice(position * items, (position + 1) * items)
            self.values[name] = self.function.iadd(start, self.function.int_(first))
            active = min(width, count - first)
            self.lanes = Lanes(name, width, active)
            values[here] = self._lane_step(reduce, where, values[here])
            self.lanes = None
        return values

    def _lane_step(self, reduce: Reduce, where: Expr | None, before: list[Val]) -> list[Val]:
        assert self.lanes is not None
        on = None if where is None else self.emit(where)
        mask = self.lane_mask(on)
        if mask is None:
            return self.step(reduce, before)
        if on is not None:
            with self.masked(on):
                after = self.step(reduce, before)
        else:
            after = self.step(reduce, before)
        return [self.scalars.select(mask, a, b) for a, b in zip(after, before, strict=True)]

    def _halve(self, reduce: Reduce, groups: list[list[Val]]) -> list[Val]:
        while len(groups) > 1:
            half = len(groups) // 2
            groups = [self._merge(reduce, groups[i], groups[i + half]) for i in range(half)]
        values = groups[0]
        while values[0].width > 1:
            half = values[0].width // 2
            low = [self._part(value, 0, half) for value in values]
            high = [self._part(value, half, half) for value in values]
            values = self._merge(reduce, low, high)
        return values

    def _part(self, value: Val, first: int, count: int) -> Val:
        if count == 1:
            return self.lane(value, first)
        scalar = value.type[1:-1].split(" x ")[1]
        lanes = ", ".join(f"i32 {first + lane}" for lane in range(count))
        return self.function.pure(
            f"shufflevector {value}, {value.type} poison, <{count} x i32> <{lanes}>",
            vector(scalar, count),
            count,
            value,
        )

    def _merge(self, reduce: Reduce, low: list[Val], high: list[Val]) -> list[Val]:
        """Accumulators taken into others."""
        held = self._bind("accumulator", reduce, low)
        other = self._bind("part", reduce, high)
        return [self.widen(self.emit(e), low[0].width) for e in merge(reduce.combine, held, other)]

    def _bind(self, prefix: str, reduce: Reduce, values: Sequence[Val]) -> tuple[Variable, ...]:
        """Accumulators as variables that a fold's rule can be written over."""
        self._count += 1
        names = [f"{prefix}.{self._count}.{position}" for position in range(len(values))]
        self.values.update(zip(names, values, strict=True))
        types = [start.dtype for start in unit(reduce)]
        return tuple(Variable(name, dtype) for name, dtype in zip(names, types, strict=True))


def _fold_index(op: str, args: list[int]) -> int:
    """Index arithmetic on known numbers."""
    a, b = args
    match op:
        case "add":
            return a + b
        case "mul":
            return a * b
        case "floordiv":
            return a // b
        case "mod":
            return a % b
        case "max":
            return max(a, b)
        case "min":
            return min(a, b)
        case _:
            raise CompileError(f"{op!r} is no operation on indices")


@dataclass(frozen=True)
class Address:
    """An element's offset; `stride` between lanes, None where each lane has its own offset."""

    offset: Val
    stride: int | None

    def at_lane(self, expressions: Expressions, lane: int) -> Val:
        if self.stride is None:
            return expressions.lane(self.offset, lane)
        step = expressions.function.int_(self.stride * lane)
        return expressions.function.iadd(self.offset, step)
