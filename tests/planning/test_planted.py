"""Wrong plans, barriers and schedules that the checker must refuse, each for its own reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from graphc.errors import PlanError
from graphc.loops.build import index
from graphc.loops.parse import parse_schedule
from graphc.loops.schedule import Argument, Branch, Launch, Repeat, Schedule, Step
from graphc.loops.verify import verify_schedule
from graphc.planning.barriers import BarrierPlan, place_barriers
from graphc.planning.check import check_plan
from graphc.planning.memory_plan import MemoryPlan, PlannedBuffer
from graphc.planning.plan import plan_memory

# Every buffer of 16 floats is one slot of the arena: 64 bytes.
TEXT = """
schedule @s {
  input x: f32[16]
  input n: i64[16]
  state w: f32[16]
  output y: f32[16]
  output z: f32[64]
  temporary a: f32[16]
  temporary b: f32[16]
  temporary c: f32[16]
  temporary d: f32[16]
  temporary e: f32[16]
  temporary f: f32[16]
  temporary g: f32[64]
  temporary ok: bool[1]
  inputs x, n
  outputs y, z
  define one = kernel @one(in p: f32[16], out q: f32[16]) {
    parallel i in 0..16 { store q[i] = p[i] * f32(2.0) }
  }
  define turn = kernel @turn(in p: f32[16], out q: f32[16]) {
    parallel i in 0..16 { store q[i] = p[15 - i] }
  }
  define part = kernel @part(in p: f32[16], out q: f32[16]) {
    parallel i in 0..16 { store q[i] = p[i] where i < 8 }
  }
  define two = kernel @two(in p: f32[16], in o: f32[16], out q: f32[16]) {
    parallel i in 0..16 { store q[i] = p[i] + o[i] }
  }
  define all = kernel @all(in p: f32[64], out q: f32[64]) {
    parallel i in 0..64 { store q[i] = p[i] }
  }
  define test = kernel @test(in p: f32[16], out q: bool[1]) {
    parallel i in 0..1 { store q[i] = p[i] < f32(0.0) }
  }
  define bump = kernel @bump(inout p: f32[16]) {
    parallel i in 0..16 { store p[i] = p[i] + f32(1.0) }
  }
  launch l0 = one(x, a)
  launch l1 = one(a, b)
  launch l2 = turn(b, c)
  launch l3 = part(c, d)
  launch l4 = two(c, d, e)
  repeat t in 0..4 {
    launch l6 = one(e, f)
    launch l7 = two(f, x, g + t * 16)
  }
  launch l8 = test(x, ok)
  branch ok {
    launch l10 = one(e, y)
  } else {
    launch l11 = turn(e, y)
  }
  launch l12 = all(g, z)
  launch l13 = bump(w)
}"""

SCHEDULE = parse_schedule(TEXT)
PLAN = plan_memory(SCHEDULE)


def shared(launch: Launch) -> bool:
    return launch.kernel != "test"


BARRIERS = place_barriers(SCHEDULE, PLAN, shared)
LAUNCHES = {launch.name: launch for launch in SCHEDULE.launches()}


def test_what_the_corruptions_start_from_is_right() -> None:
    verify_schedule(SCHEDULE)
    check_plan(SCHEDULE, PLAN, BARRIERS, shared)
    assert PLAN.offsets["a"] == PLAN.offsets["b"]
    assert PLAN.lower_bound_bytes <= PLAN.arena_bytes


def edited(name: str, **fields: Any) -> MemoryPlan:
    """The plan with other fields of one buffer, and all totals right for them."""
    return counted(with_fields(name, **fields))


def with_fields(name: str, **fields: Any) -> MemoryPlan:
    buffers = tuple(replace(b, **fields) if b.name == name else b for b in PLAN.buffers)
    return replace(PLAN, buffers=buffers)


def counted(plan: MemoryPlan) -> MemoryPlan:
    arena = max(buffer.offset + buffer.bytes for buffer in plan.buffers)
    peak = plan.peak()
    assert peak is not None
    return replace(plan, arena_bytes=arena, lower_bound_bytes=peak.live_bytes)


def on(name: str, other: str) -> MemoryPlan:
    """The plan with one buffer on the bytes of another."""
    return edited(name, offset=PLAN.offsets[other])


def buffer(name: str) -> PlannedBuffer:
    return next(item for item in PLAN.buffers if item.name == name)


NEW = replace(buffer("a"), name="more")

PLANS: dict[str, tuple[MemoryPlan, str]] = {
    "a buffer is left out": (replace(PLAN, buffers=PLAN.buffers[1:]), r"\['a'\]"),
    "a buffer of no storage": (replace(PLAN, buffers=(*PLAN.buffers, NEW)), r"\['more'\]"),
    "a buffer twice": (replace(PLAN, buffers=(*PLAN.buffers, buffer("a"))), "of one name"),
    "misaligned": (edited("a", offset=PLAN.offsets["a"] + 4), "a at .* is not aligned"),
    "below the arena": (edited("a", offset=-64), "outside the arena"),
    "above the arena": (replace(PLAN, arena_bytes=PLAN.arena_bytes - 4), "outside the arena"),
    "an arena too large": (replace(PLAN, arena_bytes=PLAN.arena_bytes + 64), "arena's end"),
    "a buffer too small": (edited("g", bytes=128), "g has 128 bytes in the plan"),
    "a buffer too large": (edited("a", bytes=128), "a has 128 bytes in the plan"),
    "an alignment of 48": (replace(PLAN, alignment=48), "no power of two"),
    "a bound too low": (replace(PLAN, lower_bound_bytes=4), "lower bound is 4"),
    "a bound too high": (replace(PLAN, lower_bound_bytes=4096), "lower bound is 4096"),
    "a lifetime cut": (edited("e", spans=((4, 7),)), "e is touched at step 10"),
    "no lifetime": (edited("c", spans=()), "c is touched at step 2"),
    "a lifetime after the end": (with_fields("a", spans=((0, 99),)), "a lives at 0..99"),
    "a step less": (replace(PLAN, steps=PLAN.steps[1:]), "names 13 steps"),
    "an input unreported": (replace(PLAN, resident=PLAN.resident[1:]), "memory outside"),
    "an output too small": (
        replace(PLAN, resident=(replace(PLAN.resident[0], bytes=4), *PLAN.resident[1:])),
        "memory outside",
    ),
    "live buffers overlap in part": (
        edited("f", offset=PLAN.offsets["g"] + 64),
        "overlap at step",
    ),
    "reversed in place": (on("c", "b"), "share bytes, but a load of p is not at the index"),
    "overwritten before its last reader": (on("d", "c"), "overwritten"),
    "overwritten in the iteration before": (on("f", "e"), "l6 reads e .* overwritten"),
    "overwritten before the branch": (on("ok", "e"), "overwritten|overlap"),
}


@pytest.mark.parametrize("kind", PLANS)
def test_wrong_plans_are_refused(kind: str) -> None:
    plan, message = PLANS[kind]
    with pytest.raises(PlanError, match=message):
        check_plan(SCHEDULE, plan)


def steps_with(change: Callable[[Step], Step | None]) -> Schedule:
    """The schedule with each outer step changed, or left out."""
    changed = (change(step) for step in SCHEDULE.steps)
    return replace(SCHEDULE, steps=tuple(step for step in changed if step is not None))


def launch_with(name: str, **fields: Any) -> Schedule:
    old = LAUNCHES[name]
    return steps_with(lambda step: replace(old, **fields) if step is old else step)


def argument(name: str, number: int, storage: str, offset: int = 0) -> Schedule:
    """The schedule with another argument of a launch."""
    old = LAUNCHES[name]
    arguments = list(old.arguments)
    arguments[number] = Argument(storage, index(offset))
    return launch_with(name, arguments=tuple(arguments))


def access(kernel: str, *kinds: str) -> Schedule:
    """The schedule with a kernel that says something else of its formal buffers."""
    old = SCHEDULE.kernels[kernel]
    pairs = zip(old.buffers, kinds, strict=True)
    buffers = tuple(replace(buffer, access=kind) for buffer, kind in pairs)  # type: ignore[arg-type]  # planted
    return replace(SCHEDULE, kernels={**SCHEDULE.kernels, kernel: replace(old, buffers=buffers)})


def without_arm(step: Step) -> Step:
    return replace(step, no=()) if isinstance(step, Branch) else step


def without_turns(step: Step) -> Step:
    return replace(step, count=0) if isinstance(step, Repeat) else step


def swapped() -> Schedule:
    first, second, *rest = SCHEDULE.steps
    return replace(SCHEDULE, steps=(second, first, *rest))


SCHEDULES: dict[str, tuple[Schedule, str]] = {
    "an in that is stored to": (access("one", "in", "in"), "says in of q, but stores to it"),
    "an out that is read": (access("bump", "out"), "says out of p, but reads"),
    "an out that is never stored to": (access("one", "out", "out"), "says out of p, but"),
    "an inout read elsewhere": (access("turn", "inout", "out"), "says inout of p, but"),
    "an access of no kind": (access("one", "in", "both"), "no such access"),
    "an argument too few": (
        launch_with("l0", arguments=LAUNCHES["l0"].arguments[:1]),
        "1 arguments for 2 buffers",
    ),
    "an argument past the end": (argument("l12", 0, "g", 1), "elements 1..65 of g"),
    "an argument before the start": (argument("l12", 0, "g", -1), "elements -1..63 of g"),
    "an argument of another type": (argument("l0", 0, "n"), "p is float32, n holds int64"),
    "an input that is written": (argument("l13", 0, "x"), "l13 writes input x"),
    "no such kernel": (launch_with("l13", kernel="none"), "no kernel none"),
    "read before it is written": (swapped(), "never written"),
    "an output that one arm leaves": (steps_with(without_arm), "output y is not written"),
    "a repeat that never runs": (steps_with(without_turns), "l12 reads g .* never written"),
    "a flag that nothing sets": (
        steps_with(lambda step: None if step is LAUNCHES["l8"] else step),
        "branch on ok reads ok",
    ),
    "one storage read and written askew": (argument("l2", 1, "b"), "share bytes|never written"),
}


# Planned anew, so that the lifetimes are not what is wrong.
OF_OTHER_STEPS = (
    "a flag that nothing sets",
    "read before it is written",
    "an output that one arm leaves",
)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_schedules_that_break_their_kernels_are_refused(kind: str) -> None:
    schedule, message = SCHEDULES[kind]
    plan = plan_memory(schedule) if kind in OF_OTHER_STEPS else PLAN
    with pytest.raises(PlanError, match=message):
        check_plan(schedule, plan)


@pytest.mark.parametrize("position", sorted(BARRIERS.before))
def test_no_barrier_can_be_left_out(position: int) -> None:
    fewer = replace(BARRIERS, before=BARRIERS.before - {position})
    with pytest.raises(PlanError, match="no barrier between"):
        check_plan(SCHEDULE, PLAN, fewer)


def test_a_barrier_at_the_back_edge_is_needed() -> None:
    """The body's first launch writes what the last one of the iteration before reads."""
    assert {6, 7} <= BARRIERS.before
    fewer = replace(BARRIERS, before=BARRIERS.before - {6} | {5})
    with pytest.raises(PlanError, match=r"between l7.* and l6"):
        check_plan(SCHEDULE, PLAN, fewer)


BARRIER_PLANS: dict[str, tuple[BarrierPlan, str]] = {
    "none at all": (BarrierPlan(frozenset()), "no barrier between l0"),
    "before a step that is not": (
        replace(BARRIERS, before=BARRIERS.before | {99}),
        "before step 99",
    ),
    "a branch on one thread": (replace(BARRIERS, single=frozenset({9})), "step 9 is to run on one"),
    "a shared launch on one thread": (
        replace(BARRIERS, single=BARRIERS.single | {0}),
        "launch l0 is single",
    ),
    "a small launch on all threads": (replace(BARRIERS, single=frozenset()), "launch l8 is single"),
}


@pytest.mark.parametrize("kind", BARRIER_PLANS)
def test_wrong_barriers_are_refused(kind: str) -> None:
    barriers, message = BARRIER_PLANS[kind]
    with pytest.raises(PlanError, match=message):
        check_plan(SCHEDULE, PLAN, barriers, None if kind == "none at all" else shared)


LONG = """
schedule @long {
  input x: f32[16]
  output z: f32[48000]
  temporary g: f32[48000]
  temporary h: f32[48000]
  inputs x
  outputs z
  define one = kernel @one(in p: f32[16], out q: f32[16]) {
    parallel i in 0..16 { store q[i] = p[i] * f32(2.0) }
  }
  define all = kernel @all(in p: f32[48000], out q: f32[48000]) {
    parallel i in 0..48000 { store q[i] = p[i] }
  }
  repeat t in 0..30 {
    repeat s in 0..100 {
      launch first = one(x, g + t * 1600 + s * 16)
      launch second = one(g + t * 1600 + s * 16, h + t * 1600 + s * 16)
    }
  }
  launch last = all(g, z)
}"""


def test_long_repeats_are_played_in_part() -> None:
    schedule = parse_schedule(LONG)
    plan = plan_memory(schedule)
    check_plan(schedule, plan, place_barriers(schedule, plan, shared), shared)
    with pytest.raises(PlanError, match=r"last reads g .* overwritten"):
        check_plan(schedule, counted(on_one_place(plan)))


def on_one_place(plan: MemoryPlan) -> MemoryPlan:
    """The plan with all buffers at the start of the arena."""
    return replace(plan, buffers=tuple(replace(item, offset=0) for item in plan.buffers))
