"""Kernels: statements on buffers, with independent loops as axes of arrays.

Independent loops (parallel, vector, block, thread) become axes, the innermost leftmost, so that
an array made outside a loop broadcasts inside it. Serial and unrolled loops run one iteration
after another, for all lanes at once; lanes that have left such a loop are masked. Accesses
outside a buffer are errors, and what nothing has stored reads as NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from graphc.dtypes import DType
from graphc.errors import VerifyError
from graphc.loops import combine
from graphc.loops.arithmetic import Array
from graphc.loops.evaluate.folds import Fold
from graphc.loops.evaluate.scalars import call, literal
from graphc.loops.expressions import Call, Expr, Item, Literal, Load, Reduce, Variable
from graphc.loops.kernel import Buffer, Contract, Kernel, Let, Local, Loop, Statement, Store, When

# Elements of one array that evaluation aims at: outer loops and reductions are cut to it.
TARGET_ELEMENTS = 1 << 18

INDEPENDENT = frozenset({"parallel", "vector", "block", "thread"})


def run_kernel(kernel: Kernel, arrays: Mapping[str, Array]) -> None:
    """Run a kernel on arrays by the names of its formal buffers; results are stored into them.

    An array has the buffer's logical shape, or is flat: its elements as they lie in memory.
    Raises VerifyError for arrays that do not fit, and for an access outside a buffer.
    """
    memory = {}
    for buffer in kernel.buffers:
        if buffer.name not in arrays:
            raise VerifyError(f"kernel {kernel.name}: no array for buffer {buffer.name}")
        memory[buffer.name] = Memory(buffer, logical_view(arrays[buffer.name], buffer))
    with np.errstate(all="ignore"):
        Evaluation(kernel.name, memory).run(kernel.body)


def evaluate_expr(
    expr: Expr,
    variables: Mapping[str, Any] | None = None,
    buffers: Sequence[tuple[Buffer, Array]] = (),
) -> Array:
    """The value of an expression, given its free variables and the buffers that it loads from.

    >>> from graphc.loops import add, mul, variable
    >>> int(evaluate_expr(add(mul(variable("i"), 3), 1), {"i": 2}))
    7
    """
    memory = {buffer.name: Memory(buffer, logical_view(array, buffer)) for buffer, array in buffers}
    scalars = {name: np.asarray(value) for name, value in (variables or {}).items()}
    with np.errstate(all="ignore"):
        return Evaluation("expression", memory, scalars).value(expr)


def logical_view(array: Array, buffer: Buffer) -> Array:
    """A buffer's elements by logical index: a view, so that stores reach the array."""
    if array.dtype != buffer.dtype.numpy:
        raise VerifyError(f"buffer {buffer.name}: {array.dtype} given, {buffer.dtype} expected")
    if array.ndim == 1 and array.size == buffer.size:
        order = buffer.order or tuple(range(len(buffer.shape)))
        laid_out = array.reshape([buffer.shape[dimension] for dimension in order])
        return laid_out.transpose([order.index(dimension) for dimension in range(len(order))])
    if array.shape == buffer.shape:
        return array
    raise VerifyError(f"buffer {buffer.name}: shape {array.shape} given, {buffer.shape} expected")


def undefined(shape: tuple[int, ...], dtype: DType) -> Array:
    """Memory that nothing has stored to: NaN, or an unlikely integer."""
    return np.full(shape, np.nan if dtype.is_float else 77, dtype.numpy)


@dataclass
class Memory:
    """A buffer's elements: logical dimensions, then the axes of the loops it was declared in."""

    buffer: Buffer
    array: Array
    axes: tuple[int, ...] = ()

    def coordinates(self) -> tuple[Array, ...]:
        """Each lane's own place along the declaring loops' axes."""
        return tuple(np.ogrid[tuple(slice(extent) for extent in self.axes)])


@dataclass
class Evaluation:
    """The state of a run.

    space    extents of the axes that loops have become, the innermost first
    active   lanes that execute; None: all
    """

    name: str
    memory: dict[str, Memory]
    scalars: dict[str, Array] = field(default_factory=dict)
    space: tuple[int, ...] = ()
    active: Array | None = None

    # Statements

    def run(self, body: Sequence[Statement]) -> None:
        """Execute statements in a scope of their own."""
        scalars, memory = self.scalars, self.memory
        self.scalars, self.memory = dict(scalars), dict(memory)
        for statement in body:
            self.execute(statement)
        self.scalars, self.memory = scalars, memory

    def execute(self, statement: Statement) -> None:
        match statement:
            case Let(name, value):
                self.scalars[name] = self.value(value)
            case Store(buffer, index, value, guard):
                with self.masked(guard):
                    self.store(buffer, index, value)
            case Local(declared):
                array = undefined(declared.shape + self.space, declared.dtype)
                self.memory[declared.name] = Memory(declared, array, self.space)
            case When(condition, body):
                with self.masked(condition):
                    self.run(body)
            case Loop(kind=kind) if kind in INDEPENDENT:
                self.spread(statement)
            case Loop():
                self.iterate(statement)
            case Contract():
                self.contract(statement)

    @contextmanager
    def masked(self, condition: Expr | None) -> Iterator[None]:
        """Only lanes where the condition holds execute."""
        before = self.active
        if condition is not None:
            self.narrow(self.value(condition))
        yield
        self.active = before

    def narrow(self, condition: Array) -> None:
        if self.active is not None:
            self.active = self.active & condition
        elif not condition.all():
            self.active = condition

    @property
    def idle(self) -> bool:
        return self.active is not None and not self.active.any()

    @contextmanager
    def axis(self, extent: int, indices: Mapping[str, Array]) -> Iterator[None]:
        """A new leftmost axis, along which the given variables have these values."""
        space, scalars, active = self.space, self.scalars, self.active
        column = (extent,) + (1,) * len(space)
        self.space = (extent, *space)
        self.scalars = scalars | {name: array.reshape(column) for name, array in indices.items()}
        yield
        self.space, self.scalars, self.active = space, scalars, active

    def bounds(self, loop: Loop) -> tuple[Array, Array, int]:
        """Lower and upper bound, and the most iterations of any lane that executes."""
        lower, upper = self.value(loop.lower), self.value(loop.upper)
        trips = -((lower - upper) // loop.step)
        if self.active is not None:
            trips = np.where(self.active, trips, 0)
        return lower, upper, max(int(trips.max(initial=0)), 0)

    def spread(self, loop: Loop) -> None:
        """Iterations as lanes of a new axis; the outermost loop is cut into pieces."""
        lower, upper, trips = self.bounds(loop)
        piece = max(1, trips if self.space else TARGET_ELEMENTS // width(loop.body))
        for start in range(0, trips, piece):
            counts = np.arange(start, min(start + piece, trips)) * loop.step
            with self.axis(counts.size, {loop.var: counts}):
                self.scalars[loop.var] = index = self.scalars[loop.var] + lower
                self.narrow(np.asarray(index < upper))
                self.run(loop.body)

    def iterate(self, loop: Loop) -> None:
        """Iterations in order; lanes whose bound is reached rest."""
        lower, upper, trips = self.bounds(loop)
        active, scalars = self.active, self.scalars
        for trip in range(trips):
            index = np.asarray(lower + trip * loop.step)
            self.scalars = {**scalars, loop.var: index}
            self.narrow(np.asarray(index < upper))
            self.run(loop.body)
            self.scalars, self.active = scalars, active

    def contract(self, statement: Contract) -> None:
        tile = self.find(statement.tile).buffer
        rows, columns = tile.shape
        at = (Variable(statement.row), Variable(statement.column))
        held = (Load(tile.name, at, tile.dtype),)
        (value,) = combine.step("dot", held, (statement.a, statement.b))
        with (
            self.axis(rows, {statement.row: np.arange(rows)}),
            self.axis(columns, {statement.column: np.arange(columns)}),
        ):
            self.store(tile.name, at, value)

    # Memory

    def find(self, name: str) -> Memory:
        if name not in self.memory:
            raise VerifyError(f"kernel {self.name}: no buffer {name}")
        return self.memory[name]

    def places(self, memory: Memory, index: Sequence[Expr]) -> tuple[Array, ...]:
        """The index arrays of an access, checked for the lanes that execute."""
        buffer = memory.buffer
        if len(index) != len(buffer.shape):
            raise VerifyError(
                f"kernel {self.name}: {len(index)} indices of {buffer.name}, shape {buffer.shape}"
            )
        found = [self.value(part) for part in index]
        for k, (place, extent) in enumerate(zip(found, buffer.shape, strict=True)):
            outside = np.asarray((place < 0) | (place >= extent))
            if outside.any():
                self.check_idle(buffer, place, outside)
                found[k] = np.where(outside, 0, place)
        return (*found, *memory.coordinates())

    def check_idle(self, buffer: Buffer, place: Array, outside: Array) -> None:
        """An index outside its dimension is an error in a lane that executes."""
        wrong = outside if self.active is None else outside & self.active
        if wrong.any():
            example = np.broadcast_to(place, wrong.shape)[wrong].flat[0]
            raise VerifyError(
                f"kernel {self.name}: index {example} in {buffer.name}, shape {buffer.shape}"
            )

    def load(self, expr: Load) -> Array:
        memory = self.find(expr.buffer)
        if expr.guard is None:
            return self.fetch(memory, expr.index)
        assert expr.fill is not None, "a guarded load says what it gives elsewhere"
        guard = self.value(expr.guard)
        before = self.active
        self.narrow(guard)
        found = self.fetch(memory, expr.index)
        self.active = before
        return np.where(guard, found, literal(expr.fill))

    def fetch(self, memory: Memory, index: Sequence[Expr]) -> Array:
        if self.idle:
            return np.zeros((), memory.array.dtype)
        return np.asarray(memory.array[self.places(memory, index)])

    def store(self, name: str, index: Sequence[Expr], expr: Expr) -> None:
        memory = self.find(name)
        if self.idle or 0 in self.space:
            return
        value, places = self.value(expr), self.places(memory, index)
        if value.dtype != memory.array.dtype:
            raise VerifyError(f"kernel {self.name}: {value.dtype} stored into {memory.buffer}")
        active = np.asarray(True) if self.active is None else self.active
        *places_of_lanes, values, active = np.broadcast_arrays(*places, value, active)
        if self.active is not None or not places:
            places_of_lanes = [place[active] for place in places_of_lanes]
            values = values[active] if places else values[active][-1]
        memory.array[tuple(places_of_lanes)] = values

    # Expressions

    def value(self, expr: Expr) -> Array:
        return self.compute(expr, {})

    def compute(self, expr: Expr, known: dict[int, list[Array]]) -> Array:
        """`known` holds the values of nodes met before in this expression, by identity."""
        if id(expr) not in known:
            known[id(expr)] = self.compute_new(expr, known)
        return known[id(expr)][0]

    def compute_new(self, expr: Expr, known: dict[int, list[Array]]) -> list[Array]:
        """An expression's value; a fold over tuples gives several, picked by Item."""
        match expr:
            case Literal():
                return [literal(expr)]
            case Variable(name):
                if name not in self.scalars:
                    raise VerifyError(f"kernel {self.name}: no variable {name}")
                return [self.scalars[name]]
            case Call():
                return [call(expr, lambda arg: self.compute(arg, known))]
            case Load():
                return [self.load(expr)]
            case Reduce():
                return self.reduce(expr)
            case Item(reduce, position):
                self.compute(reduce, known)
                return [known[id(reduce)][position]]

    def reduce(self, expr: Reduce) -> list[Array]:
        """The accumulators after all elements, which are evaluated some groups at a time."""
        fold = Fold(expr, self.space)
        extents = [axis.extent for axis in expr.axes]
        group = max(prod(self.space), 1) * expr.lanes
        piece = max(TARGET_ELEMENTS // group, 1) * expr.lanes
        row = extents[-1] if expr.lanes > 1 and extents else prod(extents)
        starts = (
            (first, at)
            for first in range(0, prod(extents), max(row, 1))
            for at in range(0, row, piece)
        )
        for first, at in starts:
            counts = np.arange(first + at, first + min(at + piece, row))
            indices = np.unravel_index(counts, extents) if extents else ()
            places = {axis.name: i for axis, i in zip(expr.axes, indices, strict=True)}
            with self.axis(counts.size, places):
                fold.take(*self.elements(expr))
        return fold.finish()

    def elements(self, expr: Reduce) -> tuple[list[Array], Array | None]:
        """The bodies, and which of them count, over all lanes of the space."""
        where = None
        if expr.where is not None:
            where = np.broadcast_to(self.value(expr.where), self.space)
            self.narrow(where)
        return [np.broadcast_to(self.value(body), self.space) for body in expr.body], where


def width(body: Sequence[Statement]) -> int:
    """The most elements an array inside a body has for one lane, as far as extents are known."""
    return max((_statement_width(statement) for statement in body), default=1)


def _statement_width(statement: Statement) -> int:
    match statement:
        case Loop(kind, _, Literal(value=lower), Literal(value=upper), body, step):
            trips = max(-(-int(upper - lower) // step), 1)
            return width(body) * (trips if kind in INDEPENDENT else 1)
        case Loop(body=body) | When(body=body):
            return width(body)
        case Local(buffer):
            return max(buffer.size, 1)
        case _:
            return 1
