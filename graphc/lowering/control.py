"""Loops and branches: the launches of a region inside a Repeat or a Branch.

Nothing is copied to take a stack apart or to put one together: the slice of an iteration is a
place at an offset that depends on it, and the launch that computes a slice stores it there.

A carry whose values are stacked too lives in a stack of one slice more, that of its start:

    slot        0       1       …   length          (of a loop that runs forward)
    holds       start   after 0 …   after the last
    old values  slots 0 … length - 1        new values  slots 1 … length        result  slot length

Any other carry has one slice of memory, which its new value overwrites where that is computed
after the last reader of the old one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphc.ir import Graph, Node, Value
from graphc.loops import Argument, Branch, Expr, Repeat, Step, add, index, mul, sub, variable
from graphc.lowering.contraction import analyse
from graphc.lowering.kernels import lower_values
from graphc.lowering.places import Place, row_major
from graphc.lowering.stacks import overwritten_stacks
from graphc.lowering.updates import carries_in_place
from graphc.ops import get
from graphc.ops.scan_gradient import Loop, loop_of

if TYPE_CHECKING:
    from graphc.lowering.lower import Lowering


def lower_scan(lowering: Lowering, node: Node) -> None:
    """A Repeat over the region; results are the carries' memory and the stacks."""
    _Scan(lowering, node).run()


@dataclass(frozen=True)
class _Carry:
    """Where a carry is: when the loop starts, in an iteration, and when the loop has ended.

    olds, news   the stacks of its values before and after each iteration; None where it has one
                 slice of memory, `old` and `new` then being the same
    """

    start: Place
    old: Place
    new: Place
    end: Place
    olds: Place | None = None
    news: Place | None = None


class _Scan:
    def __init__(self, lowering: Lowering, node: Node) -> None:
        self.lowering = lowering
        self.node = node
        self.loop: Loop = loop_of(node.attrs)
        (self.body,) = node.regions
        consts, first = self.loop.consts, self.loop.first_slice
        self.consts = self.body.inputs[:consts]
        self.olds = self.body.inputs[consts:first]
        self.slices = self.body.inputs[first:]
        self.news = self.body.outputs[: self.loop.carries]
        self.ys = self.body.outputs[self.loop.carries :]
        self.name = f"t.{len(lowering.storages)}"
        number: Expr = variable(self.name)
        self.number = sub(index(self.loop.length - 1), number) if self.loop.reverse else number

    def run(self) -> None:
        lowering, node = self.lowering, self.node
        consts, first = self.loop.consts, self.loop.first_slice
        fixed = [lowering.materialise(value) for value in node.operands[:consts]]
        stacks = [lowering.materialise(value) for value in node.operands[first:]]
        slices = [_slice(self._outermost(place), self.number) for place in stacks]
        starts = node.operands[consts:first]
        carries = [self._carry(*item) for item in zip(self.olds, self.news, starts, strict=True)]
        for value, carry in zip(starts, carries, strict=True):
            _put(lowering, value, carry.start, node, "carry")
        taken = overwritten_stacks(lowering, node, self.loop, stacks)
        results = [taken.get(value) or self._stack(value, carries) for value in self.ys]
        places = [*fixed, *(carry.old for carry in carries), *slices]
        lowering.places.update(zip(self.body.inputs, places, strict=True))
        self._lay_out()
        with _inside(lowering) as steps:
            lowering.sweep(self.body, self._targets(carries, results))
            self._store(carries, results)
        lowering.steps.append(Repeat(self.name, self.loop.length, tuple(steps)))
        ends = [carry.end for carry in carries]
        lowering.places.update(zip(node.results, [*ends, *results], strict=True))

    # Memory

    def _stack_of(self, value: Value, slots: int) -> Place:
        """Memory for so many values."""
        shape = (slots, *value.shape)
        return self.lowering.temporary(shape, value.dtype, row_major(shape), self.node.source)

    def _outermost(self, place: Place) -> Place:
        """The stack with its first dimension outermost in memory."""
        if place.order[0] == 0:
            return place
        return self.lowering.relay(place, row_major(place.shape), self.node.source)

    def _carry(self, old: Value, new: Value, start: Value) -> _Carry:
        if old not in self.ys and new not in self.ys:
            known = self.lowering.places.get(start)
            order = row_major(old.shape) if known is None else known.order
            held = self.lowering.temporary(old.shape, old.dtype, order, self.node.source)
            return _Carry(held, held, held, held)
        length, step = self.loop.length, old.type.size
        whole = self._stack_of(old, length + 1)
        lower = replace(whole, shape=(length, *old.shape))
        upper = replace(lower, offset=index(step))
        olds, news = (upper, lower) if self.loop.reverse else (lower, upper)
        first, last = (length, 0) if self.loop.reverse else (0, length)
        return _Carry(
            _slice(whole, index(first)),
            _slice(olds, self.number),
            _slice(news, self.number),
            _slice(whole, index(last)),
            olds,
            news,
        )

    def _stack(self, value: Value, carries: Sequence[_Carry]) -> Place:
        """Where the slices of a y come to lie: in the stack of a carry, or in one of its own."""
        for old, new, carry in zip(self.olds, self.news, carries, strict=True):
            if value is new and carry.news is not None:
                return carry.news
            if value is old and carry.olds is not None:
                return carry.olds
        return self._stack_of(value, self.loop.length)

    # The body

    def _lay_out(self) -> None:
        """Other orders that products want of what is the same in all iterations."""
        lowering = self.lowering
        known = set(self.consts)
        for node in self.body.nodes:
            if get(node.op).view and known.issuperset(node.operands):
                if lowering._is_view(node):
                    known.update(node.results)
                continue
            inside: dict[Value, Value] = {}
            if node.op == "group":
                inside = dict(zip(node.regions[0].inputs, node.operands, strict=True))
            for inner in node.regions[0].nodes if inside else (node,):
                contraction = analyse(inner)
                operand = None if contraction is None else inner.operands[contraction.b[0]]
                if operand is not None and inside.get(operand, operand) in known:
                    lowering._relaid_operands(inner, inside)

    def _targets(self, carries: Sequence[_Carry], results: Sequence[Place]) -> dict[Value, Place]:
        """Where the launches of the body store what an iteration leaves behind."""
        in_place = carries_in_place(self.body, self.olds, self.news)
        targets: dict[Value, Place] = {}
        for value, stack in zip(self.ys, results, strict=True):
            targets.setdefault(value, _slice(stack, self.number))
        for old, new, carry in zip(self.olds, self.news, carries, strict=True):
            if carry.news is not None or in_place.get(new) is old:
                targets[new] = carry.new
        return targets

    def _store(self, carries: Sequence[_Carry], results: Sequence[Place]) -> None:
        """Copies of what no launch has stored where it belongs."""
        lowering, node = self.lowering, self.node
        for value, stack in zip(self.ys, results, strict=True):
            target = _slice(stack, self.number)
            if lowering.places.get(value) != target and not self._is_own(value, stack, carries):
                _put(lowering, value, target, node, "stack")
        moves = [
            (lowering.materialise(new), carry.new)
            for new, carry in zip(self.news, carries, strict=True)
        ]
        held = {carry.old.storage for carry in carries if carry.olds is None}
        for position, (found, target) in enumerate(moves):
            if found != target and found.storage in held:
                moves[position] = (self._set_aside(found), target)
        for found, target in moves:
            if found != target:
                lowering.copy(found, target, "carry", node.source)

    def _is_own(self, value: Value, stack: Place, carries: Sequence[_Carry]) -> bool:
        """Whether the stack is that of the carry's old or new values, and filled as such."""
        pairs = zip(self.olds, self.news, carries, strict=True)
        return any(
            (value is new and stack == carry.news) or (value is old and stack == carry.olds)
            for old, new, carry in pairs
        )

    def _set_aside(self, place: Place) -> Place:
        """A copy of a carry's old value, which another carry takes over."""
        made = self.lowering.temporary(place.shape, place.dtype, place.order, self.node.source)
        self.lowering.copy(place, made, "carry", self.node.source)
        return made


def _slice(stack: Place, number: Expr) -> Place:
    """One slice along the first dimension."""
    size = 1
    for extent in stack.shape[1:]:
        size *= extent
    order = tuple(d - 1 for d in stack.order[1:])
    offset = add(stack.offset, mul(number, size))
    return replace(stack, shape=stack.shape[1:], order=order, offset=offset)


def _put(lowering: Lowering, value: Value, place: Place, node: Node, name: str) -> None:
    """Store a value at a place: computed there, where nothing else holds it."""
    if value in lowering.places:
        lowering.copy(lowering.places[value], place, name, node.source)
        return
    maker = lowering.producers[value]
    results = [(value, place)]
    lowered = lower_values(maker.op, results, lowering.places, lowering.producers, value.shape)
    lowering._launch(lowered, maker.op, maker.source, "")


def lower_cond(lowering: Lowering, node: Node) -> None:
    """A Branch; both arms leave their results in the same memory."""
    flag, *operands = [lowering.materialise(value) for value in node.operands]
    results = [
        lowering.temporary(value.shape, value.dtype, row_major(value.shape), node.source)
        for value in node.results
    ]
    arms = [_arm(lowering, region, operands, results, node) for region in node.regions]
    lowering.steps.append(Branch(Argument(flag.storage, flag.offset), *arms))
    lowering.places.update(zip(node.results, results, strict=True))


def _arm(
    lowering: Lowering,
    region: Graph,
    operands: Sequence[Place],
    results: Sequence[Place],
    node: Node,
) -> tuple[Step, ...]:
    with _inside(lowering) as steps:
        lowering.places.update(zip(region.inputs, operands, strict=True))
        targets: dict[Value, Place] = {}
        for value, place in zip(region.outputs, results, strict=True):
            targets.setdefault(value, place)
        lowering.sweep(region, targets)
        for value, place in zip(region.outputs, results, strict=True):
            if lowering.places.get(value) != place:
                _put(lowering, value, place, node, "result")
    return tuple(steps)


@contextmanager
def _inside(lowering: Lowering) -> Iterator[list[Step]]:
    """Steps made in the body go to a list of their own; layouts made there stay there."""
    outer, relaid = lowering.steps, dict(lowering.relaid)
    lowering.steps = []
    yield lowering.steps
    lowering.steps, lowering.relaid = outer, relaid
