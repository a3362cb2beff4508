"""Plays a schedule with its barriers: what runs at the same time touches no common bytes."""

from __future__ import annotations

from collections.abc import Callable

from graphc.errors import PlanError
from graphc.loops.schedule import Branch, Launch, Repeat, Schedule, Step
from graphc.planning.barriers import BarrierPlan
from graphc.planning.check.spots import (
    Indexes,
    Spot,
    Spots,
    inner,
    positions,
    runs_of,
    sampled,
    size_of,
)

# What has run since the threads last met: bytes, whether on the first thread only, which step.
_Running = frozenset[tuple[Spot, bool, str]]


def check_threads(
    schedule: Schedule,
    spots: Spots,
    barriers: BarrierPlan,
    parallel: Callable[[Launch], bool] | None = None,
) -> None:
    """Raise PlanError where two steps may run at once and one writes what the other touches."""
    steps = dict(positions(schedule.steps))
    for position in barriers.before - steps.keys():
        raise PlanError(f"a barrier before step {position} of {len(steps)}")
    for position in barriers.single:
        if not isinstance(steps.get(position), Launch):
            raise PlanError(f"step {position} is to run on one thread, but is no launch")
    for position, step in steps.items():
        if parallel is None or not isinstance(step, Launch):
            continue
        if parallel(step) == (position in barriers.single):
            raise PlanError(f"launch {step.name} is single in the plan or in the program, not both")
    play = _Play(spots, barriers, runs_of(schedule.steps))
    play.run(schedule.steps, 0, {}, frozenset())


class _Play:
    def __init__(self, spots: Spots, barriers: BarrierPlan, total: int) -> None:
        self.spots = spots
        self.barriers = barriers
        self.total = total

    def run(
        self, steps: tuple[Step, ...], position: int, indexes: Indexes, running: _Running
    ) -> _Running:
        for step in steps:
            if position in self.barriers.before:
                running = frozenset()
            running = self._step(step, position, indexes, running)
            position += 1 + sum(map(size_of, inner(step)))
        return running

    def _step(self, step: Step, position: int, indexes: Indexes, running: _Running) -> _Running:
        match step:
            case Launch():
                single = position in self.barriers.single
                return self._meet(step.name, self.spots.launch(step, indexes), single, running)
            case Branch(yes=yes, no=no):
                name = f"branch on {step.flag.storage}"
                running = self._meet(name, (self.spots.flag(step, indexes),), False, running)
                one = self.run(yes, position + 1, indexes, running)
                return one | self.run(no, position + 1 + size_of(yes), indexes, running)
            case Repeat(index=index, count=count, steps=body):
                for turn in sampled(count, self.total) if count > 0 else ():
                    running = self.run(body, position + 1, {**indexes, index: turn}, running)
                return running

    def _meet(
        self, name: str, found: tuple[Spot, ...], single: bool, running: _Running
    ) -> _Running:
        for other, alone, before in running:
            if single and alone:
                continue
            for spot in found:
                if (spot.writes or other.writes) and spot.overlaps(other):
                    raise PlanError(
                        f"no barrier between {before}, which touches {other}, and {name}, which "
                        f"touches {spot}"
                    )
        return running | {(spot, single, name) for spot in found}
