"""Which tensors give up their bytes over the peak, and are computed again before their next use.

At the position with the most live bytes, the tensors that nothing touches there are ranked by the
seconds that computing them again takes for each byte, cheapest first, as in

    Kirisame et al., Dynamic Tensor Rematerialization, 2021
    Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016

but ahead of time, with the whole course of memory known. What one choice reads stays; the ranking
is kept lazily, since each choice makes others dearer.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf

from graphc.ir import Graph, Value
from graphc.passes.remat_course import Course
from graphc.passes.remat_recipe import Flops, Recipe, find_recipe

_LEAST_SHARE = 2000  # a tensor of less than this part of the peak is not worth a launch


@dataclass(frozen=True)
class Eviction:
    """A tensor that is computed again at a position, for all reads from there on."""

    tensor: Value
    position: int
    recipe: Recipe


@dataclass
class Choice:
    """One round of choices at one peak.

    origin   clones of tensors, made in earlier rounds -> the tensor they are clones of
    seconds  that computing again may take
    """

    graph: Graph
    course: Course
    origin: dict[Value, Value]
    flops: Flops
    seconds: float = inf
    evicted: dict[Value, Eviction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.peak = self.course.peak
        self.held: set[Value] = set()
        self.again: dict[int, set[Value]] = defaultdict(set)  # position -> computed again there
        self.instances: dict[Value, list[Value]] = defaultdict(list)
        for tensor in self.course.made:
            self.instances[self.origin.get(tensor, tensor)].append(tensor)
        made_at = {v: n for n, node in enumerate(self.graph.nodes) for v in node.results}
        self.overwritten = {
            value: made_at.get(new, len(self.graph.nodes))
            for value in self.graph.state
            for name, new in self.graph.updates
            if name == value.name and new is not value
        }

    def evictions(self, target_bytes: int) -> list[Eviction]:
        """The cheapest that bring the peak's position to the target; fewer where there are not."""
        excess = self.course.levels[self.peak] - target_bytes
        candidates = self._candidates()
        costs = [self._cost(tensor) for tensor in candidates]
        ranked = [(cost, number) for number, cost in enumerate(costs) if cost is not None]
        heapify(ranked)
        while ranked and excess > 0:
            _, number = heappop(ranked)
            cost = self._cost(candidates[number])
            if cost is None:
                continue
            if ranked and (cost, number) > ranked[0]:
                heappush(ranked, (cost, number))
                continue
            self._take(candidates[number])
            excess -= candidates[number].type.nbytes
        return list(self.evicted.values())

    def _candidates(self) -> list[Value]:
        """Tensors that are live at the peak and not touched there."""
        course, peak, end = self.course, self.peak, len(self.graph.nodes)
        least = course.peak_bytes // _LEAST_SHARE
        results = set(self.graph.results)
        return [
            tensor
            for tensor, made in course.made.items()
            if made < peak < course.last(tensor) < end
            and tensor.type.nbytes > least
            and tensor not in results
            and peak not in course.reads[tensor]
        ]

    def _cost(self, tensor: Value) -> float | None:
        """Seconds a byte; None: the tensor must stay."""
        eviction = self._eviction(tensor)
        if eviction is None or eviction.recipe.seconds > self.seconds:
            return None
        return eviction.recipe.seconds / tensor.type.nbytes

    def _eviction(self, tensor: Value) -> Eviction | None:
        if tensor in self.held:
            return None
        position = self.course.next_read(tensor, self.peak)
        assert position is not None
        recipe = find_recipe(
            self.course,
            tensor,
            self.flops,
            lambda value: None if value is tensor else self._at_hand(value, position),
            lambda value: self._is_readable(value, position),
        )
        if recipe is None or not self._has_room(tensor, recipe, position):
            return None
        return Eviction(tensor, position, recipe)

    def _take(self, tensor: Value) -> None:
        eviction = self._eviction(tensor)
        assert eviction is not None
        self.evicted[tensor] = eviction
        self.seconds -= eviction.recipe.seconds
        self.held.update(eviction.recipe.leaves.values())
        for portion in eviction.recipe.portions:
            self.again[eviction.position].update(portion.made)

    def _has_room(self, tensor: Value, recipe: Recipe, position: int) -> bool:
        """Whether computing it again makes no peak as high as this one."""
        before = self.course.levels[position - 1] - tensor.type.nbytes
        return before + recipe.made_bytes < self.course.peak_bytes

    def _at_hand(self, tensor: Value, position: int) -> Value | None:
        """An instance of a tensor that memory holds at a position, or could at no new peak."""
        if tensor in self.again[position]:
            return tensor
        same = self.instances[self.origin.get(tensor, tensor)]
        return next((value for value in same if self._is_held(value, position)), None)

    def _is_held(self, tensor: Value, position: int) -> bool:
        course, last = self.course, self.course.last(tensor)
        if course.made[tensor] >= position:
            return False
        if tensor in self.evicted:
            return self.evicted[tensor].position <= position <= last
        if last >= position:
            return True
        between = max(course.levels[last + 1 : position], default=0)
        return between + tensor.type.nbytes < course.peak_bytes

    def _is_readable(self, value: Value, position: int) -> bool:
        """Whether an input, a state tensor, or a view of one is not overwritten before."""
        producers = self.graph.producers
        while value in producers:
            operands = producers[value].operands
            if not operands:
                return True
            value = operands[0]
        return self.overwritten.get(value, position) >= position
