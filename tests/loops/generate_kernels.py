"""Random kernels and schedules that the verifier accepts, for tests of text and structure.

Every statement, every form of expression and every primitive operation turns up; indices stay
inside their buffers by construction. What the kernels compute has no meaning.
"""

from __future__ import annotations

import math
from random import Random

from hypothesis import strategies as st

from graphc.dtypes import ALL, DType, bool_, float32, float64, int64
from graphc.loops import (
    Argument,
    Axis,
    Branch,
    Buffer,
    Call,
    Contract,
    Expr,
    Item,
    Kernel,
    Launch,
    Let,
    Literal,
    Load,
    Local,
    Loop,
    Reduce,
    Repeat,
    Schedule,
    Statement,
    Step,
    Storage,
    Store,
    Variable,
    When,
)
from graphc.loops.build import COMPARISONS
from graphc.loops.intervals import whole
from graphc.loops.kernel import Access, LoopKind, Space
from graphc.loops.operations import TABLE
from graphc.loops.schedule import Purpose

ACCESSES: tuple[Access, ...] = ("in", "out", "out")
LOCAL_ACCESSES: tuple[Access, ...] = ("in", "in", "inout")
SPACES: tuple[Space, ...] = ("register", "scratch", "shared")
IN_ORDER: tuple[LoopKind, ...] = ("serial", "unroll")
CONCURRENT: tuple[LoopKind, ...] = ("parallel", "vector", "block", "thread")
PURPOSES: tuple[Purpose, ...] = ("output", "state", "temporary")
HOSTILE = ("a b", "reduce", "f32", "in", "and", "x.y", "é\n", '"', "3", "nan", "store", "step", "%")
FLOAT_EDGES = (0.0, -0.0, 0.1, math.inf, -math.inf, math.nan, 1e-300, -2.5)


class Maker:
    """One kernel in the making: the names in scope and how many were made."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.count = 0
        self.variables: list[Variable] = []
        self.spans: dict[str, int] = {}  # loop variable -> it is below
        self.concurrent = 0  # concurrent loops around
        self.buffers: list[Buffer] = []

    def name(self) -> str:
        self.count += 1
        if self.random.random() < 0.1:
            return f"{self.random.choice(HOSTILE)}{self.count}" * self.random.randint(1, 2)
        return f"{self.random.choice('abxyz')}{self.count}"

    def shape(self) -> tuple[int, ...]:
        return tuple(self.random.randint(1, 6) for _ in range(self.random.randint(0, 3)))

    def order(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.random.random() < 0.7:
            return ()
        return tuple(self.random.sample(range(len(shape)), len(shape)))

    def kernel(self) -> Kernel:
        self.formals = [self.formal() for _ in range(self.random.randint(1, 4))]
        self.buffers = list(self.formals)
        return Kernel(self.name(), tuple(self.formals), self.body(0))

    def formal(self) -> Buffer:
        shape, dtype = self.shape(), self.random.choice(ALL)
        access = self.random.choice(ACCESSES)
        return Buffer(self.name(), shape, dtype, self.order(shape), access)

    # Statements

    def body(self, depth: int) -> tuple[Statement, ...]:
        kept = len(self.variables), len(self.buffers)
        statements = [self.statement(depth) for _ in range(self.random.randint(1, 3))]
        del self.variables[kept[0] :], self.buffers[kept[1] :]
        return tuple(statements)

    def statement(self, depth: int) -> Statement:
        simple = (self.let, self.store, self.local, self.contract)
        nested = (self.loop, self.parallel, self.when)
        if depth < 3 and self.random.random() < 0.4:
            return self.random.choice(nested)(depth)
        return self.random.choice(simple)()

    def let(self) -> Statement:
        value = self.expr(self.random.choice(ALL), 3)
        variable = Variable(self.name(), value.dtype)
        self.variables.append(variable)
        return Let(variable.name, value)

    def store(self) -> Statement:
        writable = [b for b in self.buffers if b.access == "out" or b.space != "formal"]
        if not writable:
            return self.let()
        buffer = self.random.choice(writable)
        guard = self.expr(bool_, 2) if self.random.random() < 0.3 else None
        return Store(buffer.name, self.index(buffer), self.expr(buffer.dtype, 3), guard)

    def local(self) -> Statement:
        shape = self.shape()
        space = self.random.choice(SPACES)
        dtype, access = self.random.choice(ALL), self.random.choice(LOCAL_ACCESSES)
        buffer = Buffer(self.name(), shape, dtype, self.order(shape), access, space)
        self.buffers.append(buffer)
        return Local(buffer)

    def contract(self) -> Statement:
        tiles = [
            b
            for b in self.buffers
            if b.space != "formal" and len(b.shape) == 2 and b.dtype.is_float
        ]
        if not tiles:
            return self.local()
        tile = self.random.choice(tiles)
        row, column = self.name(), self.name()
        factors = []
        for name, extent in zip((row, column), tile.shape, strict=True):
            self.enter(name, extent)
            factors.append(self.expr(tile.dtype, 2))
            self.variables.pop()
        return Contract(tile.name, row, column, *factors)

    def enter(self, name: str, below: int) -> None:
        self.variables.append(Variable(name))
        self.spans[name] = below

    def loop(self, depth: int) -> Statement:
        lower, upper, step = self.random.randint(0, 3), self.random.randint(0, 9), 1
        if self.random.random() < 0.3:
            step = self.random.randint(2, 4)
        name = self.name()
        end: Expr = Literal(upper, int64)
        if self.random.random() < 0.3:
            end = Call("min", (end, self.expr(int64, 2)), int64)
        self.enter(name, max(1, upper))
        body = self.body(depth + 1)
        self.variables.pop()
        return Loop(self.random.choice(IN_ORDER), name, Literal(lower, int64), end, body, step)

    def parallel(self, depth: int) -> Statement:
        """Stores inside go to locals, or to an element of the loop's own."""
        name, extent = self.name(), self.random.randint(0, 6)
        outside = self.buffers
        self.buffers = [
            buffer for buffer in outside if buffer.access == "in" and buffer.space == "formal"
        ]
        self.enter(name, max(1, extent))
        self.concurrent += 1
        body = self.body(depth + 1)
        self.concurrent -= 1
        owned = [
            b
            for b in self.formals
            if b.access == "out" and len(b.shape) == 1 and b.shape[0] >= extent
        ]
        if owned and not self.concurrent:
            buffer = self.random.choice(owned)
            value = self.expr(buffer.dtype, 2)
            body = (*body, Store(buffer.name, (Variable(name),), value))
        self.variables.pop()
        self.buffers = outside
        kind = self.random.choice(CONCURRENT)
        return Loop(kind, name, Literal(0, int64), Literal(extent, int64), body)

    def when(self, depth: int) -> Statement:
        return When(self.expr(bool_, 2), self.body(depth + 1))

    # Expressions

    def index(self, buffer: Buffer) -> tuple[Expr, ...]:
        return tuple(self.below(extent) for extent in buffer.shape)

    def below(self, extent: int) -> Expr:
        """An index in 0..extent-1."""
        fitting = [v for v in self.variables if self.spans.get(v.name, extent + 1) <= extent]
        if fitting and self.random.random() < 0.5:
            return self.random.choice(fitting)
        if self.random.random() < 0.4:
            return Literal(self.random.randrange(extent), int64)
        return Call("mod", (self.expr(int64, 2), Literal(extent, int64)), int64)

    def expr(self, dtype: DType, depth: int) -> Expr:
        if depth > 0:
            makers = (self.call, self.call, self.load, self.fold, self.conversion)
            if self.random.random() < 0.7:
                return self.random.choice(makers)(dtype, depth - 1)
        known = [variable for variable in self.variables if variable.dtype == dtype]
        if known and self.random.random() < 0.6:
            return self.random.choice(known)
        return self.literal(dtype)

    def literal(self, dtype: DType) -> Literal:
        if dtype.is_float:
            return Literal(self.random.choice(FLOAT_EDGES), dtype)
        if dtype == bool_:
            return Literal(self.random.random() < 0.5, bool_)
        limits = whole(dtype)
        small = self.random.randint(max(limits.low, -9), 99)
        return Literal(self.random.choice((small, small, limits.low, limits.high)), dtype)

    def call(self, dtype: DType, depth: int) -> Expr:
        if dtype == bool_ and self.random.random() < 0.6:
            operands = self.random.choice(ALL)
            op = self.random.choice(sorted(COMPARISONS))
            return Call(op, (self.expr(operands, depth), self.expr(operands, depth)), bool_)
        fitting = [
            op
            for op, row in TABLE.items()
            if row.takes(dtype) and op not in COMPARISONS and op not in ("cast", "bitcast")
        ]
        op = self.random.choice(fitting)
        first = bool_ if op == "select" else dtype
        rest = [self.expr(dtype, depth) for _ in range(TABLE[op].operands - 1)]
        return Call(op, (self.expr(first, depth), *rest), dtype)

    def conversion(self, dtype: DType, depth: int) -> Expr:
        same_width = [other for other in ALL if other.itemsize == dtype.itemsize]
        if self.random.random() < 0.3:
            return Call("bitcast", (self.expr(self.random.choice(same_width), depth),), dtype)
        return Call("cast", (self.expr(self.random.choice(ALL), depth),), dtype)

    def load(self, dtype: DType, depth: int) -> Expr:
        fitting = [buffer for buffer in self.buffers if buffer.dtype == dtype]
        if not fitting:
            return self.literal(dtype)
        buffer = self.random.choice(fitting)
        if self.random.random() < 0.3:
            guard = self.expr(bool_, depth)
            return Load(buffer.name, self.index(buffer), dtype, guard, self.literal(dtype))
        return Load(buffer.name, self.index(buffer), dtype)

    def fold(self, dtype: DType, depth: int) -> Expr:
        axes = [
            Axis(self.name(), self.random.randint(0, 5)) for _ in range(self.random.randint(0, 2))
        ]
        for axis in axes:
            self.enter(axis.name, max(1, axis.extent))
        where = self.expr(bool_, depth) if self.random.random() < 0.3 else None
        lanes = self.random.choice((1, 2, 8)) if axes else 1
        combine = self.random.choice(self.folds_of(dtype))
        body: tuple[Expr, ...] = (self.expr(dtype, depth),)
        if combine in ("dot", "sum_sum"):
            body = (*body, self.expr(dtype, depth))
        if combine.startswith("arg"):
            body = (*body, self.expr(int64, depth))
        fold = Reduce(combine, tuple(axes), body, dtype, where, lanes)
        if axes:
            del self.variables[-len(axes) :]
        if combine == "sum_sum":
            return Item(fold, self.random.randint(0, 1), dtype)
        if not combine.startswith("arg"):
            return fold
        return Item(fold, 1, int64) if dtype == int64 and depth else Item(fold, 0, dtype)

    def folds_of(self, dtype: DType) -> list[str]:
        if dtype == bool_:
            return ["any", "all", "max", "min"]
        return ["sum", "prod", "max", "min", "dot", "sum_sum", "argmax", "argmin"]


def make_kernel(random: Random) -> Kernel:
    return Maker(random).kernel()


class ScheduleMaker:
    """One schedule: kernels, storages that fit their buffers, and steps that launch them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.names = Maker(random)
        self.indices: list[tuple[str, int]] = []

    def schedule(self) -> Schedule:
        self.kernels = {self.names.name(): make_kernel(self.random) for _ in range(2)}
        self.storages = [self.storage(dtype) for dtype in ALL for _ in range(2)]
        self.constants = [self.storage(float32, "constant")]
        flag = self.storage(bool_)
        self.flag = flag.name
        storages = (*self.storages, *self.constants, flag, self.storage(float64, "input"))
        steps = self.steps(0)
        data = {storage.name: "0123" for storage in self.constants}
        outputs = tuple(storage.name for storage in self.storages[:2])
        return Schedule(
            self.names.name(), storages, self.kernels, steps, (storages[-1].name,), outputs, data
        )

    def storage(self, dtype: DType, purpose: Purpose | None = None) -> Storage:
        shape = (self.random.randint(216, 300), 6)
        chosen = self.random.choice(PURPOSES) if purpose is None else purpose
        source = self.random.choice(((), ("net.py:1",), ('a "b".py:1', "c.py:2")))
        return Storage(self.names.name(), shape, dtype, chosen, self.names.order(shape), source)

    def steps(self, depth: int) -> tuple[Step, ...]:
        return tuple(self.step(depth) for _ in range(self.random.randint(0, 3)))

    def step(self, depth: int) -> Step:
        kind = self.random.random() if depth < 3 else 1.0
        if kind < 0.2:
            return Branch(
                Argument(self.flag, self.offset()), self.steps(depth + 1), self.steps(depth + 1)
            )
        if kind < 0.4:
            index, count = self.names.name(), self.random.randint(0, 5)
            self.indices.append((index, count))
            steps = self.steps(depth + 1)
            self.indices.pop()
            return Repeat(index, count, steps)
        return self.launch()

    def launch(self) -> Launch:
        key = self.random.choice(sorted(self.kernels))
        arguments = tuple(
            Argument(
                self.random.choice([s.name for s in self.storages if s.dtype == b.dtype]),
                self.offset(),
            )
            for b in self.kernels[key].buffers
        )
        ops = tuple(self.names.name() for _ in range(self.random.randint(0, 2)))
        reason, source = (
            self.random.choice(("", "why", 'a "b"\n')),
            self.random.choice(((), ("n.py:3",))),
        )
        flops, size = self.random.choice((0, 12)), self.random.choice((0, 7))
        return Launch(self.names.name(), key, arguments, ops, source, reason, flops, size)

    def offset(self) -> Expr:
        if self.indices and self.random.random() < 0.5:
            index = Variable(self.random.choice(self.indices)[0])
            return Call(
                "add", (Call("mul", (index, Literal(3, int64)), int64), Literal(2, int64)), int64
            )
        return Literal(self.random.randint(0, 9), int64)


def make_schedule(random: Random) -> Schedule:
    return ScheduleMaker(random).schedule()


seeds = st.integers(0, 1 << 32)
kernels = seeds.map(lambda seed: make_kernel(Random(seed)))
schedules = seeds.map(lambda seed: make_schedule(Random(seed)))
