"""Kinds of planner bugs, each planted into a right plan: the checker refuses every one, by name."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from graphc.dtypes import int32, uint8
from graphc.errors import PlanError
from graphc.loops import Argument, Branch, Launch, Repeat, index, variable
from graphc.loops.parse import parse_kernel, parse_schedule
from graphc.loops.verify_schedule import verify_schedule
from graphc.planning.barriers import BarrierPlan, place_barriers
from graphc.planning.check import check_plan
from graphc.planning.plan import plan_memory
from tests.planning.planted import (
    RIGHT,
    Planned,
    access,
    argument,
    counted,
    in_barriers,
    in_buffer,
    in_launch,
    in_plan,
    in_storage,
    moved,
    on,
    planned,
    shared,
    with_kernel,
    with_steps,
    without,
)

PLAN, SCHEDULE, BEFORE = RIGHT.plan, RIGHT.schedule, RIGHT.barriers.before
OFFSETS = PLAN.offsets
NEW = replace(PLAN.buffers[0], name="more")


def swapped() -> Planned:
    first, second, *rest = SCHEDULE.steps
    return planned(replace(SCHEDULE, steps=(second, first, *rest)))


def without_kernel(key: str) -> Planned:
    kernels = {name: kernel for name, kernel in SCHEDULE.kernels.items() if name != key}
    return replace(RIGHT, schedule=replace(SCHEDULE, kernels=kernels))


# y[i] = a[i] + a[15 - i], and y[i] = a[i] twice over: no kernels to run in place.
ASKEW = """kernel @askew(in a: f32[16], in b: f32[16], out y: f32[16]) {
  parallel i in 0..16 { store y[i] = a[15 - i] + b[i] }
}"""
TWICE = """kernel @twice(in a: f32[16], in b: f32[16], out y: f32[16]) {
  parallel i in 0..16 { store y[i] = a[i] store y[i] = a[i] + b[i] }
}"""

TWO = """kernel @two(in a: f32[16], out b: f32[16], out y: f32[16]) {
  parallel i in 0..16 { store b[i] = a[i] store y[i] = a[i] }
}"""


def two_results() -> Planned:
    """A launch that gives both of its results the same storage."""
    arguments = tuple(Argument(name, index(0)) for name in ("phi", "d", "d"))
    changed = in_launch("l14", arguments=arguments)
    kernels = {**SCHEDULE.kernels, "two": parse_kernel(TWO)}
    steps = tuple(
        replace(step, kernel="two") if isinstance(step, Launch) and step.name == "l14" else step
        for step in changed.schedule.steps
    )
    apart = moved("d", PLAN.arena_bytes)
    return replace(apart, schedule=replace(SCHEDULE, kernels=kernels, steps=steps))


BUGS: dict[str, tuple[Planned, str]] = {
    # which buffers there are
    "a buffer is left out": (in_plan(buffers=PLAN.buffers[1:]), r"exist: \['stack'\]"),
    "a buffer of no storage": (in_plan(buffers=(*PLAN.buffers, NEW)), r"exist: \['more'\]"),
    "a buffer of an unknown name": (in_buffer("a", name="other"), r"exist: \['a', 'other'\]"),
    "a buffer twice": (in_plan(buffers=(*PLAN.buffers, PLAN.buffers[0])), "of one name"),
    "an output in the arena": (in_buffer("a", name="y"), r"exist: \['a', 'y'\]"),
    "a state left out of the total": (in_plan(resident=PLAN.resident[1:]), "memory outside"),
    "an input too small": (
        in_plan(resident=(replace(PLAN.resident[0], bytes=4), *PLAN.resident[1:])),
        "memory outside",
    ),
    # offsets, sizes and totals
    "misaligned": (moved("a", OFFSETS["a"] + 4), "a at .* is not aligned"),
    "below the arena": (in_buffer("a", offset=-64), "outside the arena"),
    "above the arena": (in_buffer("a", offset=PLAN.arena_bytes), "outside the arena"),
    "an arena too small": (in_plan(arena_bytes=PLAN.arena_bytes - 4), "outside the arena"),
    "an arena too large": (in_plan(arena_bytes=PLAN.arena_bytes + 64), "arena's end"),
    "a buffer too small": (in_buffer("stack", bytes=128), "stack has 128 bytes in the plan"),
    "a buffer too large": (in_buffer("a", bytes=128), "a has 128 bytes in the plan"),
    "an alignment of 48": (in_plan(alignment=48), "no power of two"),
    "a bound too low": (in_plan(lower_bound_bytes=4), "lower bound is 4"),
    "a bound too high": (in_plan(lower_bound_bytes=4096), "lower bound is 4096"),
    "a step less": (in_plan(steps=PLAN.steps[1:]), "names 20 steps"),
    "a step more": (in_plan(steps=(*PLAN.steps, "more")), "names 22 steps"),
    # lifetimes
    "a lifetime cut": (in_buffer("h", spans=((2, 11),)), "h is touched at step 14"),
    "no lifetime": (in_buffer("c", spans=()), "c is touched at step 3"),
    "a lifetime after the end": (in_buffer("parts", spans=((17, 99),)), "parts lives at 17..99"),
    "live buffers overlap in part": (moved("h", OFFSETS["stack"] + 64), "overlap at step"),
    # bytes that are lost
    "overwritten before its last reader": (on("e", "h"), "reads h .* overwritten"),
    "a carry overwritten in its repeat": (on("local", "carry"), "l7 reads carry .* overwritten"),
    "a stack overwritten in its repeat": (on("local", "stack"), "overlap at step 6"),
    "lives over a repeat, overwritten inside": (on("local", "h"), "reads h .* overwritten"),
    "lives over a branch, overwritten in an arm": (on("only", "h"), "l11: h .* share bytes"),
    "a flag on a live buffer": (on("ok", "h"), "overlap at step 9"),
    "the result of both arms lost": (on("phi", "h"), "l14 reads h .* overwritten"),
    "a buffer in parts overwritten between them": (on("parts", "h"), "l18 reads h .* overwritten"),
    # in place
    "in place where a load is at another index": (
        on("c", "b"),
        "share bytes, but a load of a is not at the index",
    ),
    "in place in a kernel that folds": (on("e", "d"), "share bytes, but the kernel is not"),
    "in place although the input is read later": (on("d", "h"), "reads h .* overwritten"),
    "in place with a load askew": (
        with_kernel("binary", parse_kernel(ASKEW)),
        "l2: a .* not at the index",
    ),
    "in place with two stores": (
        with_kernel("binary", parse_kernel(TWICE)),
        "l2: a .* y is stored to 2 times",
    ),
    "one storage read and written askew": (argument("l3", 1, "b"), "share bytes"),
    "one storage written twice at once": (two_results(), "l14: d .* are written at once"),
    # what is read was written, on every path
    "read before it is written": (swapped(), "l1 reads a .* never written"),
    "read but never written": (
        planned(argument("l2", 0, "parts").schedule),
        "l2 reads parts .* never written",
    ),
    "a third of it never written": (
        with_steps(lambda s: replace(s, count=2) if isinstance(s, Repeat) else s),
        "l15 reads stack .* never written",
    ),
    "an output that nothing writes": (without("l19"), "output y is not written"),
    "an output that one arm leaves": (
        with_steps(lambda s: replace(s, no=()) if isinstance(s, Branch) else s),
        "l14 reads phi .* never written",
    ),
    "a read of what only one arm writes": (
        planned(argument("l14", 0, "only").schedule),
        "l14 reads only .* never written",
    ),
    "a repeat that never runs": (
        with_steps(lambda s: replace(s, count=0) if isinstance(s, Repeat) else s),
        "reads stack .* never written",
    ),
    "a flag that nothing sets": (without("l9"), "branch on ok reads ok .* never written"),
    # kernels and their arguments
    "an in that is stored to": (access("unary", "in", "in"), "says in of y, but stores to it"),
    "an out that is read": (access("update", "out", "in"), "says out of y, but reads"),
    "an out that is never stored to": (access("unary", "out", "out"), "says out of a, but"),
    "an inout read elsewhere": (access("reverse", "inout", "out"), "says inout of a, but"),
    "an access of no kind": (access("unary", "in", "both"), "no such access"),
    "no such kernel": (without_kernel("fold"), "no kernel fold"),
    "an argument too few": (in_launch("l0", arguments=()), "0 arguments for 2 buffers"),
    "an unknown storage": (argument("l1", 0, "nothing"), "no storage nothing"),
    "an argument past the end": (argument("l20", 0, "stack", 1), "elements 1..49 of stack"),
    "an argument before the start": (argument("l20", 0, "stack", -1), "elements -1..47 of stack"),
    "an index of no repeat": (argument("l1", 0, "a", variable("t")), "does not follow from"),
    "an argument of another type": (argument("l0", 0, "n"), "a is float32, n holds int64"),
    "a storage of another type": (in_storage("w", dtype=int32), "y is float32, w holds int32"),
    "a flag that is no bool": (in_storage("ok", dtype=uint8), "y is bool, ok holds uint8"),
    "an input that is written": (argument("l16", 0, "x"), "l16 writes input x"),
    "a constant that is written": (argument("l16", 0, "k"), "l16 writes constant k"),
    # barriers
    "none at all": (in_barriers(before=frozenset()), "no barrier between l0"),
    "none in the repeat": (in_barriers(before=BEFORE - {6, 7, 8}), "no barrier between"),
    "before a step that is not": (in_barriers(before=BEFORE | {99}), "before step 99"),
    "a repeat on one thread": (in_barriers(single=frozenset({5})), "step 5 is to run on one"),
    "a branch on one thread": (in_barriers(single=frozenset({10})), "step 10 is to run on one"),
    "a shared launch on one thread": (in_barriers(single=frozenset({0, 9})), "launch l0 is single"),
    "a small launch on all threads": (in_barriers(single=frozenset()), "launch l9 is single"),
    "one thread beside the others": (
        replace(in_barriers(before=BEFORE - {1}, single=frozenset({0})), parallel=None),
        "no barrier between l0",
    ),
}


def check(planned: Planned) -> None:
    check_plan(planned.schedule, planned.plan, planned.barriers, planned.parallel)


def test_what_the_bugs_are_planted_into_is_right() -> None:
    verify_schedule(SCHEDULE)
    check(RIGHT)
    assert len(BUGS) >= 20
    assert len({OFFSETS[name] for name in ("a", "h")}) == 1  # in place
    assert PLAN.lower_bound_bytes <= PLAN.arena_bytes


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_refused(name: str) -> None:
    wrong, message = BUGS[name]
    with pytest.raises(PlanError, match=message):
        check(wrong)


@pytest.mark.parametrize("position", sorted(BEFORE))
def test_no_barrier_can_be_left_out(position: int) -> None:
    with pytest.raises(PlanError, match="no barrier between"):
        check(in_barriers(before=BEFORE - {position}))


def test_a_barrier_at_the_back_edge_is_needed() -> None:
    """The body's first launch reads what a later one of the iteration before wrote."""
    assert {6, 7} <= BEFORE
    with pytest.raises(PlanError, match=r"between l7.* and l6"):
        check(in_barriers(before=BEFORE - {6} | {5}))


def test_any_two_buffers_that_live_at_once_are_told_apart() -> None:
    """Every pair whose lifetimes meet at more than the handover: moved together, refused."""
    caught = 0
    for one, other in combinations(PLAN.buffers, 2):
        steps = [
            {p for first, last in b.spans for p in range(first, last + 1)} for b in (one, other)
        ]
        if len(steps[0] & steps[1]) > 1:
            caught += 1
            wrong = on(other.name, one.name)
            with pytest.raises(PlanError):
                check_plan(wrong.schedule, wrong.plan)
    assert caught > 10


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
    together = tuple(replace(buffer, offset=0) for buffer in plan.buffers)
    with pytest.raises(PlanError, match=r"last reads g .* overwritten"):
        check_plan(schedule, counted(replace(plan, buffers=together)))


def test_without_barriers_all_runs_on_one_thread() -> None:
    check_plan(SCHEDULE, PLAN)
    with pytest.raises(PlanError, match="no barrier between l0"):
        check_plan(SCHEDULE, PLAN, BarrierPlan(frozenset()))
