"""What compiling a graph leaves behind, as a value and as bytes that a cache keeps.

    bytes = 4 bytes: length of the head
            head       JSON: what the blobs are, the checks, and what `graphc cache` lists
            blobs      layout and schedule as text, plan as JSON, constants, objects

Reading runs nothing that the bytes hold. The schedule's text is parsed when somebody looks at it:
a program that only runs needs the layout and the plan.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from graphc.errors import GraphcError
from graphc.ir import Remark
from graphc.loops import Schedule
from graphc.loops.parse import parse_schedule
from graphc.planning.plan import MemoryPlan
from graphc.runtime.lines import Lines, rename_plan, rename_remark, rename_schedule

Array = np.ndarray[Any, Any]
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Compiled:
    """All that a program is loaded from.

    layout         the schedule without its kernels and steps: memory, inputs and outputs
    plan           where the temporaries lie
    checks         what the numbers of a fault stand for
    constants      {digest: elements} of the schedule's constants
    objects        the backend's code
    make_schedule  the schedule, once somebody looks at it
    """

    layout: Schedule
    plan: MemoryPlan
    checks: tuple[Remark, ...]
    constants: Mapping[str, Array]
    objects: tuple[bytes, ...]
    make_schedule: Callable[[], Schedule]

    @cached_property
    def schedule(self) -> Schedule:
        """The launches and their kernels."""
        return self.make_schedule()


def layout_of(schedule: Schedule) -> Schedule:
    """The schedule's memory alone."""
    return replace(schedule, kernels={}, steps=())


# Bytes


def to_bytes(compiled: Compiled, lines: Lines, known: Mapping[str, Array]) -> bytes:
    """A compiled graph without its lines, and without the constants that its trace knows."""
    added = {key: array for key, array in compiled.constants.items() if key not in known}
    schedule = rename_schedule(compiled.schedule, lines.number)
    plan = rename_plan(compiled.plan, lines.number)
    checks = [rename_remark(check, lines.number) for check in compiled.checks]
    blobs = [str(layout_of(schedule)).encode(), str(schedule).encode(), plan.to_json().encode()]
    blobs += [array.tobytes() for array in added.values()]
    blobs += compiled.objects
    head = {
        "name": schedule.name,
        "launches": sum(1 for _ in schedule.launches()),
        "peak_bytes": plan.peak_bytes,
        "checks": [[check.origin, check.text, check.source] for check in checks],
        "constants": [[key, array.dtype.str, array.shape] for key, array in added.items()],
        "sizes": list(map(len, blobs)),
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((len(text).to_bytes(_LENGTH_BYTES, "little"), text, *blobs))


def from_bytes(
    data: bytes, lines: Lines, known: Mapping[str, Array], again: Callable[[], Schedule]
) -> Compiled | None:
    """What `to_bytes` was given, with the lines and constants of the trace at hand.

    `again` makes the schedule anew, should its text be one that the parser refuses (deeper than
    it goes). None where the bytes are of no such form.
    """
    try:
        return _read(data, lines, known, again)
    except (ValueError, KeyError, TypeError, GraphcError):
        return None


def _read(
    data: bytes, lines: Lines, known: Mapping[str, Array], again: Callable[[], Schedule]
) -> Compiled:
    head = read_head(data)
    blobs = _blobs(data, head["sizes"])
    layout, text, plan = (str(next(blobs), "utf-8") for _ in range(3))
    added = {
        key: np.frombuffer(next(blobs), dtype).reshape(shape).copy()
        for key, dtype, shape in head["constants"]
    }
    stored = parse_schedule(layout)
    constants = {**known, **added}
    checks = (Remark(origin, text, tuple(source)) for origin, text, source in head["checks"])
    return Compiled(
        rename_schedule(stored, lines.name),
        rename_plan(MemoryPlan.from_json(plan), lines.name),
        tuple(rename_remark(check, lines.name) for check in checks),
        {key: constants[key] for key in stored.constants.values()},
        tuple(bytes(blob) for blob in blobs),
        lambda: _parse(text, lines, again),
    )


def _parse(text: str, lines: Lines, again: Callable[[], Schedule]) -> Schedule:
    try:
        return rename_schedule(parse_schedule(text), lines.name)
    except GraphcError:
        return again()


def read_head(data: bytes) -> dict[str, Any]:
    """What stands first in a compiled graph's bytes. Raises ValueError where nothing does."""
    start, end = _head_place(data)
    head = json.loads(data[start:end])
    if not isinstance(head, dict):
        raise ValueError("the head is not an object")
    return head


def _head_place(data: bytes) -> tuple[int, int]:
    return _LENGTH_BYTES, _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")


def _blobs(data: bytes, sizes: Sequence[int]) -> Iterator[memoryview]:
    """The parts after the head. Raises ValueError where they do not fill the rest."""
    _, place = _head_place(data)
    if place + sum(sizes) != len(data):
        raise ValueError(f"{len(data)} bytes, expected {place + sum(sizes)}")
    for size in sizes:
        yield memoryview(data)[place : place + size]
        place += size
