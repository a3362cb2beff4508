"""A right plan, and ways to make it wrong: what the tests of planted bugs start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from graphc.loops import Argument, Expr, Kernel, Launch, Repeat, Schedule, Step, index
from graphc.loops.parse import parse_schedule
from graphc.planning.barriers import BarrierPlan, place_barriers
from graphc.planning.memory_plan import MemoryPlan
from graphc.planning.plan import plan_memory

# A chain, a scan with a carry and a stack, a branch, a buffer written in two parts. Every buffer
# of 16 floats is one slot of the arena: 64 bytes.
TEXT = """
schedule @base {
  input x: f32[16]
  input n: i64[16]
  state w: f32[16]
  constant k: f32[16]
  output y: f32[16]
  output z: f32[48]
  temporary stack: f32[48]
  temporary a: f32[16]
  temporary b: f32[16]
  temporary c: f32[16]
  temporary h: f32[16]
  temporary carry: f32[16]
  temporary local: f32[16]
  temporary only: f32[16]
  temporary phi: f32[16]
  temporary d: f32[16]
  temporary e: f32[16]
  temporary parts: f32[16]
  temporary ok: bool[1]
  data k = "digest"
  inputs x, n
  outputs y, z
  define unary = kernel @unary(in a: f32[16], out y: f32[16]) {
    parallel i in 0..16 { store y[i] = a[i] * f32(0.5) + f32(1.0) }
  }
  define binary = kernel @binary(in a: f32[16], in b: f32[16], out y: f32[16]) {
    parallel i in 0..16 { store y[i] = a[i] - b[i] }
  }
  define reverse = kernel @reverse(in a: f32[16], out y: f32[16]) {
    parallel i in 0..16 { store y[i] = a[15 - i] }
  }
  define fold = kernel @fold(in a: f32[16], in b: f32[16], out y: f32[16]) {
    parallel i in 0..16 { store y[i] = a[i] - reduce sum [k < 16] lanes=1 (b[k]) }
  }
  define update = kernel @update(inout y: f32[16], in a: f32[16]) {
    parallel i in 0..16 { store y[i] = y[i] - a[i] }
  }
  define low = kernel @low(in a: f32[16], out y: f32[16]) {
    parallel i in 0..16 { store y[i] = a[i] where i < 3 }
  }
  define high = kernel @high(in a: f32[16], out y: f32[16]) {
    parallel i in 0..16 { store y[i] = a[i] where 2 < i }
  }
  define all = kernel @all(in a: f32[48], out y: f32[48]) {
    parallel i in 0..48 { store y[i] = a[i] }
  }
  define test = kernel @test(in a: f32[16], out y: bool[1]) {
    parallel i in 0..1 { store y[i] = a[i] < f32(0.0) }
  }
  launch l0 = unary(x, a)
  launch l1 = reverse(a, b)
  launch l2 = binary(a, b, h)
  launch l3 = reverse(b, c)
  launch l4 = unary(c, carry)
  repeat t in 0..3 {
    launch l6 = unary(carry, local)
    launch l7 = update(carry, local)
    launch l8 = reverse(local, stack + t * 16)
  }
  launch l9 = test(x, ok)
  branch ok {
    launch l11 = reverse(h, only)
    launch l12 = unary(only, phi)
  } else {
    launch l13 = unary(x, phi)
  }
  launch l14 = binary(phi, h, d)
  launch l15 = fold(d, stack + 32, e)
  launch l16 = update(w, e)
  launch l17 = low(e, parts)
  launch l18 = high(h, parts)
  launch l19 = unary(parts, y)
  launch l20 = all(stack, z)
}"""


def shared(launch: Launch) -> bool:
    """All launches are shared among the threads but the one that sets the flag."""
    return launch.kernel != "test"


@dataclass(frozen=True)
class Planned:
    """A schedule, its plan and its barriers; `parallel` is told to the checker too."""

    schedule: Schedule
    plan: MemoryPlan
    barriers: BarrierPlan
    parallel: Callable[[Launch], bool] | None = shared


def planned(schedule: Schedule) -> Planned:
    plan = plan_memory(schedule)
    return Planned(schedule, plan, place_barriers(schedule, plan, shared))


RIGHT = planned(parse_schedule(TEXT))

# Plans


def counted(plan: MemoryPlan) -> MemoryPlan:
    """The plan with totals that fit its buffers."""
    peak = plan.peak()
    assert peak is not None
    arena = max(buffer.offset + buffer.bytes for buffer in plan.buffers)
    return replace(plan, arena_bytes=arena, lower_bound_bytes=peak.live_bytes)


def with_plan(plan: MemoryPlan) -> Planned:
    return replace(RIGHT, plan=plan)


def in_plan(**fields: Any) -> Planned:
    return with_plan(replace(RIGHT.plan, **fields))


def in_buffer(name: str, /, **fields: Any) -> Planned:
    buffers = (replace(b, **fields) if b.name == name else b for b in RIGHT.plan.buffers)
    return in_plan(buffers=tuple(buffers))


def moved(name: str, offset: int) -> Planned:
    """A buffer elsewhere, and all the plan's own numbers and barriers right for that."""
    plan = counted(in_buffer(name, offset=offset).plan)
    barriers = place_barriers(RIGHT.schedule, plan, shared)
    return replace(RIGHT, plan=plan, barriers=barriers)


def on(name: str, other: str) -> Planned:
    """One buffer on the bytes of another."""
    return moved(name, RIGHT.plan.offsets[other])


# Schedules


def with_steps(change: Callable[[Step], Step | None]) -> Planned:
    """Every outer step changed, or left out; the plan is of what is left."""
    steps = (change(step) for step in RIGHT.schedule.steps)
    kept = tuple(step for step in steps if step is not None)
    return planned(replace(RIGHT.schedule, steps=kept))


def without(name: str) -> Planned:
    return with_steps(lambda s: None if isinstance(s, Launch) and s.name == name else s)


def in_launch(name: str, /, **fields: Any) -> Planned:
    """A launch changed, under the old plan."""

    def changed(step: Step) -> Step:
        if isinstance(step, Repeat):
            return replace(step, steps=tuple(map(changed, step.steps)))
        is_it = isinstance(step, Launch) and step.name == name
        return replace(step, **fields) if is_it else step

    steps = tuple(map(changed, RIGHT.schedule.steps))
    return replace(RIGHT, schedule=replace(RIGHT.schedule, steps=steps))


def argument(name: str, number: int, storage: str, offset: int | Expr = 0) -> Planned:
    """Another argument of a launch, under the old plan."""
    old = next(launch for launch in RIGHT.schedule.launches() if launch.name == name)
    place = index(offset) if isinstance(offset, int) else offset
    arguments = list(old.arguments)
    arguments[number] = Argument(storage, place)
    return in_launch(name, arguments=tuple(arguments))


def with_kernel(key: str, kernel: Kernel) -> Planned:
    kernels = {**RIGHT.schedule.kernels, key: kernel}
    return replace(RIGHT, schedule=replace(RIGHT.schedule, kernels=kernels))


def access(key: str, *kinds: str) -> Planned:
    """A kernel that says something else of its formal buffers."""
    old = RIGHT.schedule.kernels[key]
    pairs = zip(old.buffers, kinds, strict=True)
    buffers = tuple(replace(buffer, access=kind) for buffer, kind in pairs)  # type: ignore[arg-type]  # planted
    return with_kernel(key, replace(old, buffers=buffers))


def in_storage(name: str, /, **fields: Any) -> Planned:
    storages = (replace(s, **fields) if s.name == name else s for s in RIGHT.schedule.storages)
    return replace(RIGHT, schedule=replace(RIGHT.schedule, storages=tuple(storages)))


# Barriers


def in_barriers(**fields: Any) -> Planned:
    return replace(RIGHT, barriers=replace(RIGHT.barriers, **fields))
