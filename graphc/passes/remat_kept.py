"""What is computed again although memory has room to keep it: taken back, dearest first.

    %4 = gelu(%1)  ...  %7 = gelu(%1)  ...  reads %7
    %4 = gelu(%1)  ...                 ...  reads %4        where its bytes fit in between

A choice at one peak may bring more than was asked for, and what two choices compute again one
after the other may be kept from the first to the second: a segment then runs again once for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphc.ir import Graph, Value
from graphc.passes.remat_course import Course, course_of, inner_nodes
from graphc.passes.remat_recipe import Flops
from graphc.passes.remat_writer import read_nodes


@dataclass(frozen=True)
class Repeat:
    """A tensor, and the next time that the same is computed."""

    flops: int
    kept: Value
    again: Value


def keep_where_room(
    graph: Graph, origin: Mapping[Value, Value], flops: Flops, limit_bytes: int
) -> Graph:
    """The graph that keeps tensors where no level gets above the limit.

    `origin` names the tensor that each clone is one of.
    """
    course = course_of(graph)
    replaced: dict[Value, Value] = {}
    for repeat in _repeats(course, origin, flops):
        kept = replaced.get(repeat.kept, repeat.kept)
        if not (kept in course.made and repeat.again in course.made):
            continue
        if not _has_room(course, kept, repeat.again, limit_bytes):
            continue
        trial = _without(graph, kept, repeat.again)
        changed = course_of(trial)
        if changed.peak_bytes <= limit_bytes:
            graph, course = trial, changed
            _follow(replaced, repeat.again, kept)
    return graph


def _repeats(course: Course, origin: Mapping[Value, Value], flops: Flops) -> list[Repeat]:
    """All that is computed more than once, by the operations that keeping it saves."""
    latest: dict[Value, Value] = {}
    found = []
    for tensor, position in course.made.items():
        first = origin.get(tensor, tensor)
        if first in latest:
            cost = flops.of(inner_nodes(course.nodes[position]))
            found.append(Repeat(cost, latest[first], tensor))
        latest[first] = tensor
    return sorted(found, key=lambda repeat: -repeat.flops)


def _has_room(course: Course, kept: Value, again: Value, limit_bytes: int) -> bool:
    between = course.levels[course.last(kept) + 1 : course.made[again]]
    return max(between, default=0) + kept.type.nbytes <= limit_bytes


def _without(graph: Graph, kept: Value, again: Value) -> Graph:
    """The graph in which all that reads the one reads what was kept."""
    nodes = [
        replace(node, operands=tuple(kept if v is again else v for v in node.operands))
        if again in node.operands
        else node
        for node in graph.nodes
    ]
    return replace(graph, nodes=read_nodes(nodes, graph.results))


def _follow(replaced: dict[Value, Value], again: Value, kept: Value) -> None:
    """Enter that the one stands for the other now, and for all that the other stood for."""
    replaced[again] = kept
    for value, stand_in in replaced.items():
        if stand_in is again:
            replaced[value] = kept
