"""A memory plan: where every temporary lies in the arena, and what is live when.

The plan is a value: it goes to JSON and back, and prints as the table of who is live at the peak.
All numbers are bytes; positions are those of `graphc.planning.tree`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from graphc.errors import PlanError


@dataclass(frozen=True)
class PlannedBuffer:
    """A temporary in the arena.

    spans    the runs of positions (both ends included) at which it keeps its bytes; none where
             no step touches it
    source   lines of the model that made it
    """

    name: str
    bytes: int
    offset: int
    spans: tuple[tuple[int, int], ...]
    source: tuple[str, ...] = ()

    @property
    def first(self) -> int:
        """The first position at which it is live; -1 where it never is."""
        return self.spans[0][0] if self.spans else -1

    @property
    def last(self) -> int:
        """The last position at which it is live; -1 where it never is."""
        return self.spans[-1][1] if self.spans else -1


@dataclass(frozen=True)
class ResidentBuffer:
    """A storage outside the arena, there during the whole call: input, output, state, constant."""

    name: str
    purpose: str
    bytes: int
    source: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moment:
    """What is live in the arena while the step at a position runs.

    Buffers that share their bytes in place are both named and counted once.
    """

    position: int
    step: str
    live_bytes: int
    buffers: tuple[str, ...]


@dataclass(frozen=True)
class MemoryPlan:
    """All memory of a program, known before it runs.

    alignment          of the arena and of every offset
    arena_bytes        the size of the arena
    lower_bound_bytes  the largest sum of live bytes: no arena can be smaller
    buffers            the temporaries, in the schedule's order
    resident           the storages outside the arena
    steps              what the schedule does, by position
    scratch_bytes      what each thread needs beside the arena
    threads            the threads that `peak_bytes` counts scratch for
    """

    name: str
    alignment: int
    arena_bytes: int
    lower_bound_bytes: int
    buffers: tuple[PlannedBuffer, ...]
    resident: tuple[ResidentBuffer, ...]
    steps: tuple[str, ...]
    scratch_bytes: int = 0
    threads: int = 1

    @cached_property
    def offsets(self) -> dict[str, int]:
        """The offset of every temporary."""
        return {buffer.name: buffer.offset for buffer in self.buffers}

    @property
    def resident_bytes(self) -> dict[str, int]:
        """Bytes outside the arena, by purpose."""
        total = dict.fromkeys(("state", "input", "output", "constant"), 0)
        for buffer in self.resident:
            total[buffer.purpose] += buffer.bytes
        return total

    @property
    def peak_bytes(self) -> int:
        """State, inputs, outputs, constants, the arena and the scratch of all threads."""
        outside = sum(buffer.bytes for buffer in self.resident)
        return outside + self.arena_bytes + self.scratch_bytes * self.threads

    def with_threads(self, threads: int) -> MemoryPlan:
        """The plan of a call on another number of threads."""
        return replace(self, threads=threads)

    def timeline(self) -> tuple[Moment, ...]:
        """The live bytes at each position, and which buffers they are."""
        return tuple(
            Moment(position, step, _distinct_bytes(live), tuple(buffer.name for buffer in live))
            for position, (step, live) in enumerate(zip(self.steps, self._live, strict=True))
        )

    def peak(self) -> Moment | None:
        """The first moment with the most live bytes; None of a schedule with no steps."""
        return max(self.timeline(), key=lambda moment: moment.live_bytes, default=None)

    @cached_property
    def _live(self) -> list[list[PlannedBuffer]]:
        """The live buffers by position."""
        live: list[list[PlannedBuffer]] = [[] for _ in self.steps]
        for buffer in self.buffers:
            for first, last in buffer.spans:
                for position in range(first, last + 1):
                    live[position].append(buffer)
        return live

    def to_json(self) -> str:
        """The plan as one JSON object."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> MemoryPlan:
        """The plan that `to_json` wrote. Raises PlanError where the text is not one."""
        try:
            return _from_fields(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"not a memory plan: {error}") from None

    def __str__(self) -> str:
        from graphc.planning.text import format_plan

        return format_plan(self)


def _distinct_bytes(live: Iterable[PlannedBuffer]) -> int:
    """Live buffers overlap only where they are one in place: then at one offset, equally large."""
    return sum({buffer.offset: buffer.bytes for buffer in live if buffer.bytes}.values())


def _from_fields(fields: dict[str, Any]) -> MemoryPlan:
    buffers = tuple(
        PlannedBuffer(
            **{
                **row,
                "spans": tuple((int(first), int(last)) for first, last in row["spans"]),
                "source": tuple(row["source"]),
            }
        )
        for row in fields.pop("buffers")
    )
    resident = tuple(
        ResidentBuffer(**{**row, "source": tuple(row["source"])}) for row in fields.pop("resident")
    )
    steps = tuple(fields.pop("steps"))
    return MemoryPlan(buffers=buffers, resident=resident, steps=steps, **fields)
