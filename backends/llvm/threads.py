"""The step function and the threads that run it, in native code.

Every thread runs the whole step on its share of each launch and meets the others at barriers: a
counter and a generation, some spinning, then a futex. Between steps the workers wait in the same
way, in native code, so that a step costs one native call and no Python.

    run(table, sync, threads)            the caller's thread: wakes the workers, takes part
    work(thread, table, sync, threads)   a worker's life: wait, step, wait ... until told to stop
    leave(sync, threads)                 wakes the workers with the stop flag set: they return
    shares()                             whether there is a launch that several threads share

`table` holds the address of every storage and, last, of the scratch memory: every thread's part,
one after the other. `sync` is 1 KiB of zeroed memory.

A stamped step does the same and writes down when: each thread keeps a log of its own, one after
the other in the memory whose address `sync` holds at LOG_BYTE. A log starts with its number of
records; a record is three i64: what it was (see `graphc.runtime.profile`), the counter when it
began and when it ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from graphc.loops import Argument, Branch, Launch, Repeat, Schedule, Step
from graphc.planning.barriers import BarrierPlan
from graphc.planning.tree import number, walk
from graphc.runtime.profile import WHOLE_STEP, wait_before
from graphc.target import Target

from .expressions import Expressions
from .function import STORED, Function, Val

STOP_BYTE = 512
LOG_BYTE = 768
LOG_HEAD_BYTES = 64  # of a thread's log, before its records
RECORD_BYTES = 24
_MEET = """
define internal void @meet(ptr %sync, i64 %threads) nounwind noinline {
entry:
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %generation = getelementptr i8, ptr %sync, i64 64
  %sleepers = getelementptr i8, ptr %sync, i64 128
  %before = load atomic i32, ptr %generation acquire, align 4
  %count = atomicrmw add ptr %sync, i32 1 acq_rel
  %all = trunc i64 %threads to i32
  %arrived = add i32 %count, 1
  %last = icmp eq i32 %arrived, %all
  br i1 %last, label %release, label %spin
release:
  store atomic i32 0, ptr %sync monotonic, align 4
  %next = add i32 %before, 1
  store atomic i32 %next, ptr %generation seq_cst, align 4
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %any = icmp ne i32 %asleep, 0
  br i1 %any, label %wake, label %done
wake:
  %woken = call i64 (i64, ...) @syscall(
    i64 FUTEX, ptr %generation, i32 129, i32 2147483647, ptr null, ptr null, i32 0)
  br label %done
spin:
  %tries = phi i32 [ 0, %arrive ], [ %more, %again ]
  %seen = load atomic i32, ptr %generation acquire, align 4
  %moved = icmp ne i32 %seen, %before
  br i1 %moved, label %done, label %again
again:
  PAUSE
  %more = add i32 %tries, 1
  %tired = icmp uge i32 %more, 500
  br i1 %tired, label %sleep, label %spin
sleep:
  %in = atomicrmw add ptr %sleepers, i32 1 seq_cst
  %slept = call i64 (i64, ...) @syscall(
    i64 FUTEX, ptr %generation, i32 128, i32 %before, ptr null, ptr null, i32 0)
  %out = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  %now = load atomic i32, ptr %generation acquire, align 4
  %still = icmp eq i32 %now, %before
  br i1 %still, label %sleep, label %done
done:
  ret void
}

define void @run(ptr %table, ptr %sync, i64 %threads) nounwind {
entry:
  call void @meet(ptr %sync, i64 %threads)
  call void @step(i64 0, i64 %threads, ptr %table, ptr %sync)
  ret void
}

define void @leave(ptr %sync, i64 %threads) nounwind {
entry:
  call void @meet(ptr %sync, i64 %threads)
  ret void
}

define void @work(i64 %thread, ptr %table, ptr %sync, i64 %threads) nounwind {
entry:
  br label %wait
wait:
  call void @meet(ptr %sync, i64 %threads)
  %place = getelementptr i8, ptr %sync, i64 STOP
  %stop = load atomic i32, ptr %place acquire, align 4
  %leave = icmp ne i32 %stop, 0
  br i1 %leave, label %done, label %go
go:
  call void @step(i64 %thread, i64 %threads, ptr %table, ptr %sync)
  br label %wait
done:
  ret void
}
"""
_FUTEX_NUMBER = {"x86_64": 202, "aarch64": 98}

_STAMP = """
define internal ptr @log_of(ptr %sync, i64 %thread) nounwind {
  %place = getelementptr i8, ptr %sync, i64 LOG
  %logs = load ptr, ptr %place, align 8
  %start = mul i64 %thread, BYTES
  %log = getelementptr i8, ptr %logs, i64 %start
  ret ptr %log
}

define internal void @stamp(ptr %log, i64 %what, i64 %began) nounwind noinline {
  %ended = call i64 @llvm.COUNTER()
  %count = load i64, ptr %log, align 8
  %more = add i64 %count, 1
  store i64 %more, ptr %log, align 8
  %records = getelementptr i8, ptr %log, i64 HEAD
  %place = getelementptr [3 x i64], ptr %records, i64 %count
  store i64 %what, ptr %place, align 8
  %second = getelementptr i64, ptr %place, i64 1
  store i64 %began, ptr %second, align 8
  %third = getelementptr i64, ptr %place, i64 2
  store i64 %ended, ptr %third, align 8
  ret void
}

define i64 @counter() nounwind {
  %now = call i64 @llvm.COUNTER()
  ret i64 %now
}
"""


def counter_name(target: Target) -> str:
    """LLVM's counter that user code may read, at a constant rate: x86's TSC, ARM's CNTVCT."""
    return "readcyclecounter" if target.is_x86 else "readsteadycounter"


def stamp_text(target: Target, log_bytes: int) -> str:
    """What a stamped step calls, and `counter()`; a thread's log takes `log_bytes`."""
    words = {
        "COUNTER": counter_name(target),
        "LOG": str(LOG_BYTE),
        "BYTES": str(log_bytes),
        "HEAD": str(LOG_HEAD_BYTES),
    }
    text = _STAMP
    for word, value in words.items():
        text = text.replace(word, value)
    return f"declare i64 @llvm.{counter_name(target)}()\n{text}"


def runtime_text(target: Target) -> str:
    """The barrier, the caller's entry and the workers' loop."""
    pause = "call void @llvm.x86.sse2.pause()" if target.is_x86 else ""
    number = _FUTEX_NUMBER[target.triple.split("-")[0]]
    text = _MEET.replace("FUTEX", str(number)).replace("STOP", str(STOP_BYTE))
    declared = "declare i64 @syscall(i64, ...)\n"
    if target.is_x86:
        declared += "declare void @llvm.x86.sse2.pause()\n"
    return declared + text.replace("PAUSE", pause)


@dataclass
class _StepWriter:
    schedule: Schedule
    symbols: Mapping[str, str]
    barriers: BarrierPlan
    function: Function
    counter: str = ""  # of a stamped step: what to read

    def __post_init__(self) -> None:
        self.slots = {s.name: n for n, s in enumerate(self.schedule.storages)}
        self.position = 0
        self.indices = Expressions(self.function, _ANY)

    def write(self, steps: Sequence[Step]) -> None:
        """The steps in order; positions are counted as `graphc.planning.tree` counts them."""
        for step in steps:
            position, self.position = self.position, self.position + 1
            if position in self.barriers.before:
                with self._stamped(wait_before(position)):
                    self.meet()
            match step:
                case Launch():
                    self._launch(step, position)
                case Repeat(index, count, inner):
                    bounds = self.function.int_(0), self.function.int_(count)
                    with self.function.loop(*bounds, 1, [], count > 0) as (value, _):
                        self.indices.values[index] = value
                        self.write(inner)
                case Branch():
                    self._branch(step)

    def _branch(self, branch: Branch) -> None:
        place = self._pointer(branch.flag, "i8")
        byte = self.function.here(f"load i8, {place}, align 1", "i8")
        yes = self.function.here(f"icmp ne i8 {byte.name}, 0", "i1")
        no = self.function.here(f"icmp eq i8 {byte.name}, 0", "i1")
        for condition, steps in ((yes, branch.yes), (no, branch.no)):
            with self.function.branch(condition):
                self.write(steps)

    def _launch(self, launch: Launch, position: int) -> None:
        kernel = self.schedule.kernels[launch.kernel]
        pointers = [
            str(self._pointer(argument, STORED[buffer.dtype.name]))
            for argument, buffer in zip(launch.arguments, kernel.buffers, strict=True)
        ]
        pointers.append("ptr %scratch")
        symbol = self.symbols[launch.kernel]
        self.function.declare(f"void @{symbol}(i64, i64{', ptr' * len(pointers)})")
        if position not in self.barriers.single:
            with self._stamped(position):
                self._call(symbol, "%thread", "%threads", pointers)
            return
        first = self.function.pure("icmp eq i64 %thread, 0", "i1", 1)
        with self.function.branch(first), self._stamped(position):
            self._call(symbol, "0", "1", pointers)

    def _call(self, symbol: str, thread: str, threads: str, pointers: Sequence[str]) -> None:
        arguments = ", ".join([f"i64 {thread}", f"i64 {threads}", *pointers])
        self.function.do(f"call void @{symbol}({arguments})")

    def _pointer(self, argument: Argument, element: str) -> Val:
        slot = self.function.int_(self.slots[argument.storage])
        place = self.function.address(Val("%table", "ptr"), "ptr", slot)
        base = self.function.once_here(f"load ptr, {place}, align 8", "ptr")
        return self.function.address(base, element, self.indices.index_value(argument.offset))

    def shares(self) -> bool:
        """Whether some launch is not the first thread's alone."""
        nodes = walk(number(self.schedule))
        launches = {node.position for node in nodes if isinstance(node.step, Launch)}
        return not launches <= self.barriers.single

    def whole(self) -> None:
        """The schedule and the meeting at its end; a stamped step has one record of it all."""
        with self._stamped(WHOLE_STEP):
            self.write(self.schedule.steps)
            with self._stamped(wait_before(self.position)):
                self.meet()
        if self.counter:
            self.meet()  # whoever called reads the logs: all records are written

    def meet(self) -> None:
        self.function.do("call void @meet(ptr %inner, i64 %threads)")

    @contextmanager
    def _stamped(self, what: int) -> Iterator[None]:
        """Put the body between two readings of the counter, where the step is a stamped one."""
        if not self.counter:
            yield
            return
        began = self.function.here(f"call i64 @llvm.{self.counter}()", "i64")
        yield
        self.function.do(f"call void @stamp(ptr %log, i64 {what}, {began})")


_SCRATCH = """\
%parts = getelementptr ptr, ptr %table, i64 {slot}
%first = load ptr, ptr %parts, align 8
%before = mul i64 %thread, {bytes}
%scratch = getelementptr i8, ptr %first, i64 %before"""

_ANY = Target("any", "", "", "", 16, 1, fma=False, masked=False)


def step_text(
    schedule: Schedule,
    symbols: Mapping[str, str],
    barriers: BarrierPlan,
    target: Target,
    scratch_bytes: int = 0,
    log_bytes: int = 0,
) -> str:
    """The module that runs a schedule; `single` launches run on the first thread alone.

    `scratch_bytes` is a thread's part of the scratch memory. `log_bytes` makes it a stamped step:
    the room of each thread's log.
    """
    parameters = ["i64 %thread", "i64 %threads", "ptr %table", "ptr %sync"]
    function = Function("step", parameters)
    function.do("%inner = getelementptr i8, ptr %sync, i64 256")
    for line in _SCRATCH.format(slot=len(schedule.storages), bytes=scratch_bytes).splitlines():
        function.do(line)
    if log_bytes:
        function.do("%log = call ptr @log_of(ptr %sync, i64 %thread)")
    counter = counter_name(target) if log_bytes else ""
    writer = _StepWriter(schedule, symbols, barriers, function, counter)
    writer.whole()
    runtime = runtime_text(target) + (stamp_text(target, log_bytes) if log_bytes else "")
    runtime += f"define i64 @shares() nounwind {{ ret i64 {int(writer.shares())} }}\n"
    return runtime + "\n".join(sorted(function.declarations)) + "\n" + function.text()
