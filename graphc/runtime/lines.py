"""Source lines apart from a program: a kept program meets a model whose lines have moved.

Each distinct line of the traced graph has a number, in order of first appearance. A program is
kept with `@number` in place of every line, and its key says which lines each node has, by number.
So a program is found again however the model's file is renamed or its lines move, and every
launch shows the lines of the trace at hand. Only where two nodes come to share a line, or no
longer do, is it another program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from graphc.ir import Remark
from graphc.loops import Branch, Launch, Repeat, Schedule, Step
from graphc.planning.plan import MemoryPlan

Source: TypeAlias = tuple[str, ...]
Rename: TypeAlias = Callable[[Source], Source]


class Lines:
    """The distinct source lines of a traced graph, given those of each of its nodes.

    >>> lines = Lines([("net.py:3",), ("net.py:7", "net.py:3")])
    >>> lines.number(("net.py:7",)), lines.name(("@0", "@1")), lines.pattern
    (('@1',), ('net.py:3', 'net.py:7'), '0 1,0')
    """

    def __init__(self, sources: list[Source]) -> None:
        distinct = list(dict.fromkeys(line for source in sources for line in source))
        self._names = {f"@{number}": line for number, line in enumerate(distinct)}
        self._numbers = {line: number for number, line in self._names.items()}
        known = {line: number[1:] for line, number in self._numbers.items()}
        self.pattern = " ".join(",".join(map(known.__getitem__, source)) for source in sources)

    def number(self, source: Source) -> Source:
        """Lines as numbers. One that the traced graph does not have stays as it is."""
        return tuple(self._numbers.get(line, line) for line in source)

    def name(self, source: Source) -> Source:
        """Numbers as lines: what `number` was given, or the same of a newer trace."""
        return tuple(self._names.get(line, line) for line in source)


def rename_schedule(schedule: Schedule, rename: Rename) -> Schedule:
    """The schedule with other lines on its storages and launches."""
    storages = tuple(replace(s, source=rename(s.source)) for s in schedule.storages)
    steps = tuple(_rename_step(step, rename) for step in schedule.steps)
    return replace(schedule, storages=storages, steps=steps)


def _rename_step(step: Step, rename: Rename) -> Step:
    match step:
        case Launch(source=source):
            return replace(step, source=rename(source))
        case Repeat(steps=steps):
            return replace(step, steps=tuple(_rename_step(inner, rename) for inner in steps))
        case Branch(yes=yes, no=no):
            arms = [tuple(_rename_step(inner, rename) for inner in arm) for arm in (yes, no)]
            return replace(step, yes=arms[0], no=arms[1])


def rename_plan(plan: MemoryPlan, rename: Rename) -> MemoryPlan:
    """The plan with other lines on its buffers."""
    buffers = tuple(replace(b, source=rename(b.source)) for b in plan.buffers)
    resident = tuple(replace(b, source=rename(b.source)) for b in plan.resident)
    return replace(plan, buffers=buffers, resident=resident)


def rename_remark(remark: Remark, rename: Rename) -> Remark:
    """The remark with other lines."""
    return replace(remark, source=rename(remark.source))
