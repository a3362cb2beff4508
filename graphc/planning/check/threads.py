"""Plays a schedule with its barriers: what runs at the same time touches no common bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from graphc.errors import PlanError
from graphc.loops.schedule import Branch, Launch, Repeat, Schedule, Step
from graphc.planning.barriers import BarrierPlan
from graphc.planning.check.owners import Owners
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


class _Touch(NamedTuple):
    """Bytes that a step has touched since the threads last met."""

    step: str
    spot: Spot


class _Kind(NamedTuple):
    """Touches that are kept together: of one memory, writes or reads, by the first thread only."""

    memory: str
    writes: bool
    single: bool


class _Running:
    """All touches since the threads last met."""

    def __init__(self) -> None:
        self.touched: dict[_Kind, Owners[_Touch]] = {}

    def add(self, kind: _Kind, start: int, stop: int, touch: _Touch) -> None:
        self.touched.setdefault(kind, Owners()).paint(start, stop, touch)

    def join(self, other: _Running) -> _Running:
        for kind, owners in other.touched.items():
            for start, stop, touch in owners:
                self.add(kind, start, stop, touch)
        return self

    def copy(self) -> _Running:
        made = _Running()
        made.touched = {kind: owners.copy() for kind, owners in self.touched.items()}
        return made

    def clash(self, spot: Spot, single: bool) -> _Touch | None:
        """A touch by another thread that must not be at the same time."""
        for kind in _clashing(spot, single):
            owners = self.touched.get(kind)
            touch = None if owners is None else owners.any_in(spot.start, spot.stop)
            if touch is not None:
                return touch
        return None


def _clashing(spot: Spot, single: bool) -> Iterator[_Kind]:
    """What a spot clashes with: writes, and reads too where it writes; the first thread does one
    thing after the other."""
    for writes in (True, False) if spot.writes else (True,):
        for other in (False,) if single else (False, True):
            yield _Kind(spot.memory, writes, other)


def check_threads(
    schedule: Schedule,
    spots: Spots,
    barriers: BarrierPlan,
    parallel: Callable[[Launch], bool] | None,
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
    play.run(schedule.steps, 0, {}, _Running())


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
                running = _Running()
            running = self._step(step, position, indexes, running)
            position += 1 + sum(map(size_of, inner(step)))
        return running

    def _step(self, step: Step, position: int, indexes: Indexes, running: _Running) -> _Running:
        match step:
            case Launch():
                single = position in self.barriers.single
                self._meet(step.name, self.spots.launch(step, indexes), single, running)
                return running
            case Branch(yes=yes, no=no):
                name = f"branch on {step.flag.storage}"
                self._meet(name, (self.spots.flag(step, indexes),), False, running)
                other = self.run(no, position + 1 + size_of(yes), indexes, running.copy())
                return self.run(yes, position + 1, indexes, running).join(other)
            case Repeat(index=index, count=count, steps=body):
                for turn in sampled(count, self.total) if count > 0 else ():
                    running = self.run(body, position + 1, {**indexes, index: turn}, running)
                return running

    def _meet(self, name: str, found: tuple[Spot, ...], single: bool, running: _Running) -> None:
        """Raise PlanError where the step clashes with what runs; then it runs too."""
        for spot in found:
            before = running.clash(spot, single)
            if before is not None:
                raise PlanError(
                    f"no barrier between {before.step}, which touches {before.spot}, and {name}, "
                    f"which touches {spot}"
                )
        for spot in found:
            kind = _Kind(spot.memory, spot.writes, single)
            running.add(kind, spot.start, spot.stop, _Touch(name, spot))
