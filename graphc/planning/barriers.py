"""Where all threads must meet: barriers from the bytes that steps read and write.

Every thread runs the whole schedule, each on its share of every launch, so two launches with no
barrier between them run at the same time. They may, unless one writes bytes that the other reads
or writes. The bytes are those of the memory plan: a temporary that took over another's place in
the arena depends on that one's last reader, though no value passes between them.

One sweep keeps the bytes touched since the last barrier and puts a barrier before each step that
would clash with them: the fewest in a row of steps (the classical greedy for stabbing intervals).
The arms of a branch start from the same bytes and join by union. The body of a repeat is swept on
from its own end, until no step clashes over the back edge; where only what ran before the repeat
clashes with the body, the barrier comes before the repeat, once.

A launch that does too little to share runs on the first thread alone. Such launches are in order
among themselves and need barriers only against what other threads do. A branch's flag is read by
every thread.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from graphc.errors import PlanError
from graphc.loops.schedule import Branch, Launch, Repeat, Schedule
from graphc.planning.memory_plan import MemoryPlan
from graphc.planning.tree import Node, Touch, number, walk

ARENA = ""  # the name of the memory that all temporaries share; no storage is called so


@dataclass(frozen=True)
class BarrierPlan:
    """before: positions of the steps that all threads meet at; single: launches on one thread."""

    before: frozenset[int]
    single: frozenset[int] = frozenset()

    def to_json(self) -> str:
        return json.dumps({"before": sorted(self.before), "single": sorted(self.single)})

    @staticmethod
    def from_json(text: str) -> BarrierPlan:
        """The plan that `to_json` wrote. Raises PlanError where the text is not one."""
        try:
            fields = json.loads(text)
            return BarrierPlan(frozenset(fields["before"]), frozenset(fields["single"]))
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"not a barrier plan: {error}") from None


def place_barriers(
    schedule: Schedule, plan: MemoryPlan, parallel: Callable[[Launch], bool]
) -> BarrierPlan:
    """The steps before which all threads must meet.

    `parallel` says whether a launch is shared among the threads; if not, it runs on the first.
    """
    nodes = number(schedule)
    single = frozenset(
        node.position
        for node in walk(nodes)
        if isinstance(node.step, Launch) and not parallel(node.step)
    )
    sweep = _Sweep(plan.offsets, single)
    sweep.run(nodes, _Pending())
    return BarrierPlan(frozenset(sweep.before), single)


@dataclass
class _Ranges:
    """A set of bytes, as disjoint sorted ranges."""

    starts: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)

    def meets(self, start: int, stop: int) -> bool:
        """Whether some byte of [start, stop) is in the set."""
        place = bisect_right(self.stops, start)
        return place < len(self.starts) and self.starts[place] < stop

    def add(self, start: int, stop: int) -> None:
        """Put [start, stop) in, joined with the ranges that it meets or adjoins."""
        low = bisect_left(self.stops, start)
        high = bisect_right(self.starts, stop)
        if low < high:
            start, stop = min(start, self.starts[low]), max(stop, self.stops[high - 1])
        self.starts[low:high] = [start]
        self.stops[low:high] = [stop]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self.starts, self.stops, strict=True))


_Key = tuple[str, bool, bool]  # memory, written (else read), by the first thread only


class _Pending:
    """The bytes that steps since the last barrier have read and written."""

    def __init__(self) -> None:
        self.ranges: dict[_Key, _Ranges] = {}

    def copy(self) -> _Pending:
        made = _Pending()
        made.join(self)
        return made

    def join(self, other: _Pending) -> None:
        for (memory, written, single), ranges in other.ranges.items():
            for start, stop in ranges:
                self.add(memory, start, stop, written, single)

    def add(self, memory: str, start: int, stop: int, written: bool, single: bool) -> None:
        self.ranges.setdefault((memory, written, single), _Ranges()).add(start, stop)

    def clashes(self, memory: str, start: int, stop: int, writes: bool, single: bool) -> bool:
        """Whether a step that touches these bytes must wait for some step before it."""
        for written in (True, False) if writes else (True,):
            for by_first in (False,) if single else (False, True):
                ranges = self.ranges.get((memory, written, by_first))
                if ranges is not None and ranges.meets(start, stop):
                    return True
        return False


class _Sweep:
    def __init__(self, offsets: dict[str, int], single: frozenset[int]) -> None:
        self.offsets = offsets
        self.single = single
        self.before: set[int] = set()

    def run(self, nodes: tuple[Node, ...], pending: _Pending) -> _Pending:
        """Place barriers before and inside the nodes; what is pending after them."""
        for node in nodes:
            pending = self._step(node, pending)
        return pending

    def _step(self, node: Node, pending: _Pending) -> _Pending:
        match node.step:
            case Repeat(count=count):
                return self._repeat(node, count, pending)
            case Branch():
                pending = self._meet(node, pending)
                yes, no = (self.run(arm, pending.copy()) for arm in node.bodies)
                yes.join(no)
                return yes
            case Launch():
                return self._meet(node, pending)

    def _meet(self, node: Node, pending: _Pending) -> _Pending:
        """A barrier before the node if it clashes or has one; then its own bytes."""
        single = node.position in self.single
        spots = [(*self._bytes(touch), touch) for touch in node.touches]
        if node.position in self.before or any(
            pending.clashes(memory, start, stop, touch.writes, single)
            for memory, start, stop, touch in spots
        ):
            self.before.add(node.position)
            pending = _Pending()
        for memory, start, stop, touch in spots:
            if touch.reads and start < stop:
                pending.add(memory, start, stop, False, single)
            if touch.writes and start < stop:
                pending.add(memory, start, stop, True, single)
        return pending

    def _bytes(self, touch: Touch) -> tuple[str, int, int]:
        base = self.offsets.get(touch.storage)
        if base is None:
            return touch.storage, touch.start, touch.stop
        return ARENA, base + touch.start, base + touch.stop

    def _repeat(self, node: Node, count: int, pending: _Pending) -> _Pending:
        if count == 0:
            return pending
        if node.position in self.before:
            pending = _Pending()
        (body,) = node.bodies
        if count == 1:
            return self.run(body, pending)
        around = self._settle(body)
        if pending.ranges and self._would_clash(body, pending):
            self.before.add(node.position)
            pending = _Pending()
        # What was pending stays so where the body has no barrier on some path.
        around.join(pending)
        return self.run(body, around)

    def _settle(self, body: tuple[Node, ...]) -> _Pending:
        """Place the barriers that the body needs against itself; what is pending at its end."""
        around = self.run(body, _Pending())
        while True:
            known = len(self.before)
            end = self.run(body, around.copy())
            if len(self.before) == known:
                return end
            around = end

    def _would_clash(self, body: tuple[Node, ...], pending: _Pending) -> bool:
        trial = _Sweep(self.offsets, self.single)
        trial.before = set(self.before)
        trial.run(body, pending.copy())
        return len(trial.before) > len(self.before)
