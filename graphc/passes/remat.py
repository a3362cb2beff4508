"""Rematerialisation: tensors that cost little to compute again give up their bytes in between.

    before  %1, %2 = group(%x, %w) { matmul; gelu }        # net.py:7     (forward)
            %3 = matmul(%2, %v)                            # net.py:8
            ...                                            the peak
            %8 = matmul(%2, %g)                            # net.py:8     (backward)
    after   %1, %2 = group(%x, %w) { matmul; gelu }        # net.py:7
            %3 = matmul(%2, %v)                            # net.py:8
            ...
            %7 = gelu(%1)                                  # net.py:7
            %8 = matmul(%7, %g)                            # net.py:8

It runs after fuse, which says what gets memory at all: what fusion computes inside of its consumer
takes none. So the course of live bytes is known nearly to the byte, and what runs again are the
very launches of the forward, or portions of them, whose kernels are there already.

The values are those that they replace, bit for bit: a launch gives the same bits wherever it
stands, random numbers depend on their key and index, and grouping changes no bits. Updates of the
state are results of the graph and never run again; a launch that reads state runs again only
before that state is overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import ClassVar

from graphc.ir import Graph, Remark, Value
from graphc.passes.base import Pass
from graphc.passes.remat_choice import Choice, Eviction
from graphc.passes.remat_course import Course, course_of
from graphc.passes.remat_kept import keep_where_room
from graphc.passes.remat_order import order_nodes
from graphc.passes.remat_recipe import Flops, step_seconds
from graphc.passes.remat_writer import Writer

_MOST_ROUNDS = 400
_PATIENCE = 12  # rounds with no new least peak


@dataclass(frozen=True)
class Remat(Pass):
    """Bring the live bytes down to `percent` of their peak, or as near as computing again gets.

    order   first let launches run where they free memory early, which costs nothing
    extra   thousandths of the step's time that computing again may take, as it is estimated; -1
            for any
    """

    name: ClassVar[str] = "remat"

    percent: int = 100
    order: bool = True
    extra: int = -1

    def run(self, graph: Graph) -> Graph:
        peak_bytes = course_of(graph).peak_bytes
        target_bytes = peak_bytes * self.percent // 100
        if self.percent >= 100:
            return graph
        starts = (order_nodes(graph), graph) if self.order else (graph,)
        made = []
        for start in starts:
            made.append(rematerialise(start, target_bytes, self.extra / 1000))
            if course_of(made[-1]).peak_bytes <= target_bytes:
                return made[-1]
        return min(made, key=lambda found: course_of(found).peak_bytes)


def rematerialise(graph: Graph, target_bytes: int, extra: float = -1) -> Graph:
    """The graph with live bytes of at most the target, or the fewest that were reached.

    `extra` is the share of the graph's time that computing again may take; below 0 for any. The
    same object where nothing is computed again.
    """
    return _Rounds(graph, extra).run(target_bytes)


class _Rounds:
    """Choices at one peak after another, until the highest is low enough."""

    def __init__(self, graph: Graph, extra: float) -> None:
        self.graph = graph
        self.extra = extra
        self.origin: dict[Value, Value] = {}
        self.remarks: dict[Value, Remark] = {}
        self.flops = Flops()

    def run(self, target_bytes: int) -> Graph:
        graph = best = self.graph
        course = course_of(graph)
        least, waited = course.peak_bytes, 0
        seconds = step_seconds(course, self.flops) * self.extra if self.extra >= 0 else inf
        for _ in range(_MOST_ROUNDS):
            if least <= target_bytes or waited > _PATIENCE:
                break
            choice = Choice(graph, course, self.origin, self.flops, seconds)
            evictions = choice.evictions(target_bytes)
            if not evictions:
                break
            seconds = choice.seconds
            graph = self.apply(graph, course, evictions)
            course = course_of(graph)
            waited += 1
            if course.peak_bytes < least:
                best, least, waited = graph, course.peak_bytes, 0
        return self.finish(best, max(least, target_bytes))

    def apply(self, graph: Graph, course: Course, evictions: Sequence[Eviction]) -> Graph:
        writer = Writer(graph, course, evictions)
        made = writer.run()
        for clone, tensor in writer.clones.items():
            self.origin[clone] = self.origin.get(tensor, tensor)
        self.remarks.update(writer.remarks)
        return made

    def finish(self, graph: Graph, limit_bytes: int) -> Graph:
        """Without the recomputations that the limit has room to do without, and with remarks."""
        if graph is self.graph:
            return graph
        graph = keep_where_room(graph, self.origin, self.flops, limit_bytes)
        here = {value for node in graph.nodes for value in node.results}
        remarks = (remark for value, remark in self.remarks.items() if value in here)
        return graph.with_remarks(*remarks)
