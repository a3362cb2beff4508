"""The memory planner: one arena offset for every temporary of a schedule.

    liveness       when each temporary must keep its bytes          (liveness.py)
    sharing        an output takes the bytes of an input that dies  (here, inplace.py)
    offsets        blocks that meet get distinct bytes              (arena.py)

A plan is not trusted: `graphc.planning.check` proves each one with code of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphc.errors import PlanError
from graphc.loops.kernel import Kernel, Local, Loop, Statement, When
from graphc.loops.schedule import Launch, Schedule, Storage
from graphc.planning.arena import Block, assign_offsets, live_bytes
from graphc.planning.inplace import in_place_pairs
from graphc.planning.liveness import Liveness, Span, find_liveness
from graphc.planning.memory_plan import MemoryPlan, PlannedBuffer, ResidentBuffer
from graphc.planning.tree import Node, Touch, label, number, walk

__all__ = ["MemoryPlan", "plan_memory", "scratch_bytes"]


def plan_memory(schedule: Schedule, alignment: int = 64, scratch: int = 0) -> MemoryPlan:
    """Offsets in one arena for the schedule's temporaries.

    The schedule's kernels are naive ones: sharing in place is judged on them. `scratch` is what
    each thread needs beside the arena, once the kernels are tiled (see `scratch_bytes`).

    Raises PlanError for an alignment that is no power of two, and for a launch whose arguments do
    not fit its kernel.
    """
    if alignment < 1 or alignment & (alignment - 1):
        raise PlanError(f"the alignment of an arena is a power of two, not {alignment}")
    nodes = number(schedule)
    steps = list(walk(nodes))
    temporaries = [s for s in schedule.storages if s.purpose == "temporary"]
    liveness = find_liveness(schedule, nodes)
    groups = _Sharing(schedule, liveness, steps).groups()
    offsets, bound = _place(temporaries, groups, liveness, len(steps), alignment)
    return MemoryPlan(
        name=schedule.name,
        alignment=alignment,
        arena_bytes=max((offsets[s.name] + s.nbytes for s in temporaries), default=0),
        lower_bound_bytes=bound,
        buffers=tuple(
            PlannedBuffer(
                s.name, s.nbytes, offsets[s.name], liveness.spans.get(s.name, ()), s.source
            )
            for s in temporaries
        ),
        resident=tuple(
            ResidentBuffer(s.name, s.purpose, s.nbytes, s.source)
            for s in schedule.storages
            if s.purpose != "temporary"
        ),
        steps=tuple(label(node.step) for node in steps),
        scratch_bytes=scratch,
    )


def scratch_bytes(kernels: Iterable[Kernel], alignment: int = 64) -> int:
    """What a thread needs for the scratch buffers of any one of the kernels."""
    return max((_scratch(kernel.body, alignment) for kernel in kernels), default=0)


def _scratch(body: tuple[Statement, ...], alignment: int) -> int:
    """Scratch buffers of a body, each aligned; those of separate loops beside one another."""
    total = 0
    for statement in body:
        match statement:
            case Local(buffer=buffer) if buffer.space == "scratch":
                total += _round_up(buffer.nbytes, alignment)
            case Loop(body=inner) | When(body=inner):
                total += _scratch(inner, alignment)
    return total


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _place(
    temporaries: list[Storage],
    groups: dict[str, str],
    liveness: Liveness,
    positions: int,
    alignment: int,
) -> tuple[dict[str, int], int]:
    """The offset of every temporary, and the lower bound of the arena.

    The bound is of the bytes themselves; the search stops at the bound of their rounded sizes.
    """
    spans: dict[str, list[Span]] = {}
    sizes: dict[str, int] = {}
    for storage in temporaries:
        if storage.nbytes and storage.name in liveness.spans:
            root = groups[storage.name]
            spans.setdefault(root, []).extend(liveness.spans[storage.name])
            sizes[root] = storage.nbytes
    exact = [Block(sizes[root], join_spans(spans[root])) for root in spans]
    rounded = [Block(_round_up(block.size, alignment), block.spans) for block in exact]
    bound = int(live_bytes(rounded, positions).max(initial=0))
    placed = dict(zip(spans, assign_offsets(rounded, bound), strict=True))
    offsets = {storage.name: placed.get(groups[storage.name], 0) for storage in temporaries}
    return offsets, int(live_bytes(exact, positions).max(initial=0))


def join_spans(spans: list[Span]) -> tuple[Span, ...]:
    """The same positions in as few spans as possible.

    >>> join_spans([(4, 6), (0, 2), (2, 3), (9, 9)])
    ((0, 6), (9, 9))
    """
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


class _Sharing:
    """Temporaries that lie at one offset, since each takes over the bytes of the one before."""

    def __init__(self, schedule: Schedule, liveness: Liveness, steps: list[Node]) -> None:
        self.liveness = liveness
        self.steps = steps
        self.sizes = {s.name: s.nbytes for s in schedule.storages if s.purpose == "temporary"}
        self.pairs = {key: in_place_pairs(kernel) for key, kernel in schedule.kernels.items()}
        self.root = {name: name for name in self.sizes}
        self.taken: set[tuple[int, str]] = set()  # whose bytes a launch's result took, by position
        self.positions = {name: _mask(spans) for name, spans in liveness.spans.items()}

    def groups(self) -> dict[str, str]:
        """Every temporary's group, named by one of its members."""
        for node in self.steps:
            if isinstance(node.step, Launch):
                for source, target in self.pairs[node.step.kernel]:
                    self._consider(node, source, target)
        return {name: self._find(name) for name in self.root}

    def _find(self, name: str) -> str:
        while self.root[name] != name:
            name = self.root[name]
        return name

    def _consider(self, node: Node, source: str, target: str) -> None:
        """Let the output take the input's bytes, if the input dies here and nothing else meets."""
        by_formal = {touch.formal: touch for touch in node.touches}
        dying, born = by_formal.get(source), by_formal.get(target)
        if dying is None or born is None:
            return
        if not (self._is_whole(dying) and self._is_whole(born) and self._alone(node, dying, born)):
            return
        if dying.stop != born.stop or not self._changes_hands(node.position, dying, born):
            return
        old, new = self._find(dying.storage), self._find(born.storage)
        if old == new or (node.position, old) in self.taken:
            return  # another result of this launch lies there, though nothing may read it later
        if self.positions[old] & self.positions[new] == 1 << node.position:
            self.taken.add((node.position, old))
            self.positions[old] |= self.positions[new]
            self.root[new] = old

    def _is_whole(self, touch: Touch) -> bool:
        """Whether a formal buffer is a whole temporary."""
        whole = touch.start == 0 and touch.stop == self.sizes.get(touch.storage) and touch.stop > 0
        return whole and not touch.moves

    def _alone(self, node: Node, dying: Touch, born: Touch) -> bool:
        """Whether the launch touches the two storages as these formals only, or others as well.

        An input that is passed twice may be taken if each of its formals may.
        """
        assert isinstance(node.step, Launch)
        allowed = {
            source for source, target in self.pairs[node.step.kernel] if target == born.formal
        }
        return all(
            touch.formal == born.formal
            if touch.storage == born.storage
            else touch.formal in allowed and touch.start == 0
            for touch in node.touches
            if touch.storage in (dying.storage, born.storage)
        )

    def _changes_hands(self, position: int, dying: Touch, born: Touch) -> bool:
        dies = self.liveness.dies_at(dying.storage, position)
        return dies and self.liveness.begins_at(born.storage, position)


def _mask(spans: tuple[Span, ...]) -> int:
    """The positions of the spans as bits."""
    mask = 0
    for first, last in spans:
        mask |= (1 << last + 1) - (1 << first)
    return mask
