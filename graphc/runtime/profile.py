"""Where a step goes: each launch's time against what the machine can do.

    Measurement   what a backend saw: logs of stamped steps, and the machine's roofs, in one run
    Profile       a row for every launch: time, flops, bytes, and the share of its roof

A launch's roof is the longer of two times: its floating-point operations at the peak rate, and its
bytes at the bandwidth of the memory level that they fit in (Williams, Waterman, Patterson:
Roofline, 2009). Both rates are measured in the same run as the launches, for the threads that the
launch runs on. Bytes are those that must move: every buffer once, one updated in place twice.
Operations are nominal: a convolution's taps on its padding count, though none may be computed, so
that a launch can be above its roof.

A log has a record for every launch, for every wait at a barrier, and for the whole step.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphc.ir import Graph
from graphc.loops import Branch, Kernel, Launch, Repeat, Schedule, Step
from graphc.planning.tree import number, walk

Array = np.ndarray[Any, Any]
Log = Array  # of LOG_TYPE, one thread's records of one step
LOG_TYPE = np.dtype([("what", np.int64), ("began", np.float64), ("ended", np.float64)])  # seconds
WHOLE_STEP = 1 << 32  # `what` of a record of all of the step; a launch's is its position


def wait_before(position: int) -> int:
    """`what` of the wait at the barrier before a step; of the last one, after all steps.

    >>> wait_before(0), wait_before(7)
    (-1, -8)
    """
    return -1 - position


@dataclass(frozen=True)
class MemoryLevel:
    """A level of memory by the GB/s (1e9 bytes) that simple loops reach on data that it holds.

    fits_bytes   the most that a launch may touch to be counted at this level; None: any
    rates        {"read", "copy", "triad": GB/s}, every array's bytes counted once
    """

    name: str
    fits_bytes: int | None
    rates: Mapping[str, float]

    @property
    def gigabytes(self) -> float:
        """The best of the rates."""
        return max(self.rates.values())


@dataclass(frozen=True)
class Roof:
    """What so many threads reach together: GFLOP/s by element type, and memory, nearest first."""

    threads: int
    gflops: Mapping[str, float]
    levels: tuple[MemoryLevel, ...]

    def level_of(self, count: int) -> MemoryLevel:
        """The nearest level that holds `count` bytes."""
        return next(v for v in self.levels if v.fits_bytes is None or count <= v.fits_bytes)


@dataclass(frozen=True)
class Measurement:
    """What a backend saw in interleaved rounds.

    step_seconds   of steps with no stamps
    logs           of stamped steps: one for every thread
    single         positions of the launches that run on one thread
    roofs          for one thread and for all
    """

    cpu: str
    threads: int
    step_seconds: tuple[float, ...]
    logs: tuple[tuple[Log, ...], ...]
    single: frozenset[int]
    roofs: Mapping[int, Roof]


@dataclass(frozen=True)
class LaunchTime:
    """One launch: what it took in one step, all its repeats together.

    threads        that it runs on
    seconds        the slowest thread's, summed over the repeats; median of the rounds
    least_seconds  the same in the round where it was the fastest: on a busy machine, the truth
    spread         the threads' mean time over the slowest's: 1 where all worked alike
    flops, bytes   a step: what it computes, and what must move
    roof_seconds   the least that the machine could take
    limit          what makes the roof: "float32" for that type's FMA peak, or a memory level
    """

    position: int
    launch: Launch
    repeats: int
    threads: int
    seconds: float
    least_seconds: float
    spread: float
    flops: int
    bytes: int
    roof_seconds: float
    limit: str

    @property
    def gflops(self) -> float:
        """GFLOP/s."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def gigabytes(self) -> float:
        """GB/s."""
        return self.bytes / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def share(self) -> float:
        """Of the roof: 1 is as fast as the machine goes."""
        return self.roof_seconds / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Profile:
    """A program's launches in order, with the times that `measurement` holds.

    step_seconds      a whole step with no stamps; median
    stamped_seconds   a whole step with stamps, as the launches' times were taken; median
    """

    name: str
    launches: tuple[LaunchTime, ...]
    step_seconds: float
    stamped_seconds: float
    measurement: Measurement

    @property
    def launch_seconds(self) -> float:
        """Of all launches; other work on the machine shows less in it than in whole steps."""
        return sum(row.seconds for row in self.launches)

    @property
    def waiting_seconds(self) -> float:
        """Of a stamped step: at barriers, and while other work has the processor."""
        return max(self.stamped_seconds - self.launch_seconds, 0.0)

    @property
    def flops(self) -> int:
        return sum(row.flops for row in self.launches)

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.launches)

    @property
    def roof(self) -> Roof:
        """What all threads reach."""
        return self.measurement.roofs[self.measurement.threads]

    @property
    def roof_seconds(self) -> float:
        """A step in which every launch runs at its roof."""
        return sum(row.roof_seconds for row in self.launches)

    def by_time(self) -> list[LaunchTime]:
        """The launches, the longest first."""
        return sorted(self.launches, key=lambda row: -row.seconds)

    def by_kernel(self) -> Profile:
        """The same with launches of one kernel taken together: equal layers are one row."""
        kernels: dict[tuple[str, int], list[LaunchTime]] = {}
        for row in self.launches:
            kernels.setdefault((row.launch.kernel, row.threads), []).append(row)
        return replace(self, launches=tuple(map(_together, kernels.values())))

    def to_json(self) -> str:
        from graphc.runtime.profile_export import format_profile_json

        return format_profile_json(self)

    def to_trace(self) -> str:
        """One step, the fastest, as a Chrome trace: Perfetto and chrome://tracing read it."""
        from graphc.runtime.profile_export import format_trace

        return format_trace(self)

    def __str__(self) -> str:
        from graphc.runtime.profile_text import format_profile

        return format_profile(self)


def _together(rows: Sequence[LaunchTime]) -> LaunchTime:
    """Launches of one kernel as one row, with the lines of all."""
    first, seconds = rows[0], sum(row.seconds for row in rows)
    lines = tuple(dict.fromkeys(line for row in rows for line in row.launch.source))
    return replace(
        first,
        launch=replace(first.launch, source=lines),
        repeats=sum(row.repeats for row in rows),
        seconds=seconds,
        least_seconds=sum(row.least_seconds for row in rows),
        spread=sum(row.spread * row.seconds for row in rows) / seconds if seconds else 1.0,
        flops=sum(row.flops for row in rows),
        bytes=sum(row.bytes for row in rows),
        roof_seconds=sum(row.roof_seconds for row in rows),
    )


def profile_of(schedule: Schedule, measurement: Measurement) -> Profile:
    """The launches of a measured schedule, with their times and roofs."""
    rounds = [_seconds_by_position(logs) for logs in measurement.logs]
    launches = []
    for position, launch in launch_positions(schedule):
        seen = [found[position] for found in rounds if position in found]
        if seen:  # else it is in the arm of a branch that no step took
            launches.append(_launch_time(schedule, position, launch, seen, measurement))
    whole = [float(_durations(logs[0], WHOLE_STEP).sum()) for logs in measurement.logs]
    return Profile(
        schedule.name,
        tuple(launches),
        statistics.median(measurement.step_seconds),
        statistics.median(whole),
        measurement,
    )


def made_inputs(graph: Graph) -> list[Array]:
    """Arrays to call a graph with: standard normal floats, zeros of all other types."""
    random = np.random.default_rng(0)
    return [
        np.asarray(random.standard_normal(value.shape), value.dtype.numpy)
        if value.dtype.is_float
        else np.zeros(value.shape, value.dtype.numpy)
        for value in graph.inputs
    ]


def launch_positions(schedule: Schedule) -> Iterator[tuple[int, Launch]]:
    """Every launch with its position (see `graphc.planning.tree`)."""
    for node in walk(number(schedule)):
        if isinstance(node.step, Launch):
            yield node.position, node.step


def traffic_bytes(schedule: Schedule) -> int:
    """What one step must move, repeats counted; of a branch, its larger arm."""
    return _traffic(schedule, schedule.steps)


def _traffic(schedule: Schedule, steps: Sequence[Step]) -> int:
    total = 0
    for step in steps:
        match step:
            case Launch(kernel=kernel):
                total += schedule.kernels[kernel].moved_bytes
            case Repeat(count=count, steps=inner):
                total += count * _traffic(schedule, inner)
            case Branch(yes=yes, no=no):
                total += max(_traffic(schedule, yes), _traffic(schedule, no))
    return total


@dataclass(frozen=True)
class _Seen:
    """A launch in one round: the slowest thread's seconds, the threads' mean, and its repeats."""

    slowest: float
    mean: float
    repeats: int


def _seconds_by_position(logs: Sequence[Log]) -> dict[int, _Seen]:
    found = {}
    for what in np.unique(np.concatenate([log["what"] for log in logs])):
        if 0 <= what < WHOLE_STEP:
            times = [time for time in (_durations(log, what) for log in logs) if time.size]
            together = np.stack(times)
            found[int(what)] = _Seen(
                float(together.max(0).sum()), float(together.mean(0).sum()), together.shape[1]
            )
    return found


def _durations(log: Log, what: int) -> Log:
    records = log[log["what"] == what]
    seconds: Log = records["ended"] - records["began"]
    return seconds


def _launch_time(
    schedule: Schedule,
    position: int,
    launch: Launch,
    seen: Sequence[_Seen],
    measurement: Measurement,
) -> LaunchTime:
    kernel = schedule.kernels[launch.kernel]
    threads = 1 if position in measurement.single else measurement.threads
    moved = kernel.moved_bytes
    roof, limit = _roof_seconds(kernel, launch.flops, moved, measurement.roofs[threads])
    repeats = seen[0].repeats
    slowest = statistics.median(round.slowest for round in seen)
    mean = statistics.median(round.mean for round in seen)
    return LaunchTime(
        position,
        launch,
        repeats,
        threads,
        slowest,
        min(round.slowest for round in seen),
        mean / slowest if slowest else 1.0,
        repeats * launch.flops,
        repeats * moved,
        repeats * roof,
        limit,
    )


def _roof_seconds(kernel: Kernel, flops: int, moved: int, roof: Roof) -> tuple[float, str]:
    """(the least seconds of one run, what makes them)."""
    wide = any(buffer.dtype.name == "float64" for buffer in kernel.buffers)
    dtype = "float64" if wide else "float32"
    level = roof.level_of(moved)
    computing = flops / roof.gflops[dtype] / 1e9
    moving = moved / level.gigabytes / 1e9
    return (computing, dtype) if computing > moving else (moving, level.name)
