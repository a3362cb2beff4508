"""Plays a schedule on a plan's bytes: every byte that is read is the one that was meant."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.errors import PlanError
from graphc.loops.schedule import Branch, Launch, Repeat, Schedule, Step
from graphc.planning.check.owners import Owners, shared
from graphc.planning.check.ranges import Ranges, meets, union, without
from graphc.planning.check.spots import Indexes, Spot, Spots, runs_of, sampled


def check_values(schedule: Schedule, spots: Spots) -> None:
    """Raise PlanError where a step reads bytes that are not, or no longer, the storage's."""
    kept = ("input", "state", "constant")
    state = _State()
    for storage in schedule.storages:
        if storage.purpose in kept:
            state.write(spots.whole(storage.name))
    state = _Play(spots, runs_of(schedule.steps)).run(schedule.steps, {}, state)
    for name in schedule.outputs:
        if not state.holds(spots.whole(name)):
            raise PlanError(f"output {name} is not written on every path to the end")


class _State:
    """Which storage each byte of each memory holds a value of.

    lost   storage -> bytes that it had, until another storage was written there
    """

    def __init__(self) -> None:
        self.memories: dict[str, Owners[str]] = {}
        self.lost: dict[str, Ranges] = {}
        self._own: set[str] = set()  # memories that no other state looks at

    def copy(self) -> _State:
        """Both states change their maps from now on only after copying them."""
        made = _State()
        made.memories, made.lost = dict(self.memories), dict(self.lost)
        self._own.clear()
        return made

    def holds(self, spot: Spot) -> bool:
        memory = self.memories.get(spot.memory)
        if memory is None:
            return spot.start >= spot.stop
        return memory.has(spot.start, spot.stop, spot.storage)

    def has_lost(self, spot: Spot) -> bool:
        """Whether some of the bytes were overwritten since the storage had them."""
        return meets(self.lost.get(spot.storage, ()), spot.start, spot.stop)

    def write(self, spot: Spot) -> None:
        for start, stop, owner in self._memory(spot.memory).paint(
            spot.start, spot.stop, spot.storage
        ):
            if owner != spot.storage:
                self.lost[owner] = union(self.lost.get(owner, ()), start, stop)
        if spot.storage in self.lost:
            self.lost[spot.storage] = without(self.lost[spot.storage], spot.start, spot.stop)

    def _memory(self, name: str) -> Owners[str]:
        """A memory's map, to be changed."""
        if name not in self._own:
            self._own.add(name)
            known = self.memories.get(name)
            self.memories[name] = Owners() if known is None else known.copy()
        return self.memories[name]


class _Play:
    def __init__(self, spots: Spots, total: int) -> None:
        self.spots = spots
        self.total = total

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
                _read(f"branch on {step.flag.storage}", self.spots.flag(step, indexes), state)
                other = self.run(no, indexes, state.copy())
                return _join(self.run(yes, indexes, state), other)
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
                _read(launch.name, spot, state)
        self._in_place(launch, found)
        for spot in found:
            if spot.writes:
                _write(launch.name, spot, state)

    def _in_place(self, launch: Launch, found: tuple[Spot, ...]) -> None:
        """Raise PlanError where a launch writes bytes that it touches otherwise too."""
        for number, written in enumerate(found):
            if not written.writes:
                continue
            for place, other in enumerate(found):
                if place != number and written.overlaps(other):
                    self._expect_one_element(launch, written, other)

    def _expect_one_element(self, launch: Launch, written: Spot, other: Spot) -> None:
        """What is written and touched otherwise at the same time is one element of both."""
        where = f"launch {launch.name}: {other} and {written}"
        if other.writes:
            raise PlanError(f"{where} are written at once")
        if (other.start, other.stop) != (written.start, written.stop):
            raise PlanError(f"{where} overlap in part")
        body = self.spots.bodies[launch.kernel]
        if problem := body.conflict(other.formal, written.formal):
            raise PlanError(f"{where} share bytes, but {problem}")

    def _skip(self, repeat: Repeat, indexes: Indexes, state: _State) -> None:
        """Take the bytes that iterations which are not played write as written."""
        corners = [{**indexes, repeat.index: turn} for turn in (0, repeat.count - 1)]
        for launch, around in _corners(repeat.steps, corners):
            for places in zip(*(self.spots.launch(launch, at) for at in around), strict=True):
                hull = places[0].up_to(places)
                if hull.writes and hull != places[0]:
                    state.write(hull)


def _read(step: str, spot: Spot, state: _State) -> None:
    if not state.holds(spot):
        why = "overwritten" if state.has_lost(spot) else "never written"
        raise PlanError(f"{step} reads {spot}, of which some bytes are {why}")


def _write(step: str, spot: Spot, state: _State) -> None:
    if not spot.whole and state.has_lost(spot):
        raise PlanError(f"{step} writes {spot} in parts, the others have been overwritten")
    state.write(spot)


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
    """What holds after either of two states: bytes held in both, bytes lost in one."""
    made = _State()
    for name in one.memories.keys() & other.memories.keys():
        left, right = one.memories[name], other.memories[name]
        made.memories[name] = left if left is right else shared(left, right)
    made.lost = dict(one.lost)
    for name, ranges in other.lost.items():
        for piece in ranges:
            made.lost[name] = union(made.lost.get(name, ()), *piece)
    return made
