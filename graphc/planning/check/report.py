"""The checks of what a plan says about itself: offsets, sizes, lifetimes, totals."""

from __future__ import annotations

from itertools import pairwise

from graphc.errors import PlanError
from graphc.loops.schedule import Branch, Launch, Schedule, Step
from graphc.planning.check.spots import positions
from graphc.planning.memory_plan import MemoryPlan, PlannedBuffer


def check_offsets(schedule: Schedule, plan: MemoryPlan) -> None:
    """Raise PlanError unless every temporary, and nothing else, has its bytes in the arena."""
    wanted = {s.name: s.nbytes for s in schedule.storages if s.purpose == "temporary"}
    names = [buffer.name for buffer in plan.buffers]
    if len(set(names)) != len(names):
        raise PlanError("the plan has several buffers of one name")
    if set(names) != wanted.keys():
        odd = sorted(set(names) ^ wanted.keys())
        raise PlanError(f"the plan and the schedule disagree on which temporaries exist: {odd}")
    if plan.alignment < 1 or plan.alignment & (plan.alignment - 1):
        raise PlanError(f"the plan's alignment is {plan.alignment}, which is no power of two")
    for buffer in plan.buffers:
        _check_offset(buffer, wanted[buffer.name], plan)
    if any(buffer.offset + buffer.bytes == plan.arena_bytes for buffer in plan.buffers):
        return
    if plan.arena_bytes:
        raise PlanError(f"no buffer ends at the arena's end, {plan.arena_bytes}")


def _check_offset(buffer: PlannedBuffer, size: int, plan: MemoryPlan) -> None:
    if buffer.bytes != size:
        raise PlanError(f"{buffer.name} has {buffer.bytes} bytes in the plan, its storage {size}")
    if buffer.offset % plan.alignment:
        raise PlanError(f"{buffer.name} at {buffer.offset} is not aligned to {plan.alignment}")
    if buffer.offset < 0 or buffer.offset + size > plan.arena_bytes:
        raise PlanError(
            f"{buffer.name} at {buffer.offset}..{buffer.offset + size} is outside the arena of "
            f"{plan.arena_bytes} bytes"
        )


def check_report(schedule: Schedule, plan: MemoryPlan) -> None:
    """Raise PlanError where lifetimes, residents, step count or lower bound are not right."""
    steps = list(positions(schedule.steps))
    if len(plan.steps) != len(steps):
        raise PlanError(f"the plan names {len(plan.steps)} steps, the schedule has {len(steps)}")
    _check_resident(schedule, plan)
    for buffer in plan.buffers:
        for first, last in buffer.spans:
            if not 0 <= first <= last < len(steps):
                raise PlanError(f"{buffer.name} lives at {first}..{last} of {len(steps)} steps")
    live = {buffer.name: buffer.spans for buffer in plan.buffers}
    for position, step in steps:
        for name in _touched(schedule, step) & live.keys():
            if not any(first <= position <= last for first, last in live[name]):
                raise PlanError(f"{name} is touched at step {position}, where the plan has it dead")
    at: list[list[PlannedBuffer]] = [[] for _ in steps]
    for buffer in plan.buffers:
        for first, last in buffer.spans if buffer.bytes else ():
            for position in range(first, last + 1):
                at[position].append(buffer)
    highest = max(
        (_live_bytes(buffers, position) for position, buffers in enumerate(at)), default=0
    )
    if highest != plan.lower_bound_bytes:
        raise PlanError(f"the plan's lower bound is {plan.lower_bound_bytes}, it is {highest}")


def _touched(schedule: Schedule, step: Step) -> set[str]:
    """The storages of which a step touches at least one byte."""
    match step:
        case Launch(kernel=kernel, arguments=arguments) if kernel in schedule.kernels:
            buffers = schedule.kernels[kernel].buffers
            return {a.storage for a, b in zip(arguments, buffers, strict=False) if b.size}
        case Branch(flag=flag):
            return {flag.storage}
        case _:
            return set()


def _check_resident(schedule: Schedule, plan: MemoryPlan) -> None:
    wanted = [(s.name, s.purpose, s.nbytes) for s in schedule.storages if s.purpose != "temporary"]
    found = [(row.name, row.purpose, row.bytes) for row in plan.resident]
    if sorted(wanted) != sorted(found):
        odd = sorted(set(wanted) ^ set(found))
        raise PlanError(f"the plan and the schedule disagree on the memory outside: {odd}")


def _live_bytes(live: list[PlannedBuffer], position: int) -> int:
    """Bytes of the arena that live buffers hold. Raises PlanError where two overlap in part."""
    live.sort(key=lambda buffer: (buffer.offset, buffer.bytes))
    for before, after in pairwise(live):
        same = (before.offset, before.bytes) == (after.offset, after.bytes)
        if after.offset < before.offset + before.bytes and not same:
            raise PlanError(f"{before.name} and {after.name} overlap at step {position}")
    return sum({buffer.offset: buffer.bytes for buffer in live}.values())
