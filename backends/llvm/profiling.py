"""Timing the launches of a native program, and the machine's roofs, in the same rounds.

A second program is made of the same kernels with a stamped step (threads.py); it works on the
memory of the first, so that caches are as warm as in a step with no stamps.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphc import target as targets
from graphc.loops import Branch, Launch, Repeat, Step
from graphc.planning.barriers import place_barriers
from graphc.runtime.profile import LOG_TYPE, Log, Measurement

from .code import runs_shared, step_code
from .program import Array, NativeProgram
from .roof import RoofLoops
from .threads import LOG_BYTE, LOG_HEAD_BYTES, RECORD_BYTES

_ROOF_SAMPLES = 5
_WARM_UP = 3
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 1000
_RECORD = np.dtype([("what", np.int64), ("began", np.int64), ("ended", np.int64)])


def record_count(steps: Sequence[Step]) -> int:
    """The most records that a thread writes for the steps, their barriers included."""
    total = 0
    for step in steps:
        match step:
            case Launch():
                total += 2
            case Repeat(count=count, steps=inner):
                total += 1 + count * record_count(inner)
            case Branch(yes=yes, no=no):
                total += 1 + record_count(yes) + record_count(no)
    return total


class StampedProgram(NativeProgram):
    """The same program with a step that writes down when each launch began and ended.

    It works on the arena of the program that it is made from.
    """

    def __init__(self, program: NativeProgram) -> None:
        schedule, plan = program.compiled.schedule, program.compiled.plan
        records = 2 + record_count(schedule.steps)
        self.log_bytes = -(-(LOG_HEAD_BYTES + records * RECORD_BYTES) // 64) * 64
        self.logs = np.zeros((program.threads, self.log_bytes), np.uint8)
        barriers = place_barriers(schedule, plan, runs_shared)
        self.single = barriers.single
        step = step_code(schedule, plan, barriers, program.target, self.log_bytes)
        stamped = replace(program.compiled, objects=(*program.compiled.objects[:-1], step))
        super().__init__(stamped, program.state, program.threads, program.target)
        ctypes.memmove(self._table, program._table, ctypes.sizeof(self._table))
        self._sync[LOG_BYTE : LOG_BYTE + 8].view(np.uint64)[0] = self.logs.ctypes.data
        kind = ctypes.CFUNCTYPE(ctypes.c_int64)
        self.counter = kind(self._library.address("counter"))

    def run_logged(self, inputs: Sequence[Array]) -> list[Log]:
        """Run a step; each thread's records, in units of the counter."""
        self.logs[:, :8] = 0
        self.run(inputs)
        return [self._records(log) for log in self.logs]

    def _records(self, log: Array) -> Log:
        count = int(log[:8].view(np.int64)[0])
        end = LOG_HEAD_BYTES + count * RECORD_BYTES
        records: Log = log[LOG_HEAD_BYTES:end].view(_RECORD).copy()
        return records


def measure(program: NativeProgram, inputs: Sequence[Array], seconds: float) -> Measurement:
    """Rounds of a plain step, a stamped step, and now and then the roofs, for about `seconds`.

    The steps update the state, which is then set back.
    """
    stamped = StampedProgram(program)
    saved = program.state.state_dict()
    try:
        return _measure(program, stamped, inputs, seconds)
    finally:
        program.state.load(saved)


def _measure(
    program: NativeProgram, stamped: StampedProgram, inputs: Sequence[Array], seconds: float
) -> Measurement:
    roofs = RoofLoops(program.target, program.threads)
    for _ in range(_WARM_UP):
        program.run(inputs)
        stamped.run_logged(inputs)
    start, first = time.perf_counter(), stamped.counter()
    times, logs = _rounds(program, stamped, inputs, roofs, seconds)
    unit = (time.perf_counter() - start) / (stamped.counter() - first)
    return Measurement(
        targets.cpu_name(),
        program.threads,
        tuple(times),
        tuple(tuple(_in_seconds(log, unit, threads) for log in threads) for threads in logs),
        stamped.single,
        roofs.roofs(),
    )


def _rounds(
    program: NativeProgram,
    stamped: StampedProgram,
    inputs: Sequence[Array],
    roofs: RoofLoops,
    seconds: float,
) -> tuple[list[float], list[list[Log]]]:
    times: list[float] = []
    logs: list[list[Log]] = []
    spent = 0.0  # on steps alone: roofs take as long as they take
    samples = 0
    while len(times) < _LEAST_ROUNDS or (spent < seconds and len(times) < _MOST_ROUNDS):
        if samples < _ROOF_SAMPLES and spent >= samples / _ROOF_SAMPLES * seconds:
            roofs.sample()
            program.run(inputs)  # the loops swept the caches
            samples += 1
        start = time.perf_counter()
        program.run(inputs)
        between = time.perf_counter()
        logs.append(stamped.run_logged(inputs))
        times.append(between - start)
        spent += time.perf_counter() - start
    return times, logs


def _in_seconds(log: Log, unit: float, threads: Sequence[Log]) -> Log:
    """Counter readings as seconds since the first thread began."""
    origin = min(int(other["began"].min()) for other in threads)
    found: Log = np.empty(len(log), LOG_TYPE)
    found["what"] = log["what"]
    found["began"] = (log["began"] - origin) * unit
    found["ended"] = (log["ended"] - origin) * unit
    return found
