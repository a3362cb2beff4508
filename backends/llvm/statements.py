"""Statements of the loop language as LLVM: loops, lets, stores, register tiles, contractions.

A kernel becomes one function `name(thread, threads, formal buffers..., scratch)`. Its outermost
parallel loops are shared out by index range, everything inside runs on the thread that owns it.
Local buffers that are no register tiles lie in the thread's scratch memory, each at a multiple of
SCRATCH_ALIGNMENT; those of one body beside one another, those of bodies that follow one another on
the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from graphc.errors import CompileError
from graphc.loops import (
    Buffer,
    Contract,
    Expr,
    Kernel,
    Let,
    Local,
    Loop,
    Prefetch,
    Statement,
    Store,
    When,
)
from graphc.target import Target

from .contents import folds_in_order, holds_formulas, reads_tiles, tiles_in, widest, written_tiles
from .expressions import Expressions
from .function import STORED, Function, Val, overload, vector
from .registers import Lanes, Tile
from .scalars import literal

SCRATCH_ALIGNMENT = 64

# A result larger than this leaves the last cache before anyone reads it.
_STREAMED_BYTES = 24 << 20
_STREAMED_ALIGNMENT = 64
_LINE_BYTES = 64

# Vectors of neighbours that are folded together: one alone would wait for each of its sums.
_SUMS_AT_ONCE = 4
# Where a value takes a long chain of operations.
_FORMULAS_AT_ONCE = 4


class KernelText(NamedTuple):
    """A kernel's function: its definition, what it declares, and the scratch of one thread."""

    definition: str
    declarations: set[str]
    scratch_bytes: int


def emit_kernel(kernel: Kernel, symbol: str, target: Target) -> KernelText:
    """The function of a kernel."""
    pointers = [f"ptr %a{position}" for position in range(len(kernel.buffers))]
    scratch = f"ptr noalias align {SCRATCH_ALIGNMENT} %scratch"
    function = Function(symbol, ["i64 %thread", "i64 %threads", *pointers, scratch])
    statements = Statements(function, target, kernel)
    statements.body(kernel.body)
    return KernelText(function.text(), function.declarations, statements.scratch_bytes)


class Statements:
    """Emits the statements of one kernel."""

    def __init__(self, function: Function, target: Target, kernel: Kernel) -> None:
        self.function = function
        self.x = Expressions(function, target)
        for position, buffer in enumerate(kernel.buffers):
            self.x.buffers[buffer.name] = buffer
            self.x.pointers[buffer.name] = Val(f"%a{position}", "ptr")
        self.shared_out = False
        self.scratch_bytes = 0  # the most taken at once
        self._taken_bytes = 0  # by the bodies that are open

    def body(self, statements: Sequence[Statement]) -> None:
        taken_bytes = self._taken_bytes
        for statement in statements:
            self.statement(statement)
        self._taken_bytes = taken_bytes

    def statement(self, statement: Statement) -> None:
        match statement:
            case Loop():
                self._loop(statement)
            case Let(name, value):
                self.x.values[name] = self.x.emit(value)
            case Store():
                self._store(statement)
            case Local(buffer):
                self._local(buffer)
            case When(condition, body):
                self._when(condition, body)
            case Contract():
                self._contract(statement)
            case Prefetch(buffer, index):
                self._prefetch(self.x.buffers[buffer], index)

    # Loops

    def _loop(self, loop: Loop) -> None:
        match loop.kind:
            case "parallel" if not self.shared_out:
                self._parallel(loop)
            case "vector":
                self._vector(loop)
            case "unroll":
                self._unroll(loop)
            case "serial" | "parallel":
                bounds = self.x.index_value(loop.lower), self.x.index_value(loop.upper)
                self._counted(loop, *bounds)
            case _:
                raise CompileError(f"a {loop.kind} loop has no meaning on a CPU")

    def _parallel(self, loop: Loop) -> None:
        """This thread's range: iterations n*t/T up to n*(t+1)/T."""
        if self._number(loop.lower) != 0 or loop.step != 1:
            raise CompileError("a parallel loop that is shared out counts from 0 in steps of 1")
        count = self.x.index_value(loop.upper)
        thread, threads = Val("%thread", "i64"), Val("%threads", "i64")
        binary = self.function.binary
        start = binary("udiv", binary("mul", count, thread), threads)
        following = self.function.iadd(thread, self.function.int_(1))
        stop = binary("udiv", binary("mul", count, following), threads)
        self.shared_out = True
        self._counted(loop, start, stop)
        self.shared_out = False

    def _counted(self, loop: Loop, lower: Val, upper: Val) -> None:
        known = not lower.name.startswith("%") and not upper.name.startswith("%")
        if known and int(lower.name) >= int(upper.name):
            return
        tiles = [self.x.tiles[name] for name in written_tiles(loop.body) if name in self.x.tiles]
        carried = [value for tile in tiles for value in tile.flat()]
        with self.function.loop(lower, upper, loop.step, carried, known) as (index, state):
            _refill(tiles, state.current)
            self.x.values[loop.var] = index
            with self._inner_names():
                self.body(loop.body)
            state.next = [value for tile in tiles for value in tile.flat()]
        _refill(tiles, state.result)

    @contextmanager
    def _inner_names(self) -> Iterator[None]:
        saved = dict(self.x.values), dict(self.x.tiles)
        yield
        self.x.values, tiles = dict(saved[0]), saved[1]
        self.x.tiles = {name: self.x.tiles[name] for name in tiles}

    def _unroll(self, loop: Loop) -> None:
        lower, upper = self._number(loop.lower), self._number(loop.upper)
        for number in range(lower, upper, loop.step):
            self.x.values[loop.var] = self.function.int_(number)
            self.body(loop.body)

    def _number(self, expr: Expr) -> int:
        value = self.x.index_value(expr)
        if value.name.startswith("%"):
            raise CompileError("the bounds of an unrolled or vector loop must be known")
        return int(value.name)

    def _vector(self, loop: Loop) -> None:
        lower, upper = self._number(loop.lower), self._number(loop.upper)
        width = self._vector_width(loop, upper - lower)
        if upper - lower == 1 and width == 1:  # a tile's only column has a known number
            self._unroll(loop)
            return
        if width == 1:
            self._counted(loop, self.function.int_(lower), self.function.int_(upper))
            return
        if reads_tiles(loop.body, self.x.tiles):
            for start in range(lower, upper, width):
                self._chunk(loop, self.function.int_(start), width, min(width, upper - start))
            return
        at_once = self._vectors_at_once(loop.body)
        widths = [at_once * width, width] if at_once > 1 else [width]
        for wide in widths:
            whole = lower + (upper - lower) // wide * wide
            if whole > lower:
                bounds = self.function.int_(lower), self.function.int_(whole)
                with self.function.loop(*bounds, wide, [], True) as (index, _):
                    self._chunk(loop, index, wide, wide)
            lower = whole
        if upper > lower:
            self._chunk(loop, self.function.int_(lower), width, upper - lower)

    def _vectors_at_once(self, body: Sequence[Statement]) -> int:
        """Vectors of neighbours that are computed together, so that none waits for itself."""
        if folds := folds_in_order(body):
            return max(1, _SUMS_AT_ONCE // folds)
        return _FORMULAS_AT_ONCE if holds_formulas(body) else 1

    def _vector_width(self, loop: Loop, extent: int) -> int:
        tiles = [self.x.tiles[name] for name in tiles_in(loop.body) if name in self.x.tiles]
        if tiles:
            return tiles[0].width
        width = self.x.width_of(widest(loop.body, self.x.buffers))
        while width > 1 and width // 2 >= extent:
            width //= 2
        return width

    def _chunk(self, loop: Loop, start: Val, width: int, active: int) -> None:
        self.x.values[loop.var] = start
        self.x.lanes = Lanes(loop.var, width, active)
        with self._inner_names():
            self.body(loop.body)
        self.x.lanes = None

    def _when(self, condition: Expr, body: Sequence[Statement]) -> None:
        value = self.x.emit(condition)
        if value.width > 1:
            with self.x.masked(value):
                self.body(body)
            return
        tiles = [self.x.tiles[name] for name in written_tiles(body) if name in self.x.tiles]
        with self.function.branch(value, [v for tile in tiles for v in tile.flat()]) as state:
            with self._inner_names():
                self.body(body)
            state.next = [v for tile in tiles for v in tile.flat()]
        _refill(tiles, state.result)

    # Memory

    def _local(self, buffer: Buffer) -> None:
        if buffer.space == "register":
            width = self.x.width_of(buffer.dtype)
            while width > 1 and buffer.shape and width // 2 >= buffer.shape[-1]:
                width //= 2
            tile = Tile(buffer, width if buffer.shape else 1, [])
            zero = literal(0, buffer.dtype, tile.width)
            tile.fill([zero] * (tile.rows * tile.chunks))
            self.x.tiles[buffer.name] = tile
            return
        start = self._taken_bytes
        self._taken_bytes += -(-buffer.nbytes // SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT
        self.scratch_bytes = max(self.scratch_bytes, self._taken_bytes)
        self.x.buffers[buffer.name] = buffer
        base, offset = Val("%scratch", "ptr"), self.function.int_(start)
        self.x.pointers[buffer.name] = self.function.address(base, "i8", offset)

    def _store(self, store: Store) -> None:
        value = self.x.emit(store.value)
        if store.buffer in self.x.tiles:
            tile = self.x.tiles[store.buffer]
            row, chunk = self.x.tile_position(tile, store.index)
            tile.values[row][chunk] = self.x.widen(value, tile.width)
            return
        guard = None if store.guard is None else self.x.emit(store.guard)
        if self.x.mask is not None:
            guard = self.x.mask if guard is None else self._both(guard, self.x.mask)
        if guard is not None and guard.width == 1:
            with self.function.branch(guard):
                self._write(self.x.buffers[store.buffer], store.index, value, None)
            return
        self._write(self.x.buffers[store.buffer], store.index, value, guard)

    def _both(self, a: Val, b: Val) -> Val:
        width = max(a.width, b.width)
        return self.function.binary("and", self.x.widen(a, width), self.x.widen(b, width))

    def _write(self, buffer: Buffer, index: Sequence[Expr], value: Val, guard: Val | None) -> None:
        address = self.x.address(buffer, index)
        if self.x.lanes is None:
            self._write_one(buffer, address.offset, self._stored(buffer, value))
        elif address.stride == 1 and self.x.lanes.active > 1:
            wide = self.x.widen(value, self.x.lanes.width)
            self._write_vector(buffer, address.offset, self._stored(buffer, wide), guard)
        else:  # also a lone lane: LLVM 22 stores a truncated one at its full width
            for lane in range(self.x.lanes.active):
                element = self._stored(buffer, self.x.lane(value, lane))
                offset = address.at_lane(self.x, lane)
                if guard is None:
                    self._write_one(buffer, offset, element)
                    continue
                with self.function.branch(self.x.lane(guard, lane)):
                    self._write_one(buffer, offset, element)

    def _stored(self, buffer: Buffer, value: Val) -> Val:
        if buffer.dtype.kind != "bool":
            return value
        type = vector("i8", value.width)
        return self.function.pure(f"zext {value} to {type}", type, value.width, value)

    def _write_one(self, buffer: Buffer, offset: Val, value: Val) -> None:
        place = self._place(buffer, offset)
        self.function.do(f"store {value}, {place}, align {buffer.dtype.itemsize}")

    def _place(self, buffer: Buffer, offset: Val) -> Val:
        return self.function.address(
            self.x.pointers[buffer.name], STORED[buffer.dtype.name], offset
        )

    def _prefetch(self, buffer: Buffer, index: Sequence[Expr]) -> None:
        """Bring the lines of the element, or those of all lanes, into the nearest cache, to be
        written where they are stored to."""
        self.function.declare("void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        written = int(buffer.access in ("out", "inout"))
        address = self.x.address(buffer, index)
        if address.offset.width > 1:
            return  # lanes that lie apart: as many lines as elements
        lanes = self.x.lanes.active if self.x.lanes and address.stride == 1 else 1
        for first in range(0, lanes, max(1, _LINE_BYTES // buffer.dtype.itemsize)):
            offset = self.function.iadd(address.offset, self.function.int_(first))
            place = self._place(buffer, offset)
            self.function.do(f"call void @llvm.prefetch.p0({place}, i32 {written}, i32 3, i32 1)")

    def _write_vector(self, buffer: Buffer, offset: Val, value: Val, guard: Val | None) -> None:
        place = self._place(buffer, offset)
        mask = self.x.lane_mask(guard)
        align = buffer.dtype.itemsize
        if mask is None and buffer.space == "formal" and buffer.nbytes > _STREAMED_BYTES:
            self._stream(place, value, align)
            return
        if mask is None:
            self.function.do(f"store {value}, {place}, align {align}")
            return
        name = f"@llvm.masked.store.{overload(value.type)}.p0"
        self.function.declare(f"void {name}({value.type}, ptr, i32, {mask.type})")
        self.function.do(f"call void {name}({value}, {place}, i32 {align}, {mask})")

    def _stream(self, place: Val, value: Val, align: int) -> None:
        """A store past the caches where the place allows it, which spares reading the lines."""
        function = self.function
        bits = function.here(f"ptrtoint {place} to i64", "i64")
        below = function.binary("and", bits, function.int_(_STREAMED_ALIGNMENT - 1))
        with function.branch(function.here(f"icmp eq {below}, 0", "i1")):
            how = f"align {_STREAMED_ALIGNMENT}, !nontemporal !{{i32 1}}"
            function.do(f"store {value}, {place}, {how}")
        with function.branch(function.here(f"icmp ne {below}, 0", "i1")):
            function.do(f"store {value}, {place}, align {align}")

    # Contractions

    def _contract(self, contract: Contract) -> None:
        tile = self.x.tiles[contract.tile]
        columns = [self._column(contract, tile, chunk) for chunk in range(tile.chunks)]
        for row in range(tile.rows):
            self.x.values[contract.row] = self.function.int_(row)
            a = self.x.widen(self.x.emit(contract.a), tile.width)
            for chunk, b in enumerate(columns):
                value = tile.values[row][chunk]
                dtype = tile.buffer.dtype
                tile.values[row][chunk] = self.x.scalars.call("fma", [a, b, value], dtype, dtype)

    def _column(self, contract: Contract, tile: Tile, chunk: int) -> Val:
        first = chunk * tile.width
        self.x.values[contract.column] = self.function.int_(first)
        active = min(tile.width, tile.columns - first)
        self.x.lanes = Lanes(contract.column, tile.width, active) if tile.width > 1 else None
        value = self.x.widen(self.x.emit(contract.b), tile.width)
        self.x.lanes = None
        return value


def _refill(tiles: Sequence[Tile], values: Sequence[Val]) -> None:
    start = 0
    for tile in tiles:
        count = tile.rows * tile.chunks
        tile.fill(values[start : start + count])
        start += count
