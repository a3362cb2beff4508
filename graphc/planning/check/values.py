"""Plays a schedule on a plan's bytes: every byte that is read is the one that was meant."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.errors import PlanError
from graphc.loops.schedule import Branch, Launch, Repeat, Schedule, Step
from graphc.planning.check.ranges import Ranges, common, holds, meets, union, without
from graphc.planning.check.spots import ARENA, Indexes, Spot, Spots, runs_of, sampled
from graphc.planning.memory_plan import MemoryPlan

# storage -> bytes (from its start) that hold its value; and those that it had and lost
_State = tuple[dict[str, Ranges], dict[str, Ranges]]


def check_values(schedule: Schedule, plan: MemoryPlan, spots: Spots) -> None:
    """Raise PlanError where a step reads bytes that are not, or no longer, the storage's."""
    play = _Play(schedule, plan, spots)
    kept = ("input", "state", "constant")
    start = {s.name: union((), 0, s.nbytes if s.purpose in kept else 0) for s in schedule.storages}
    held, _ = play.run(schedule.steps, {}, (start, dict.fromkeys(start, ())))
    for name in schedule.outputs:
        if not holds(held[name], 0, schedule.by_name[name].nbytes):
            raise PlanError(f"output {name} is not written on every path to the end")


class _Play:
    def __init__(self, schedule: Schedule, plan: MemoryPlan, spots: Spots) -> None:
        self.spots = spots
        self.total = runs_of(schedule.steps)
        ends = [(b.name, b.offset, b.offset + b.bytes) for b in plan.buffers if b.bytes]
        self.sharing = {
            name: [(o, low) for o, low, high in ends if o != name and low < stop and start < high]
            for name, start, stop in ends
        }

    def run(self, steps: tuple[Step, ...], indexes: Indexes, state: _State) -> _State:
        for step in steps:
            state = self._step(step, indexes, state)
        return state

    def _step(self, step: Step, indexes: Indexes, state: _State) -> _State:
        match step:
            case Launch():
                self._launch(step, indexes, state)
                return state
            case Branch(yes=yes, no=no):
                self._read(f"branch on {step.flag.storage}", self.spots.flag(step, indexes), state)
                one = self.run(yes, indexes, (dict(state[0]), dict(state[1])))
                other = self.run(no, indexes, (dict(state[0]), dict(state[1])))
                return _join(one, other)
            case Repeat(index=index, count=count, steps=inner):
                played = sampled(count, self.total) if count > 0 else ()
                for turn in played:
                    state = self.run(inner, {**indexes, index: turn}, state)
                    if turn == 1 and len(played) < count:
                        self._skip(step, indexes, state)
                return state

    def _launch(self, launch: Launch, indexes: Indexes, state: _State) -> None:
        found = self.spots.launch(launch, indexes)
        for spot in found:
            if spot.reads:
                self._read(launch.name, spot, state)
        self._in_place(launch, found)
        for spot in found:
            if spot.writes:
                self._write(launch.name, spot, state)

    def _read(self, step: str, spot: Spot, state: _State) -> None:
        start, stop = spot.start - spot.base, spot.stop - spot.base
        if not holds(state[0][spot.storage], start, stop):
            why = "overwritten" if meets(state[1][spot.storage], start, stop) else "never written"
            raise PlanError(f"{step} reads {spot}, of which some bytes are {why}")

    def _write(self, step: str, spot: Spot, state: _State) -> None:
        held, lost = state
        start, stop = spot.start - spot.base, spot.stop - spot.base
        if not spot.whole and meets(lost[spot.storage], start, stop):
            raise PlanError(f"{step} writes {spot} in parts, the others have been overwritten")
        held[spot.storage] = union(held[spot.storage], start, stop)
        lost[spot.storage] = without(lost[spot.storage], start, stop)
        for other, base in self.sharing.get(spot.storage, ()) if spot.memory == ARENA else ():
            if not held[other]:
                continue
            low, high = spot.start - base, spot.stop - base
            for piece in common(held[other], ((low, high),)):
                lost[other] = union(lost[other], *piece)
            held[other] = without(held[other], low, high)

    def _in_place(self, launch: Launch, found: tuple[Spot, ...]) -> None:
        """Raise PlanError where a launch writes bytes that it touches otherwise too."""
        body = self.spots.bodies[launch.kernel]
        for number, written in enumerate(found):
            if not written.writes:
                continue
            for place, other in enumerate(found):
                if place == number or not written.overlaps(other):
                    continue
                where = f"launch {launch.name}: {other} and {written}"
                if other.writes:
                    raise PlanError(f"{where} are written at once")
                if (other.start, other.stop) != (written.start, written.stop):
                    raise PlanError(f"{where} overlap in part")
                if problem := body.conflict(other.formal, written.formal):
                    raise PlanError(f"{where} share bytes, but {problem}")

    def _skip(self, repeat: Repeat, indexes: Indexes, state: _State) -> None:
        """Take the bytes that iterations which are not played write as written."""
        corners = [{**indexes, repeat.index: turn} for turn in (0, repeat.count - 1)]
        for launch, around in _corners(repeat.steps, corners):
            for places in zip(*(self.spots.launch(launch, at) for at in around), strict=True):
                low, high = min(p.start for p in places), max(p.stop for p in places)
                one = places[0]
                if one.writes and high - low > one.stop - one.start:
                    held = state[0][one.storage]
                    state[0][one.storage] = union(held, low - one.base, high - one.base)


def _corners(
    steps: tuple[Step, ...], corners: list[dict[str, int]]
) -> Iterator[tuple[Launch, list[dict[str, int]]]]:
    """Every launch inside, with the first and last values of all repeats around it."""
    for step in steps:
        match step:
            case Launch():
                yield step, corners
            case Repeat(index=index, count=count, steps=body) if count > 0:
                ends = sorted({0, count - 1})
                yield from _corners(body, [{**at, index: end} for at in corners for end in ends])
            case Branch(yes=yes, no=no):
                yield from _corners((*yes, *no), corners)


def _join(one: _State, other: _State) -> _State:
    held = {name: common(one[0][name], other[0][name]) for name in one[0]}
    lost: dict[str, Ranges] = {}
    for name, ranges in one[1].items():
        for piece in other[1][name]:
            ranges = union(ranges, *piece)
        lost[name] = ranges
    return held, lost
