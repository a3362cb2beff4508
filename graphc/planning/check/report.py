"""The checks of what a plan says about itself: offsets, sizes, lifetimes, totals."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

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
    highest = max(_live_bytes(plan.buffers, len(steps)), default=0)
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


def _live_bytes(buffers: Iterable[PlannedBuffer], steps: int) -> Iterator[int]:
    """Bytes of the arena that live buffers hold, step by step.

    Raises PlanError where two that live at once overlap in part.
    """
    born: list[list[PlannedBuffer]] = [[] for _ in range(steps)]
    dying: list[list[PlannedBuffer]] = [[] for _ in range(steps)]
    for buffer in buffers:
        for first, last in buffer.spans if buffer.bytes else ():
            born[first].append(buffer)
            dying[last].append(buffer)
    live = _Live()
    for position in range(steps):
        for buffer in born[position]:
            live.add(buffer, position)
        yield live.bytes
        for buffer in dying[position]:
            live.remove(buffer)


class _Live:
    """The places in the arena that are taken, sorted, and how many buffers each holds."""

    def __init__(self) -> None:
        self.bytes = 0
        self._places: list[tuple[int, int]] = []  # offset, size
        self._held: dict[tuple[int, int], list[PlannedBuffer]] = {}

    def add(self, buffer: PlannedBuffer, position: int) -> None:
        """Raises PlanError where the buffer is neither in a place that is taken nor beside all."""
        place = (buffer.offset, buffer.bytes)
        held = self._held.setdefault(place, [])
        held.append(buffer)
        if len(held) > 1:
            return
        number = bisect_left(self._places, place)
        for offset, size in self._places[max(0, number - 1) : number + 1]:
            if offset < buffer.offset + buffer.bytes and buffer.offset < offset + size:
                other = self._held[offset, size][0]
                names = " and ".join(sorted((buffer.name, other.name)))
                raise PlanError(f"{names} overlap at step {position}")
        self._places.insert(number, place)
        self.bytes += buffer.bytes

    def remove(self, buffer: PlannedBuffer) -> None:
        place = (buffer.offset, buffer.bytes)
        held = self._held[place]
        held.pop()
        if not held:
            del self._held[place], self._places[bisect_left(self._places, place)]
            self.bytes -= buffer.bytes
