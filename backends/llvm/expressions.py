"""Loop expressions as LLVM values, one element or one vector of elements at a time.

Inside a vector loop the loop's index stands for `width` neighbouring elements. A value that does
not depend on it stays scalar and is spread only where it meets one that does. A load is one vector
load where neighbours lie next to each other, one scalar load where the index does not matter, and
one load a lane otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from graphc.dtypes import DType, bool_, int64, uint8
from graphc.errors import CompileError
from graphc.loops import Buffer, Call, Expr, Item, Literal, Load, Reduce, Variable
from graphc.loops.affine import Affine, affine, free_variables
from graphc.loops.formulas import expand_call, is_formula
from graphc.target import Target

from .folds import Folds
from .function import SCALAR, STORED, Function, Val, overload, vector
from .offsets import fold_index, offset_of
from .registers import Lanes, Tile
from .scalars import Scalars, literal
from .scaling import SCALE, is_scalable, scale, with_scaling
from .strided import MOST_STRIDE, read_strided

# Powers of two within it are normal numbers of every type, and so are their reciprocals.
_SAFE_EXPONENT = 14


@dataclass
class Expressions:
    """Emits expressions into a function.

    pointers   buffer -> its first element; buffers and tiles by name
    values     variable -> value; of the vectorised index: its first lane
    mask       lanes that are on, beside `lanes.active`
    inside     loads that the mask need not keep inside of their tensors
    """

    function: Function
    target: Target
    buffers: dict[str, Buffer] = field(default_factory=dict)
    pointers: dict[str, Val] = field(default_factory=dict)
    tiles: dict[str, Tile] = field(default_factory=dict)
    values: dict[str, Val] = field(default_factory=dict)
    lanes: Lanes | None = None
    mask: Val | None = None
    inside: frozenset[Load] = frozenset()

    def __post_init__(self) -> None:
        self.scalars = Scalars(self.function, self.target)
        self.folds = Folds(self)
        self._count = 0

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
                return self.folds.values(expr)[0]
            case Item(reduce, position):
                return self.folds.values(reduce)[position]

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
        expr = _without_division(expr)
        args = [self.emit(arg) for arg in expr.args]
        width = max(arg.width for arg in args)
        if expr.op == "select":
            return self._select(args, width)
        args = [self.widen(arg, width) for arg in args]
        if expr.op == SCALE:
            return scale(self.function, args[0], args[1], expr.dtype)
        return self.scalars.call(expr.op, args, expr.args[-1].dtype, expr.dtype)

    def _select(self, args: list[Val], width: int) -> Val:
        condition, yes, no = args
        if condition.width == 1 and width > 1 and yes.width == no.width == 1:
            width = 1
        return self.scalars.select(condition, self.widen(yes, width), self.widen(no, width))

    def _formula(self, expr: Call) -> Val:
        number = self.number()
        widest = max(map(self.emit, expr.args), key=lambda value: value.width)
        rewrite = with_scaling if is_scalable(self.target, widest, expr.dtype) else None
        lets, result = expand_call(expr, lambda prefix: f"{prefix}.{number}", rewrite)
        for let in lets:
            self.values[let.name] = self.emit(let.value)
        return self.emit(result)

    def number(self) -> int:
        """A number not given before, for names."""
        self._count += 1
        return self._count

    # Loads

    def _load(self, load: Load) -> Val:
        if load.buffer in self.tiles:
            return self._tile_element(load)
        buffer = self.buffers[load.buffer]
        guard = None if load in self.inside else self._guard(load.guard)
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
            return self.vector_at(buffer, address.offset, self.lane_mask(guard))
        if address.stride is not None and 2 <= address.stride <= MOST_STRIDE:
            return read_strided(self, buffer, address.offset, address.stride, guard)
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

    def vector_at(self, buffer: Buffer, offset: Val, mask: Val | None) -> Val:
        """Neighbours from an offset on; lanes that the mask shuts out are 0."""
        assert self.lanes is not None
        stored, width = STORED[buffer.dtype.name], self.lanes.width
        place = self.function.address(self.pointers[buffer.name], stored, offset)
        type = vector(stored, width)
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

    @contextmanager
    def masked(self, condition: Val, inside: Iterable[Load] = ()) -> Iterator[None]:
        """Lanes that are off touch no memory, but by loads that stay inside in any case."""
        saved, around = self.mask, self.inside
        if saved is not None:
            width = max(saved.width, condition.width)
            condition = self.function.binary(
                "and", self.widen(saved, width), self.widen(condition, width)
            )
        self.mask = condition
        self.inside = frozenset(inside if saved is None else ())
        yield
        self.mask, self.inside = saved, around

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
        if self.lanes and load.index and load.index[0] == Variable(self.lanes.variable, int64):
            return self._transposed(tile)[self._known(load.index[1])]
        row, chunk = self.tile_position(tile, load.index)
        return tile.values[row][chunk]

    def _transposed(self, tile: Tile) -> list[Val]:
        """The columns of a square tile. Each step swaps one bit of row and lane."""
        rows = [row[0] for row in tile.values]
        for distance in (1 << bit for bit in range(tile.width.bit_length() - 1)):
            for row in range(tile.rows):
                if not row & distance:
                    upper, lower = rows[row], rows[row + distance]
                    rows[row] = self._swap(upper, lower, distance, 0)
                    rows[row + distance] = self._swap(upper, lower, distance, distance)
        return rows

    def _swap(self, upper: Val, lower: Val, distance: int, offset: int) -> Val:
        """Lanes of two rows: those with the bit `distance` come from `lower`."""
        width = upper.width
        picks = [
            (lane & ~distance) + offset + (width if lane & distance else 0) for lane in range(width)
        ]
        mask = ", ".join(f"i32 {pick}" for pick in picks)
        text = f"shufflevector {upper}, {lower}, <{width} x i32> <{mask}>"
        return self.function.pure(text, upper.type, width, upper, lower)

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

    def is_near(self, load: Load) -> bool:
        """Whether the lanes of a load are read in vectors, or all are one element."""
        if self.lanes is None or load.buffer not in self.buffers:
            return True
        form, opaque = offset_of(tuple(load.index), self.buffers[load.buffer].strides)
        name = self.lanes.variable
        if form.hides(name) or any(name in free_variables(expr) for expr, _ in opaque):
            return False
        return 0 <= form.coefficient(name) <= MOST_STRIDE

    def address(self, buffer: Buffer, index: Sequence[Expr]) -> Address:
        """Where an element lies, and how far neighbouring lanes lie apart."""
        return self._place(*offset_of(tuple(index), buffer.strides))

    def _place(self, form: Affine, opaque: Sequence[tuple[Expr, int]]) -> Address:
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
            return self.function.int_(fold_index(expr.op, [int(arg.name) for arg in args]))
        return self.scalars.call(expr.op, args, expr.args[-1].dtype, expr.dtype)


def _without_division(expr: Call) -> Call:
    """x / 2**n as x * 2**-n, which is the same to the bit and many times quicker."""
    match expr:
        case Call(op="div", args=(x, Literal(value=value, dtype=dtype))) if dtype.is_float:
            if abs(math.frexp(value)[0]) == 0.5 and abs(math.log2(abs(value))) < _SAFE_EXPONENT:
                return Call("mul", (x, Literal(1 / value, dtype)), expr.dtype)
    return expr


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
