"""An order of launches that holds fewer bytes.

    before  %g2 = weight gradient 2        after   %g2 = weight gradient 2
            %g1 = weight gradient 1                %w2' = update by %g2
            %w2' = update by %g2                   %g1 = weight gradient 1
            %w1' = update by %g1                   %w1' = update by %g1

A node that frees more bytes than it takes, or takes next to none, runs as soon as all that it
reads is there, the one that frees most first; all others keep their order. What was written last
is then read first, so caches gain as well. New values of the state stay behind all that reads the
old ones.

List scheduling by a priority (Graham 1966; for registers, Goodman and Hsu 1988). Each node and
each tensor that it touches is looked at a fixed number of times.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from heapq import heappop, heappush

from graphc.ir import Graph, Node, Value
from graphc.passes.kinds import is_view
from graphc.passes.remat_course import Course, course_of

_LITTLE = 1000  # what takes less than this part of the peak counts as nothing


def order_nodes(graph: Graph) -> Graph:
    """The graph with its nodes in an order that takes memory late and frees it early.

    The same object where nothing moves, and where the peak would be higher.
    """
    course = course_of(graph)
    places = _Order(graph, course).run()
    if places == list(range(len(places))):
        return graph
    moved = replace(graph, nodes=tuple(graph.nodes[place] for place in places))
    return moved if course_of(moved).peak_bytes <= course.peak_bytes else graph


class _Order:
    def __init__(self, graph: Graph, course: Course) -> None:
        self.count = len(graph.nodes)
        self.little = course.peak_bytes // _LITTLE
        stored = {value for _, value in graph.updates}  # in the state
        self.touched = [_tensors(node, course, stored) for node in graph.nodes]
        self.left: dict[Value, set[int]] = defaultdict(set)  # who is still to touch a tensor
        for place, tensors in enumerate(self.touched):
            for tensor in tensors:
                self.left[tensor].add(place)
        for value in graph.results:
            root = course.root.get(value)
            if root is not None and root not in stored:
                self.left[root].add(self.count)
        self.born: set[Value] = set()
        self.waits = [0] * self.count
        self.followers: list[list[int]] = [[] for _ in graph.nodes]
        self._find_dependences(graph)

    def _find_dependences(self, graph: Graph) -> None:
        """A node follows the makers of its operands; a state's new value all that reads the old."""
        maker = {value: place for place, node in enumerate(graph.nodes) for value in node.results}
        before: list[set[int]] = [
            {maker[value] for value in node.operands if value in maker} for node in graph.nodes
        ]
        for old, new in _updated(graph):
            if new in maker:
                place = maker[new]
                before[place] |= {other for other in _readers(graph, old, maker) if other < place}
        for place, earlier in enumerate(before):
            self.waits[place] = len(earlier)
            for other in earlier:
                self.followers[other].append(place)

    def run(self) -> list[int]:
        """The nodes' places in the new order."""
        ready: list[int] = []
        freeing: list[tuple[int, int]] = []  # (bytes taken less those freed, place)
        order: dict[int, None] = {}

        def offer(place: int) -> None:
            if place < self.count and place not in order and not self.waits[place]:
                taken = self._taken(place)
                if taken <= self.little:
                    heappush(freeing, (taken, place))

        for place in range(self.count):
            if not self.waits[place]:
                heappush(ready, place)
                offer(place)
        while ready:
            place = heappop(freeing)[1] if freeing else heappop(ready)
            if place in order:
                continue
            order[place] = None
            for last in self._finish(place):
                offer(last)
            for follower in self.followers[place]:
                self.waits[follower] -= 1
                if not self.waits[follower]:
                    heappush(ready, follower)
                    offer(follower)
        return list(order)

    def _taken(self, place: int) -> int:
        """Bytes that a node takes, less those of what dies in it."""
        taken = 0
        for tensor in self.touched[place]:
            taken += tensor.type.nbytes if tensor not in self.born else 0
            taken -= tensor.type.nbytes if self.left[tensor] == {place} else 0
        return taken

    def _finish(self, place: int) -> list[int]:
        """Note that a node has run; the nodes that are now the last of a tensor."""
        last: list[int] = []
        for tensor in self.touched[place]:
            self.born.add(tensor)
            self.left[tensor].discard(place)
            last += self.left[tensor] if len(self.left[tensor]) == 1 else ()
        return last


def _tensors(node: Node, course: Course, stored: set[Value]) -> tuple[Value, ...]:
    """The tensors of the arena that a node makes, reads, or keeps alive as a view."""
    roots = dict.fromkeys(course.root.get(value) for value in (*node.operands, *node.results))
    return tuple(root for root in roots if root is not None and root not in stored)


def _updated(graph: Graph) -> list[tuple[Value, Value]]:
    state = {value.name: value for value in graph.state}
    return [(state[name], new) for name, new in graph.updates]


def _readers(graph: Graph, old: Value, maker: Mapping[Value, int]) -> set[int]:
    """Places of the nodes that read a state tensor, themselves or through views."""
    found: set[int] = set()
    waiting = [old]
    while waiting:
        for node in graph.users.get(waiting.pop(), ()):
            found.add(maker[node.results[0]])
            if is_view(node):
                waiting.extend(node.results)
    return found
