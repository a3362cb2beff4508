"""How a tensor is computed again: portions of earlier launches, from what memory still holds.

A launch may have several results. Where one of them is at hand, what another needs beyond it is
all that runs again: the activation alone, not the product that it follows.

    group(%x, %w) -> %h, %a { matmul; gelu }        %h kept: %a again is gelu(%h)
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from graphc.ir import Graph, Node, Value
from graphc.lowering.costs import flops_of
from graphc.ops.define import get
from graphc.passes.kinds import is_cheap
from graphc.passes.remat_course import Course, inner_nodes, runs

_MOST_PORTIONS = 200  # of one recipe

# Rough speeds, of a few threads: they only rank what to compute again.
_FLOPS_PER_SECOND = 1e11
_BYTES_PER_SECOND = 2e10
_CACHED_BYTES, _CACHED_BYTES_PER_SECOND = 8 << 20, 5e10  # of a launch that the last cache holds
_LAUNCH_SECONDS = 1e-6
_FORMULA_FLOPS = 30  # of one exp, erf, tanh, division


class Flops(dict[Node, int]):
    """Floating-point operations of nodes, counted once: those of a formula as what it takes."""

    def __missing__(self, node: Node) -> int:
        is_formula = get(node.op).elementwise and not is_cheap(node)
        self[node] = flops_of(node) * (_FORMULA_FLOPS if is_formula else 1)
        return self[node]

    def of(self, nodes: Iterable[Node]) -> int:
        return sum(self[node] for node in nodes)


@dataclass(frozen=True)
class Portion:
    """The part of a launch that gives some of its results.

    wanted     the results that are computed again
    at_hand    other results of the same launch, read instead of computed
    nodes      what runs, in order: nodes of the group's region, or the node itself
    operands   what is read of the graph around
    flops      of all that runs
    """

    node: Node
    wanted: tuple[Value, ...]
    at_hand: tuple[Value, ...]
    nodes: tuple[Node, ...]
    operands: tuple[Value, ...]
    flops: int

    @property
    def is_whole(self) -> bool:
        return len(self.nodes) == len(inner_nodes(self.node)) and not self.at_hand

    @property
    def made(self) -> tuple[Value, ...]:
        """The tensors that get memory: a node that is no group gives all its results."""
        return self.wanted if self.node.op == "group" else self.node.results

    @property
    def made_bytes(self) -> int:
        return sum(value.type.nbytes for value in self.made)

    @property
    def seconds(self) -> float:
        return seconds_of(self.flops, (*self.operands, *self.at_hand, *self.made))


def seconds_of(flops: int, moved: Iterable[Value]) -> float:
    """Of a launch that reads and writes the values, on a processor of middling speed."""
    moved_bytes = sum(value.type.nbytes for value in moved)
    is_cached = moved_bytes <= _CACHED_BYTES
    speed = _CACHED_BYTES_PER_SECOND if is_cached else _BYTES_PER_SECOND
    return max(flops / _FLOPS_PER_SECOND, moved_bytes / speed) + _LAUNCH_SECONDS


def step_seconds(course: Course, flops: Flops) -> float:
    """Of all launches."""
    return sum(
        seconds_of(flops.of(inner_nodes(node)), (*node.operands, *node.results))
        for node in course.nodes
        if runs(node)
    )


@dataclass(frozen=True)
class Recipe:
    """What runs again, in order, and the tensors that it needs at hand: {tensor: instance}."""

    portions: tuple[Portion, ...]
    leaves: dict[Value, Value]

    @property
    def seconds(self) -> float:
        return sum(portion.seconds for portion in self.portions)

    @property
    def flops(self) -> int:
        return sum(portion.flops for portion in self.portions)

    @property
    def made_bytes(self) -> int:
        return sum(portion.made_bytes for portion in self.portions)


def find_recipe(
    course: Course,
    tensor: Value,
    flops: Flops,
    at_hand: Callable[[Value], Value | None],
    is_readable: Callable[[Value], bool],
) -> Recipe | None:
    """How to compute a tensor again; None: from nothing that is there, or in too many steps.

    at_hand       the instance of a tensor to read instead of computing it
    is_readable   whether a value with no memory in the arena still has its meaning
    """
    wanted = {tensor}
    leaves: dict[Value, Value] = {}
    waiting = [-course.made[tensor]]
    portions: list[Portion] = []
    while waiting:
        position = -heappop(waiting)
        if waiting and -waiting[0] == position:
            continue
        node = course.nodes[position]
        portion = _portion(node, wanted, flops, at_hand)
        portions.append(portion)
        leaves.update((value, found) for value in portion.at_hand if (found := at_hand(value)))
        for operand in portion.operands:
            root = course.root.get(operand)
            if root is None:
                if not is_readable(operand):
                    return None
            elif root not in wanted and root not in leaves:
                instance = at_hand(root)
                if instance is not None:
                    leaves[root] = instance
                else:
                    wanted.add(root)
                    heappush(waiting, -course.made[root])
        if len(portions) > _MOST_PORTIONS:
            return None
    return Recipe(tuple(reversed(portions)), leaves)


def _portion(
    node: Node, wanted: set[Value], flops: Flops, at_hand: Callable[[Value], Value | None]
) -> Portion:
    chosen = tuple(value for value in node.results if value in wanted)
    if node.op != "group":
        return Portion(node, chosen, (), (node,), node.operands, flops[node])
    (region,) = node.regions
    inside = dict(zip(node.results, region.outputs, strict=True))
    held = [v for v in node.results if v not in wanted and at_hand(v) is not None]
    stops = {inside[value]: value for value in held} if held else {}
    nodes = _needed(region, [inside[value] for value in chosen], stops)
    read = dict.fromkeys(value for inner in nodes for value in inner.operands)
    formal = dict(zip(region.inputs, node.operands, strict=True))
    operands = tuple(dict.fromkeys(formal[value] for value in read if value in formal))
    used = tuple(stops[value] for value in read if value in stops)
    return Portion(node, chosen, used, nodes, operands, flops.of(nodes))


def _needed(region: Graph, outputs: Sequence[Value], stops: Container[Value]) -> tuple[Node, ...]:
    """The region's nodes that the outputs depend on, no further than the stops."""
    needed = set(outputs)
    kept: list[Node] = []
    for node in reversed(region.nodes):
        if not needed.isdisjoint(node.results):
            kept.append(node)
            needed.update(value for value in node.operands if value not in stops)
    return tuple(reversed(kept))
