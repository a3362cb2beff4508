"""When each temporary must keep its bytes, as spans of positions in the schedule's tree.

A storage is live at a position if the step there touches it, or if an earlier step may have
written it and a later one may read it. Both are found by one sweep over the tree each, with one
bit for each storage:

    before[p]   storages that some step before p may have written
    after[p]    storages that some step after p may read
    live[p]     = touched[p] | (before[p] & after[p])

The arms of a branch start from the same sets and join by union, so what only one arm uses is dead
in the other. Inside a repeat, a storage is *carried* if its value may cross from one iteration to
the next; it is then in both sets at every position of the body. A storage is carried where it is
touched before the repeat, where its bytes move with the repeat's index, or where a kernel writes
it in parts. Everything else that an iteration reads was written in that iteration: the checker
proves that no step reads what nothing wrote, in the first iteration as well, and all others do
the same.

A storage that a kernel writes in parts (a guarded store, a scatter) owns its bytes from its first
touch to its last, since no single write of it makes the earlier ones dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from graphc.loops.schedule import Launch, Repeat, Schedule
from graphc.planning.bodies import covers
from graphc.planning.tree import Node, Touch, walk

Span = tuple[int, int]  # first and last position, both included


@dataclass(frozen=True)
class Liveness:
    """Lifetimes of the temporaries that are touched, and the sets they came from.

    bits             one bit for each temporary, as used in the sets
    written_before   by position: the storages that some earlier step may have written
    needed_after     by position: the storages that some later step may read
    """

    bits: Mapping[str, int]
    spans: Mapping[str, tuple[Span, ...]]
    written_before: tuple[int, ...]
    needed_after: tuple[int, ...]

    def dies_at(self, name: str, position: int) -> bool:
        """Whether no step after the position may read the storage."""
        return not self.needed_after[position] & self.bits[name]

    def begins_at(self, name: str, position: int) -> bool:
        """Whether no step before the position may have written the storage."""
        return not self.written_before[position] & self.bits[name]


def find_liveness(schedule: Schedule, nodes: tuple[Node, ...]) -> Liveness:
    """The lifetimes of the schedule's temporaries. `nodes` are its steps, numbered."""
    return _Sweep(schedule, nodes).run()


class _Sweep:
    def __init__(self, schedule: Schedule, nodes: tuple[Node, ...]) -> None:
        self.nodes = nodes
        self.flat = list(walk(nodes))
        temporaries = (s.name for s in schedule.storages if s.purpose == "temporary")
        self.bits = {name: 1 << number for number, name in enumerate(temporaries)}
        self.partial = self._written_in_parts(schedule)
        self.reads = [self._mask(t for t in node.touches if t.reads) for node in self.flat]
        self.writes = [self._mask(t for t in node.touches if t.writes) for node in self.flat]
        self.before = [0] * len(self.flat)
        self.after = [0] * len(self.flat)
        self.carried: dict[int, int] = {}

    def run(self) -> Liveness:
        self._find_carried()
        self._forward(self.nodes, 0)
        self._backward(self.nodes, 0)
        spans = _spans(self._live(), tuple(self.bits))
        return Liveness(self.bits, spans, tuple(self.before), tuple(self.after))

    def _mask(self, touches: Iterable[Touch]) -> int:
        mask = 0
        for touch in touches:
            mask |= self.bits.get(touch.storage, 0)
        return mask

    def _written_in_parts(self, schedule: Schedule) -> int:
        """Temporaries that some kernel writes, but not every element of its formal buffer."""
        parts = {
            key: {b.name for b in kernel.buffers if b.access == "out" and not covers(kernel, b)}
            for key, kernel in schedule.kernels.items()
        }
        mask = 0
        for node in self.flat:
            if isinstance(node.step, Launch) and (formals := parts[node.step.kernel]):
                mask |= self._mask(t for t in node.touches if t.formal in formals)
        return mask

    def _find_carried(self) -> None:
        seen = 0
        for node in self.flat:
            if isinstance(node.step, Repeat):
                self.carried[node.position] = self._carried(node, node.step.index, seen)
            seen |= self._touched(node.position)

    def _carried(self, repeat: Node, index: str, seen: int) -> int:
        inside = moving = 0
        for node in self.flat[repeat.position + 1 : repeat.last + 1]:
            inside |= self._touched(node.position)
            moving |= self._mask(t for t in node.touches if index in t.moves)
        return moving | inside & (seen | self.partial)

    def _touched(self, position: int) -> int:
        return self.reads[position] | self.writes[position]

    def _forward(self, nodes: tuple[Node, ...], before: int) -> int:
        """Fill `before`; the storages that may be written once the nodes have run."""
        for node in nodes:
            position = node.position
            entering = before | self.carried.get(position, 0)
            self.before[position] = before
            before |= self.writes[position]
            for body in node.bodies:
                before |= self._forward(body, entering)
        return before

    def _backward(self, nodes: tuple[Node, ...], after: int) -> int:
        """Fill `after`; the storages that the nodes or what follows them may read."""
        for node in reversed(nodes):
            position = node.position
            leaving = after | self.carried.get(position, 0)
            if node.bodies:
                # A repeat may run no iteration; one arm of a branch does run.
                after = after if isinstance(node.step, Repeat) else 0
                for body in node.bodies:
                    after |= self._backward(body, leaving)
            self.after[position] = after
            after |= self.reads[position]
        return after

    def _live(self) -> list[int]:
        live = [
            self._touched(position) | self.before[position] & self.after[position]
            for position in range(len(self.flat))
        ]
        for name, (first, last) in self._owned_throughout():
            for position in range(first, last + 1):
                live[position] |= self.bits[name]
        return live

    def _owned_throughout(self) -> Iterator[tuple[str, Span]]:
        """Storages written in parts: from the first touch to the last, whole loops included."""
        if not self.partial:
            return
        reach: dict[str, Span] = {}
        for touch, span in _touches(self.nodes):
            if self.bits.get(touch.storage, 0) & self.partial:
                first, last = reach.get(touch.storage, span)
                reach[touch.storage] = (min(first, span[0]), max(last, span[1]))
        yield from reach.items()


def _touches(nodes: tuple[Node, ...], around: Span | None = None) -> Iterator[tuple[Touch, Span]]:
    """Every touch, with its position or, inside a repeat, the outermost repeat's span."""
    for node in nodes:
        span = around or (node.position, node.position)
        for touch in node.touches:
            yield touch, span
        whole = (node.position, node.last) if isinstance(node.step, Repeat) else None
        for body in node.bodies:
            yield from _touches(body, around or whole)


def _spans(live: list[int], names: tuple[str, ...]) -> dict[str, tuple[Span, ...]]:
    """Runs of positions at which each storage is live."""
    found: dict[str, list[Span]] = {}
    opened: dict[int, int] = {}
    previous = 0
    for position, now in enumerate([*live, 0]):
        for number in _ones(previous ^ now):
            if now >> number & 1:
                opened[number] = position
            else:
                found.setdefault(names[number], []).append((opened.pop(number), position - 1))
        previous = now
    return {name: tuple(found[name]) for name in names if name in found}


def _ones(bits: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
