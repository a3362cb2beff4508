"""What steps do to bytes, step after step, as the checker plays a schedule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from graphc.dtypes import int64
from graphc.errors import PlanError
from graphc.loops.expressions import Call, Expr, Literal, Variable
from graphc.loops.kernel import Buffer
from graphc.loops.schedule import Argument, Branch, Launch, Repeat, Schedule, Step
from graphc.planning.check.bodies import Body
from graphc.planning.memory_plan import MemoryPlan

ARENA = ""
Indexes = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Spot:
    """Bytes [start, stop) of a memory that a step touches as part of a storage.

    memory   ARENA, or the storage itself where it lies outside
    whole    the step writes each of the bytes, whatever the data
    """

    storage: str
    formal: str
    memory: str
    start: int
    stop: int
    reads: bool
    writes: bool
    whole: bool

    def overlaps(self, other: Spot) -> bool:
        return self.memory == other.memory and self.start < other.stop and other.start < self.stop

    def up_to(self, others: Iterable[Spot]) -> Spot:
        """From the first to the last byte of some places of the same storage."""
        starts, stops = zip(*((spot.start, spot.stop) for spot in others), strict=True)
        return replace(self, start=min(starts), stop=max(stops))

    def __str__(self) -> str:
        where = f"{self.memory} " if self.memory else "arena "
        return f"{self.storage} ({where}bytes {self.start}..{self.stop})"


class Spots:
    """The bytes of every step of a schedule on a plan, for given indexes of the repeats."""

    def __init__(self, schedule: Schedule, plan: MemoryPlan) -> None:
        self.schedule = schedule
        self.offsets = plan.offsets
        self.bodies = {key: Body(kernel) for key, kernel in schedule.kernels.items()}
        for body in self.bodies.values():
            body.check()
        self.formals = {key: tuple(_formals(body)) for key, body in self.bodies.items()}
        self._fixed: dict[int, tuple[Spot, ...]] = {}  # launches that are the same in all repeats

    def whole(self, name: str) -> Spot:
        """All bytes of a storage, written."""
        storage = self.schedule.by_name[name]
        argument = Argument(name, Literal(0, int64))
        return self._spot(name, argument, {}, "", storage.size, (False, True, True))

    def launch(self, launch: Launch, indexes: Indexes) -> tuple[Spot, ...]:
        """The bytes of a launch. Raises PlanError where its arguments do not fit its kernel."""
        known = self._fixed.get(id(launch))
        if known is None:
            known = self._find(launch, indexes)
            if all(isinstance(argument.offset, Literal) for argument in launch.arguments):
                self._fixed[id(launch)] = known
        return known

    def _find(self, launch: Launch, indexes: Indexes) -> tuple[Spot, ...]:
        if launch.kernel not in self.formals:
            raise PlanError(f"launch {launch.name}: no kernel {launch.kernel}")
        wanted = self.formals[launch.kernel]
        if len(wanted) != len(launch.arguments):
            raise PlanError(
                f"launch {launch.name}: {len(launch.arguments)} arguments for {len(wanted)} buffers"
            )
        found = []
        for (buffer, reads, writes, whole), argument in zip(wanted, launch.arguments, strict=True):
            spot = self._spot(
                launch.name, argument, indexes, buffer.name, buffer.size, (reads, writes, whole)
            )
            storage = self.schedule.by_name[argument.storage]
            if storage.dtype != buffer.dtype:
                raise PlanError(
                    f"launch {launch.name}: {buffer.name} is {buffer.dtype}, "
                    f"{storage.name} holds {storage.dtype}"
                )
            if writes and storage.purpose in ("input", "constant"):
                raise PlanError(f"launch {launch.name} writes {storage.purpose} {storage.name}")
            found.append(spot)
        return tuple(found)

    def flag(self, branch: Branch, indexes: Indexes) -> Spot:
        """The byte that decides a branch."""
        name = f"branch on {branch.flag.storage}"
        return self._spot(name, branch.flag, indexes, "", 1, (True, False, False))

    def _spot(
        self,
        step: str,
        argument: Argument,
        indexes: Indexes,
        formal: str,
        elements: int,
        does: tuple[bool, bool, bool],
    ) -> Spot:
        storage = self.schedule.by_name.get(argument.storage)
        if storage is None:
            raise PlanError(f"{step}: no storage {argument.storage}")
        offset = value_of(argument.offset, indexes)
        if offset < 0 or offset + elements > storage.size:
            raise PlanError(
                f"{step}: {formal or 'flag'} is elements {offset}..{offset + elements} of "
                f"{storage.name}, which has {storage.size}"
            )
        memory = ARENA if storage.purpose == "temporary" else storage.name
        base = self.offsets[storage.name] if memory == ARENA else 0
        size = storage.dtype.itemsize
        start = base + offset * size
        return Spot(storage.name, formal, memory, start, start + elements * size, *does)


def _formals(body: Body) -> Iterator[tuple[Buffer, bool, bool, bool]]:
    """Every formal buffer, and whether the body reads it, writes it, and writes all of it."""
    for buffer in body.kernel.buffers:
        name = buffer.name
        yield buffer, name in body.reads, name in body.writes, name in body.covered


def value_of(offset: Expr, indexes: Indexes) -> int:
    """An integer expression's value. Raises PlanError for what is no sum of indexes."""
    match offset:
        case Literal(value=value):
            return int(value)
        case Variable(name=name) if name in indexes:
            return indexes[name]
        case Call(op="add", args=(a, b)):
            return value_of(a, indexes) + value_of(b, indexes)
        case Call(op="sub", args=(a, b)):
            return value_of(a, indexes) - value_of(b, indexes)
        case Call(op="mul", args=(a, b)):
            return value_of(a, indexes) * value_of(b, indexes)
        case Call(op="neg", args=(a,)):
            return -value_of(a, indexes)
    raise PlanError(f"the offset {offset} does not follow from the repeat indexes {list(indexes)}")


def positions(steps: tuple[Step, ...], first: int = 0) -> Iterator[tuple[int, Step]]:
    """Every step with its position, from the top of the tree."""
    for step in steps:
        yield first, step
        for body in inner(step):
            yield from positions(body, first + 1)
            first += size_of(body)
        first += 1


def inner(step: Step) -> tuple[tuple[Step, ...], ...]:
    """The bodies of a step, in the order of their positions."""
    match step:
        case Repeat(steps=steps):
            return (steps,)
        case Branch(yes=yes, no=no):
            return yes, no
        case Launch():
            return ()


def size_of(steps: tuple[Step, ...]) -> int:
    """The number of steps in a body, those inside others included."""
    return sum(1 + sum(map(size_of, inner(step))) for step in steps)


def sampled(count: int, runs: int) -> tuple[int, ...]:
    """The iterations of a repeat that are played: all, or the first three and the last two."""
    return tuple(range(count)) if runs <= EVENTS else tuple(sorted({0, 1, 2, count - 2, count - 1}))


def runs_of(steps: tuple[Step, ...]) -> int:
    """How many steps run, every iteration counted."""
    total = 0
    for step in steps:
        inside = sum(map(runs_of, inner(step)))
        total += 1 + inside * (step.count if isinstance(step, Repeat) else 1)
    return total


# Repeats are played whole up to so many steps in all.
EVENTS = 4_000
