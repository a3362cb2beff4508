"""Kinds of planner bugs, each planted into right plans: the checker catches every one."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
from generate_schedules import kernel, library

from graphc.dtypes import bool_, float32, float64
from graphc.errors import PlanError
from graphc.loops import (
    Argument,
    Branch,
    Kernel,
    Launch,
    Repeat,
    Schedule,
    Storage,
    Store,
    call,
    index,
    load,
    mul,
    sub,
    variable,
)
from graphc.planning.barriers import BarrierPlan, place_barriers
from graphc.planning.check import check_plan
from graphc.planning.memory_plan import MemoryPlan
from graphc.planning.plan import plan_memory

N = 16
Planned = tuple[Schedule, MemoryPlan, BarrierPlan]
Bug = Callable[[Planned], Planned]


def launch(name: str, kind: str, *names: str, at: dict[int, object] | None = None) -> Launch:
    offsets = at or {}
    arguments = tuple(Argument(s, offsets.get(n, index(0))) for n, s in enumerate(names))  # type: ignore[arg-type]  # expressions
    return Launch(name, kind, arguments)


def vector(name: str, purpose: str, length: int = N) -> Storage:
    return Storage(name, (length,), float32, purpose)  # type: ignore[arg-type]  # a literal


def base() -> Planned:
    """A chain, a scan with a carry and a stack, a branch; all launches on all threads."""
    t = variable("t")
    scan = Repeat(
        "t",
        3,
        (
            launch("inside", "unary", "carry", "local"),
            launch("carry", "update", "carry", "local"),
            launch("push", "reverse", "carry", "stack", at={1: mul(t, N)}),
        ),
    )
    choice = Branch(
        Argument("flag", index(0)),
        (launch("yes.1", "reverse", "h", "only"), launch("yes.2", "unary", "only", "phi")),
        (launch("no", "unary", "x", "phi"),),
    )
    steps = (
        launch("a", "unary", "x", "a"),
        launch("b", "reverse", "a", "b"),
        launch("c", "binary", "a", "b", "h"),
        launch("start", "unary", "h", "carry"),
        scan,
        choice,
        launch("top", "binary", "phi", "h", "d"),
        launch("row", "fold", "d", "stack", "e", at={1: index(2 * N)}),
        launch("state", "update", "w", "e"),
        launch("low", "low", "e", "parts"),
        launch("high", "high", "h", "parts"),
        launch("end", "unary", "parts", "y"),
    )
    temporaries = ("a", "b", "h", "carry", "local", "only", "phi", "d", "e", "parts")
    storages = (
        vector("x", "input"),
        Storage("flag", (), bool_, "input"),
        vector("w", "state"),
        vector("k", "constant"),
        vector("y", "output"),
        vector("stack", "temporary", 3 * N),
        *(vector(name, "temporary") for name in temporaries),
    )
    schedule = Schedule("base", storages, library(N), steps, ("x", "flag"), ("y",), {"k": "digest"})
    plan = plan_memory(schedule)
    return schedule, plan, place_barriers(schedule, plan, lambda launch: True)


# Mutations


def moved(name: str, onto: str) -> Bug:
    """A buffer put on another's bytes, all the plan's own numbers kept right."""

    def plant(planned: Planned) -> Planned:
        schedule, plan, _ = planned
        return settled(schedule, with_offset(plan, name, plan.offsets[onto]))

    return plant


def with_offset(plan: MemoryPlan, name: str, offset: int) -> MemoryPlan:
    buffers = tuple(replace(b, offset=offset) if b.name == name else b for b in plan.buffers)
    return replace(plan, buffers=buffers)


def settled(schedule: Schedule, plan: MemoryPlan) -> Planned:
    """Totals that fit the buffers, and the barriers of the plan."""
    made = replace(
        plan,
        arena_bytes=max(b.offset + b.bytes for b in plan.buffers),
        buffers=plan.buffers,
    )
    peak = made.peak()
    assert peak is not None
    made = replace(made, lower_bound_bytes=peak.live_bytes)
    return schedule, made, place_barriers(schedule, made, lambda launch: True)


def in_plan(change: Callable[[MemoryPlan], MemoryPlan]) -> Bug:
    return lambda planned: (planned[0], change(planned[1]), planned[2])


def in_buffer(name: str, /, **fields: object) -> Bug:
    def change(plan: MemoryPlan) -> MemoryPlan:
        buffers = tuple(replace(b, **fields) if b.name == name else b for b in plan.buffers)  # type: ignore[arg-type]  # any fields
        return replace(plan, buffers=buffers)

    return in_plan(change)


def in_kernel(key: str, change: Callable[[Kernel], Kernel]) -> Bug:
    def plant(planned: Planned) -> Planned:
        schedule, plan, barriers = planned
        kernels = {**schedule.kernels, key: change(schedule.kernels[key])}
        return replace(schedule, kernels=kernels), plan, barriers

    return plant


def access(position: int, kind: str) -> Callable[[Kernel], Kernel]:
    def change(code: Kernel) -> Kernel:
        buffers = list(code.buffers)
        buffers[position] = replace(buffers[position], access=kind)  # type: ignore[arg-type]  # a literal
        return Kernel(code.name, tuple(buffers), code.body)

    return change


def in_launch(name: str, position: int, argument: Argument) -> Bug:
    """One argument of a top-level launch replaced."""

    def plant(planned: Planned) -> Planned:
        schedule, plan, barriers = planned
        steps = tuple(
            replace(
                step,
                arguments=(
                    *step.arguments[:position],
                    argument,
                    *step.arguments[position + 1 :],
                ),
            )
            if isinstance(step, Launch) and step.name == name
            else step
            for step in schedule.steps
        )
        return replace(schedule, steps=steps), plan, barriers

    return plant


def without_step(name: str) -> Bug:
    """A launch gone from the schedule; the plan is of what is left."""

    def plant(planned: Planned) -> Planned:
        schedule = planned[0]
        steps = tuple(s for s in schedule.steps if not isinstance(s, Launch) or s.name != name)
        changed = replace(schedule, steps=steps)
        plan = plan_memory(changed)
        return changed, plan, place_barriers(changed, plan, lambda launch: True)

    return plant


def retyped(name: str, /, **fields: object) -> Bug:
    def plant(planned: Planned) -> Planned:
        schedule, plan, barriers = planned
        storages = tuple(replace(s, **fields) if s.name == name else s for s in schedule.storages)  # type: ignore[arg-type]  # any fields
        return replace(schedule, storages=storages), plan, barriers

    return plant


def in_barriers(change: Callable[[BarrierPlan], BarrierPlan]) -> Bug:
    return lambda planned: (planned[0], planned[1], change(planned[2]))


def shifted(code: Kernel) -> Kernel:
    """y[i] = -a[15 - i]: an elementwise kernel that is not at the store's own index."""
    value = load("a", [sub(N - 1, variable("i"))], float32)
    return kernel("shifted", N, code.buffers, Store("y", (variable("i"),), call("neg", value)))


def twice(code: Kernel) -> Kernel:
    """y[i] = -a[i], then y[i] = a[i]: the second load comes after the first store."""
    value = load("a", [variable("i")], float32)
    at = (variable("i"),)
    stores = (Store("y", at, call("neg", value)), Store("y", at, value))
    return kernel("twice", N, code.buffers, *stores)


ZERO = index(0)
BUGS: dict[str, Bug] = {
    # offsets
    "a live buffer overwritten": moved("b", "a"),
    "a buffer live over a repeat overwritten inside": moved("local", "h"),
    "a carry overwritten in its repeat": moved("local", "carry"),
    "a stack overwritten in its repeat": moved("local", "stack"),
    "a buffer live over a branch overwritten in one arm": moved("only", "h"),
    "a result of both arms lost": moved("phi", "h"),
    "a buffer in parts overwritten between them": moved("parts", "h"),
    "in place where a load is at another index": moved("b", "a"),
    "in place in a kernel that folds": moved("e", "d"),
    "in place although the input is read later": moved("carry", "h"),
    "partial overlap": in_plan(lambda p: with_offset(p, "h", p.offsets["stack"] + 64)),
    "a negative offset": in_buffer("a", offset=-64),
    "an offset that is not aligned": in_buffer("d", offset=4),
    "an offset outside the arena": in_plan(lambda p: with_offset(p, "a", p.arena_bytes)),
    # sizes and totals
    "an arena too small": in_plan(lambda p: replace(p, arena_bytes=p.arena_bytes - 4)),
    "a buffer too small": in_buffer("stack", bytes=N * 4),
    "a buffer too large": in_buffer("b", bytes=8 * N),
    "a buffer missing": in_plan(lambda p: replace(p, buffers=p.buffers[1:])),
    "a buffer twice": in_plan(lambda p: replace(p, buffers=(*p.buffers, p.buffers[0]))),
    "a buffer of an unknown name": in_buffer("a", name="other"),
    "an output in the arena": in_buffer("a", name="y"),
    "an alignment of no power of two": in_plan(lambda p: replace(p, alignment=48)),
    "a lower bound too low": in_plan(
        lambda p: replace(p, lower_bound_bytes=p.lower_bound_bytes - 4)
    ),
    "a state left out of the total": in_plan(lambda p: replace(p, resident=p.resident[1:])),
    "a step too many": in_plan(lambda p: replace(p, steps=(*p.steps, "more"))),
    # lifetimes
    "a lifetime too short": in_buffer("h", spans=((2, 3),)),
    "a lifetime that never begins": in_buffer("b", spans=()),
    "a lifetime outside the schedule": in_buffer("parts", spans=((14, 99),)),
    # barriers
    "no barriers at all": in_barriers(lambda b: BarrierPlan(frozenset())),
    "no barrier in the repeat": in_barriers(lambda b: BarrierPlan(b.before - set(range(5, 8)))),
    "a barrier before an unknown step": in_barriers(lambda b: BarrierPlan(b.before | {99})),
    "a repeat on one thread": in_barriers(lambda b: BarrierPlan(b.before, frozenset({4}))),
    "a launch on one thread beside others": in_barriers(
        lambda b: BarrierPlan(b.before - {1}, frozenset({0}))
    ),
    # kernels
    "an input that is stored to": in_kernel("update", access(0, "in")),
    "an output that is read": in_kernel("update", access(0, "out")),
    "an output that is never stored to": in_kernel("unary", access(0, "out")),
    "an update read at another index": in_kernel("reverse", access(0, "inout")),
    "a kernel that does not exist": lambda p: (
        replace(p[0], kernels={k: v for k, v in p[0].kernels.items() if k != "fold"}),
        p[1],
        p[2],
    ),
    "a shifted load, its output in place": lambda p: in_kernel("unary", shifted)(p),
    "a second store, its output in place": lambda p: in_kernel("unary", twice)(p),
    # arguments and storages
    "a read before any write": in_launch("b", 0, Argument("parts", ZERO)),
    "an input written": in_launch("c", 2, Argument("x", ZERO)),
    "a constant written": in_launch("c", 2, Argument("k", ZERO)),
    "an argument outside its storage": in_launch("b", 1, Argument("b", index(4))),
    "an argument before its storage": in_launch("b", 0, Argument("a", index(-1))),
    "an unknown storage": in_launch("b", 0, Argument("nothing", ZERO)),
    "an index of no repeat": in_launch("b", 0, Argument("a", variable("t"))),
    "another element type": retyped("y", dtype=float64),
    "a flag that is no bool": retyped("flag", dtype=float32),
    "an argument missing": lambda p: (
        replace(p[0], steps=(replace(p[0].steps[0], arguments=()), *p[0].steps[1:])),  # type: ignore[arg-type]  # a launch
        p[1],
        p[2],
    ),
    "an output that is not written": without_step("end"),
    "a read of what only one arm writes": lambda p: in_launch("top", 0, Argument("only", ZERO))(p),
    "half of a buffer never written": in_launch("row", 1, Argument("parts", ZERO)),
}


def test_the_base_is_right() -> None:
    schedule, plan, barriers = base()
    check_plan(schedule, plan, barriers)
    assert plan.offsets["carry"] != plan.offsets["h"]


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_caught(name: str) -> None:
    with pytest.raises(PlanError):
        check_plan(*BUGS[name](base()))


def test_any_two_buffers_that_live_at_once_are_told_apart() -> None:
    """Every pair whose lifetimes meet at more than the handover: moved together, refused."""
    schedule, plan, _ = base()
    caught = 0
    for one, other in combinations(plan.buffers, 2):
        steps = [
            {p for first, last in b.spans for p in range(first, last + 1)} for b in (one, other)
        ]
        if len(steps[0] & steps[1]) > 1:
            caught += 1
            with pytest.raises(PlanError):
                check_plan(*moved(other.name, one.name)((schedule, plan, BarrierPlan(frozenset()))))
    assert caught > 10
