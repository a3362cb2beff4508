"""A schedule's steps, numbered in order and annotated with the bytes that they touch.

Every step (launch, repeat or branch) has a position: its number when the tree is read from the
top, a body before what follows it and `yes` before `no`:

    0  launch a
    1  repeat t < 3
    2      launch b
    3      branch flag
    4          launch c      (yes)
    5          launch d      (no)
    6  launch e

Positions are what memory plans and barrier plans speak of. A code generator that visits the steps
in this order and counts has the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphc.errors import PlanError
from graphc.loops.affine import affine
from graphc.loops.expressions import Expr, Literal, Variable
from graphc.loops.kernel import Buffer
from graphc.loops.schedule import Argument, Branch, Launch, Repeat, Schedule, Step

Counts = Mapping[str, int]  # repeat index -> its count


@dataclass(frozen=True, slots=True)
class Touch:
    """Bytes [start, stop) of a storage that a step reads or writes.

    formal   the kernel's buffer; "" for the flag of a branch
    moves    the repeat indexes that the bytes depend on; start and stop span all their values
    """

    storage: str
    start: int
    stop: int
    reads: bool
    writes: bool
    formal: str = ""
    moves: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Node:
    """A step at its position. `bodies` is () of a launch, (steps,) of a repeat, (yes, no)."""

    position: int
    step: Step
    touches: tuple[Touch, ...] = ()
    bodies: tuple[tuple[Node, ...], ...] = ()
    last: int = 0  # the position of the last step inside; its own where there is none

    def walk(self) -> Iterator[Node]:
        """This node and all inside, by position."""
        yield self
        for body in self.bodies:
            for node in body:
                yield from node.walk()


def number(schedule: Schedule) -> tuple[Node, ...]:
    """The schedule's steps as nodes. Raises PlanError for an offset that is not affine."""
    return _Numbering(schedule).nodes(schedule.steps, {})


def walk(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """All nodes, by position."""
    for node in nodes:
        yield from node.walk()


def label(step: Step) -> str:
    """What a report calls a step."""
    match step:
        case Launch(name=name):
            return name
        case Repeat(index=index, count=count):
            return f"repeat {index} < {count}"
        case Branch(flag=flag):
            return f"branch on {flag.storage}"


class _Numbering:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.next = 0

    def nodes(self, steps: tuple[Step, ...], counts: Counts) -> tuple[Node, ...]:
        return tuple(self.node(step, counts) for step in steps)

    def node(self, step: Step, counts: Counts) -> Node:
        position = self.next
        self.next += 1
        match step:
            case Launch():
                return Node(position, step, self.launch(step, counts), last=position)
            case Repeat(index=index, count=count, steps=steps):
                body = self.nodes(steps, {**counts, index: count})
                return Node(position, step, (), (body,), self.next - 1)
            case Branch(flag=flag, yes=yes, no=no):
                touch = self.touch(flag, 1, counts, reads=True, writes=False)
                arms = (self.nodes(yes, counts), self.nodes(no, counts))
                return Node(position, step, (touch,), arms, self.next - 1)

    def launch(self, launch: Launch, counts: Counts) -> tuple[Touch, ...]:
        buffers = self.schedule.kernels[launch.kernel].buffers
        if len(buffers) != len(launch.arguments):
            raise PlanError(
                f"launch {launch.name}: {len(launch.arguments)} arguments for the "
                f"{len(buffers)} formal buffers of kernel {launch.kernel}"
            )
        pairs = zip(buffers, launch.arguments, strict=True)
        touches = (self.argument(buffer, argument, counts) for buffer, argument in pairs)
        return tuple(touch for touch in touches if touch.start < touch.stop)

    def argument(self, buffer: Buffer, argument: Argument, counts: Counts) -> Touch:
        reads, writes = buffer.access != "out", buffer.access != "in"
        return self.touch(argument, buffer.size, counts, reads, writes, buffer.name)

    def touch(
        self,
        argument: Argument,
        elements: int,
        counts: Counts,
        reads: bool,
        writes: bool,
        formal: str = "",
    ) -> Touch:
        low, high, moves = _reach(argument.offset, counts)
        size = self.schedule.by_name[argument.storage].dtype.itemsize
        start, stop = low * size, (high + elements) * size
        return Touch(argument.storage, start, stop, reads, writes, formal, moves)


def _reach(offset: Expr, counts: Counts) -> tuple[int, int, frozenset[str]]:
    """The least and greatest value of an offset, and the indexes that it depends on."""
    if isinstance(offset, Literal):
        return int(offset.value), int(offset.value), frozenset()
    form = affine(offset)
    if form is None or not all(_is_index(atom, counts) for atom, _ in form.terms):
        raise PlanError(f"the offset {offset} is not affine in the repeat indexes {list(counts)}")
    low = high = form.constant
    for name in form.variables:
        span = form.coefficient(name) * max(counts[name] - 1, 0)
        low, high = low + min(span, 0), high + max(span, 0)
    return low, high, form.variables


def _is_index(atom: Expr, counts: Counts) -> bool:
    return isinstance(atom, Variable) and atom.name in counts
