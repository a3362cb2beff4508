"""Random schedules of small real kernels, and a machine that runs them on a plan's bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from graphc.dtypes import bool_, float32
from graphc.loops import (
    Argument,
    Axis,
    Branch,
    Buffer,
    Expr,
    Kernel,
    Launch,
    Loop,
    Repeat,
    Schedule,
    Step,
    Storage,
    Store,
    add,
    call,
    const,
    index,
    less,
    load,
    mul,
    reduce,
    sub,
    variable,
)
from graphc.loops.evaluate import evaluate_expr, run_kernel
from graphc.planning.barriers import BarrierPlan
from graphc.planning.memory_plan import MemoryPlan

Array = np.ndarray[Any, Any]
LENGTHS = (4, 16, 40)


def formal(name: str, length: int, access: str = "in") -> Buffer:
    return Buffer(name, (length,), float32, access=access)  # type: ignore[arg-type]  # a literal


def at(buffer: str, place: Expr | None = None) -> Expr:
    return load(buffer, [variable("i") if place is None else place], float32)


def kernel(name: str, length: int, buffers: Sequence[Buffer], *stores: Store) -> Kernel:
    loop = Loop("parallel", "i", index(0), index(length), stores)
    return Kernel(name, tuple(buffers), (loop,))


def store(buffer: str, value: Expr, guard: Expr | None = None) -> Store:
    return Store(buffer, (variable("i"),), value, guard)


def half_plus_one(value: Expr) -> Expr:
    return call("add", call("mul", value, const(0.5, float32)), const(1, float32))


def library(n: int) -> dict[str, Kernel]:
    """Kernels over vectors of n elements, by what they do."""
    a, b = formal("a", n), formal("b", n)
    y, z = formal("y", n, "out"), formal("z", n, "out")
    i = variable("i")
    total = reduce("sum", [Axis("k", n)], at("b", variable("k")))
    low, high = less(i, 3), less(2, i)
    return {
        "fill": kernel("fill", n, [y], store("y", const(0.25, float32))),
        "unary": kernel("unary", n, [a, y], store("y", half_plus_one(at("a")))),
        "binary": kernel("binary", n, [a, b, y], store("y", call("sub", at("a"), at("b")))),
        "reverse": kernel("reverse", n, [a, y], store("y", at("a", sub(n - 1, i)))),
        "fold": kernel("fold", n, [a, b, y], store("y", call("sub", at("a"), total))),
        "update": kernel(
            "update",
            n,
            [formal("y", n, "inout"), a],
            store("y", half_plus_one(call("sub", at("y"), at("a")))),
        ),
        "two": kernel("two", n, [a, y, z], store("y", half_plus_one(at("a"))), store("z", at("a"))),
        "low": kernel("low", n, [a, y], store("y", at("a"), low)),
        "high": kernel("high", n, [a, y], store("y", at("a"), high)),
    }


@dataclass
class Maker:
    """Makes a schedule, step by step; only what was written is ever read."""

    random: Random
    storages: list[Storage] = field(default_factory=list)
    kernels: dict[str, Kernel] = field(default_factory=dict)
    count: int = 0

    def schedule(self, steps: int) -> Schedule:
        defined = {n: [self.new(n, "input"), self.new(n, "state")] for n in LENGTHS}
        inputs = [s.name for s in self.storages if s.purpose == "input"]
        for number in range(2):
            self.storages.append(Storage(f"flag{number}", (), bool_, "input"))
            inputs.append(f"flag{number}")
        body = self.steps(steps, defined, 2)
        outputs = []
        for n, names in defined.items():
            outputs.append(self.new(n, "output"))
            body += (self.launch("unary", n, [self.random.choice(names), outputs[-1]]),)
        return Schedule(
            "generated",
            tuple(self.storages),
            self.kernels,
            body,
            tuple(inputs),
            tuple(outputs),
        )

    def new(self, length: int, purpose: str = "temporary") -> str:
        name = f"{purpose[0]}{len(self.storages)}"
        source = (f"model.py:{len(self.storages)}",)
        made = Storage(name, (length,), float32, purpose, source=source)  # type: ignore[arg-type]  # a literal
        self.storages.append(made)
        return name

    def launch(
        self, kind: str, length: int, names: Sequence[str], moves: Mapping[int, Expr] | None = None
    ) -> Launch:
        key = f"{kind}{length}"
        self.kernels.setdefault(key, library(length)[kind])
        self.count += 1
        arguments = tuple(
            Argument(name, (moves or {}).get(number, index(0))) for number, name in enumerate(names)
        )
        return Launch(f"{key}.{self.count}", key, arguments)

    def steps(self, count: int, defined: dict[int, list[str]], depth: int) -> tuple[Step, ...]:
        made: tuple[Step, ...] = ()
        for _ in range(count):
            kind = self.random.randrange(10 if depth else 7)
            n = self.random.choice(LENGTHS)
            if kind < 7:
                made += self.plain(n, defined)
            elif kind == 7:
                made += self.branch(n, defined, depth)
            else:
                made += self.repeat(n, defined, depth)
        return made

    def plain(self, n: int, defined: dict[int, list[str]]) -> tuple[Step, ...]:
        pick = lambda: self.random.choice(defined[n])  # noqa: E731  # a draw, named
        match self.random.choice(
            ["fill", "unary", "unary", "binary", "reverse", "fold", "update", "two", "parts"]
        ):
            case "fill":
                made = [self.launch("fill", n, [self.define(n, defined)])]
            case "unary" | "reverse" as kind:
                made = [self.launch(kind, n, [pick(), self.define(n, defined)])]
            case "binary" | "fold" as kind:
                made = [self.launch(kind, n, [pick(), pick(), self.define(n, defined)])]
            case "two":
                source = pick()
                targets = [self.define(n, defined), self.define(n, defined)]
                made = [self.launch("two", n, [source, *targets])]
            case "parts":
                one, other, target = pick(), pick(), self.define(n, defined)
                made = [self.launch("low", n, [one, target])]
                made.append(self.launch("high", n, [other, target]))
            case _:
                targets = [
                    s.name
                    for s in self.storages
                    if s.name in defined[n] and s.purpose in ("state", "temporary")
                ]
                target = self.random.choice(targets)
                others = [name for name in defined[n] if name != target]
                made = [self.launch("update", n, [target, self.random.choice(others)])]
        return tuple(made)

    def define(self, n: int, defined: dict[int, list[str]]) -> str:
        """A new temporary; a random old one is forgotten, so that lifetimes end."""
        name = self.new(n)
        defined[n].append(name)
        if len(defined[n]) > 5:
            defined[n].pop(self.random.randrange(2, 4))
        return name

    def branch(self, n: int, defined: dict[int, list[str]], depth: int) -> tuple[Step, ...]:
        """Arms with temporaries of their own, and one result that both write."""
        result = self.new(n)
        arms = []
        for _ in range(2):
            inside = {length: list(names) for length, names in defined.items()}
            steps = self.steps(self.random.randrange(3), inside, depth - 1)
            last = self.launch("unary", n, [self.random.choice(inside[n]), result])
            arms.append((*steps, last))
        defined[n].append(result)
        flag = Argument(f"flag{self.random.randrange(2)}", index(0))
        return (Branch(flag, arms[0], arms[1]),)

    def repeat(self, n: int, defined: dict[int, list[str]], depth: int) -> tuple[Step, ...]:
        """A scan: a carry, a stack of results, and temporaries of one iteration."""
        count, t = self.random.randrange(1, 4), f"t{len(self.storages)}"
        carry, stack = self.new(n), self.new(n * count)
        inside = {length: list(names) for length, names in defined.items()}
        inside[n].append(carry)
        first = self.launch("unary", n, [self.random.choice(defined[n]), carry])
        body = self.steps(self.random.randrange(1, 4), inside, depth - 1)
        row = mul(variable(t), n)
        others = [name for name in inside[n] if name != carry]
        update = self.launch("update", n, [carry, self.random.choice(others)])
        push = self.launch("reverse", n, [carry, stack], {1: row})
        result = self.new(n)
        defined[n].append(result)
        place = index(self.random.randrange(count) * n)
        last = self.launch("unary", n, [stack, result], {0: place})
        after = [last]
        if count > 1:
            back = self.new(n)
            defined[n].append(back)
            start = self.launch("fill", n, [back])
            u = f"{t}u"
            down = add(mul(variable(u), -n), (count - 1) * n)
            take = self.launch("update", n, [back, stack], {1: down})
            after += [start]
            return (
                first,
                Repeat(t, count, (*body, update, push)),
                *after,
                Repeat(u, count, (take,)),
            )
        return (first, Repeat(t, count, (*body, update, push)), *after)


def make_schedule(random: Random, steps: int = 8) -> Schedule:
    return Maker(random).schedule(steps)


# A machine


def trace(
    schedule: Schedule, flags: Mapping[str, bool], before: frozenset[int] = frozenset()
) -> list[list[tuple[int, Launch, dict[str, int]]]]:
    """The launches that run, with their indexes, in groups between barriers."""
    groups: list[list[tuple[int, Launch, dict[str, int]]]] = [[]]

    def run(steps: Sequence[Step], position: int, indexes: dict[str, int], live: bool) -> int:
        for step in steps:
            here = position
            if live and here in before:
                groups.append([])
            position += 1
            match step:
                case Launch():
                    if live:
                        groups[-1].append((here, step, indexes))
                case Repeat(name, count, inner):
                    for value in range(count):
                        end = run(inner, here + 1, {**indexes, name: value}, live)
                    position = end if count else run(inner, here + 1, indexes, False)
                case Branch(flag, yes, no):
                    position = run(yes, position, indexes, live and flags[flag.storage])
                    position = run(no, position, indexes, live and not flags[flag.storage])
        return position

    run(schedule.steps, 0, {}, True)
    return groups


def execute(
    schedule: Schedule,
    values: Mapping[str, Array],
    plan: MemoryPlan | None = None,
    barriers: BarrierPlan | None = None,
    random: Random | None = None,
) -> dict[str, Array]:
    """State and outputs after a run: each storage apart, or temporaries in the plan's arena.

    With barriers, launches between two of them run in a random order; those on the first thread
    keep theirs.
    """
    arena = np.full(0 if plan is None else plan.arena_bytes, 0xFF, np.uint8)
    memory = {}
    for storage in schedule.storages:
        if plan is not None and storage.purpose == "temporary":
            start = plan.offsets[storage.name]
            memory[storage.name] = arena[start : start + storage.nbytes].view(np.float32)
        elif storage.name in values:
            memory[storage.name] = values[storage.name].copy()
        else:
            memory[storage.name] = np.full(storage.size, np.nan, np.float32)
    flags = {name: bool(array[0]) for name, array in values.items() if array.dtype == bool}
    before = frozenset() if barriers is None else barriers.before
    for group in trace(schedule, flags, before):
        if barriers is not None and random is not None:
            group = _shuffled(group, barriers.single, random)
        for _, launch, indexes in group:
            _run(schedule, launch, memory, indexes)
    return {s.name: memory[s.name] for s in schedule.storages if s.purpose in ("state", "output")}


def _shuffled(group: list[Any], single: frozenset[int], random: Random) -> list[Any]:
    order = list(group)
    random.shuffle(order)
    alone = iter([item for item in group if item[0] in single])
    return [next(alone) if item[0] in single else item for item in order]


def _run(
    schedule: Schedule, launch: Launch, memory: Mapping[str, Array], indexes: Mapping[str, int]
) -> None:
    code = schedule.kernels[launch.kernel]
    arrays = {}
    for buffer, argument in zip(code.buffers, launch.arguments, strict=True):
        start = int(evaluate_expr(argument.offset, dict(indexes)))
        arrays[buffer.name] = memory[argument.storage][start : start + buffer.size]
    run_kernel(code, arrays)


def random_values(schedule: Schedule, seed: int) -> dict[str, Array]:
    """Elements of every input and state."""
    generator = np.random.default_rng(seed)
    return {
        s.name: generator.integers(0, 2, 1).astype(bool)
        if s.dtype == bool_
        else generator.standard_normal(s.size, np.float32)
        for s in schedule.storages
        if s.purpose in ("input", "state")
    }
