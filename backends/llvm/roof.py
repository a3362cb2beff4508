"""What this machine can do at most: loops of fused multiply-adds, and loops over memory.

    multiply    x = x * c + c on 12 independent vectors, in registers: the FMA peak of a type
    read        s = s + a          memory is swept by vectors of the target's width, 8 at a time
    copy        a = b
    triad       a = b + s * c      (McCalpin, STREAM)

Each is measured on one thread and on all, on arrays that lie in each thread's L2, in the shared
L3, and in none of the caches. Bandwidths count the bytes that the program names: a store counts
once, though most machines read the line first.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graphc.runtime.profile import MemoryLevel, Roof
from graphc.target import Target, cache_bytes

from .engine import Library, object_code
from .function import SCALAR, overload, vector

Array = np.ndarray[Any, Any]
ACCUMULATORS = 12
UNROLL = 8
ARRAYS = {"read": 1, "copy": 2, "triad": 3}  # that a sweep goes over
TYPES = {"float32": 4, "float64": 8}
_SAMPLE_SECONDS = 0.008
_LEAST_FAR_BYTES, _MOST_FAR_BYTES = 192 << 20, 768 << 20
_SUMS_BYTES = 1024

# `times` sweeps of `count` elements (or rounds), at least one; sums go to %sums.
_LOOP = """
define void @{name}(i64 %times, i64 %count, ptr %sums, ptr %a, ptr %b, ptr %c) nounwind {{
entry:
  br label %again
again:
  %done = phi i64 [ 0, %entry ], [ %redone, %swept ]
  br label %loop
loop:
  %i = phi i64 [ 0, %again ], [ %next, %loop ]
{body}
  %next = add i64 %i, {step}
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %swept
swept:
{result}
  %redone = add i64 %done, 1
  %left = icmp slt i64 %redone, %times
  br i1 %left, label %again, label %end
end:
  ret void
}}
"""


def _loop(name: str, step: int, body: Sequence[str], result: Sequence[str] = ()) -> str:
    lines = {"body": body, "result": result}
    indented = {key: "\n".join(f"  {line}" for line in found) for key, found in lines.items()}
    return _LOOP.format(name=name, step=step, **indented)


def loops_text(target: Target) -> str:
    """The module of all loops: @multiply_float32, @multiply_float64, @read, @copy, @triad."""
    writer = _Writer(target)
    loops = [writer.multiply(dtype) for dtype in TYPES]
    loops += [writer.read(), writer.copy(), writer.triad()]
    return "\n".join([*sorted(writer.declared), *loops])


class _Writer:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.declared: set[str] = set()

    def _vector(self, dtype: str) -> str:
        return vector(SCALAR[dtype], self.target.vector_bytes // TYPES[dtype])

    def _fma(self, result: str, type: str, a: str, b: str, c: str) -> list[str]:
        """result = a * b + c, rounded once where the target can."""
        if not self.target.fma:
            product = f"{result}.p = fmul {type} {a}, {b}"
            return [product, f"{result} = fadd {type} {result}.p, {c}"]
        name = f"@llvm.fma.{overload(type)}"
        self.declared.add(f"declare {type} {name}({type}, {type}, {type})")
        return [f"{result} = call {type} {name}({type} {a}, {type} {b}, {type} {c})"]

    def multiply(self, dtype: str) -> str:
        type = self._vector(dtype)
        half = _splat(type, "0.5")
        body = [
            f"%x{k} = phi {type} [ {half}, %again ], [ %y{k}, %loop ]" for k in range(ACCUMULATORS)
        ]
        for k in range(ACCUMULATORS):
            body += self._fma(f"%y{k}", type, f"%x{k}", half, half)
        return _loop(f"multiply_{dtype}", 1, body, _keep(type, "%y", ACCUMULATORS))

    def read(self) -> str:
        type = self._vector("float32")
        zero = _splat(type, "0.0")
        body = [f"%s{k} = phi {type} [ {zero}, %again ], [ %t{k}, %loop ]" for k in range(UNROLL)]
        for k in range(UNROLL):
            body += self._load("a", k)
            body.append(f"%t{k} = fadd {type} %s{k}, %a{k}")
        return _loop("read", self._stride, body, _keep(type, "%t", UNROLL))

    def copy(self) -> str:
        body = []
        for k in range(UNROLL):
            body += [*self._load("b", k), *self._store(f"%b{k}", k)]
        return _loop("copy", self._stride, body)

    def triad(self) -> str:
        type = self._vector("float32")
        body = []
        for k in range(UNROLL):
            body += [*self._load("b", k), *self._load("c", k)]
            body += self._fma(f"%s{k}", type, f"%c{k}", _splat(type, "0.5"), f"%b{k}")
            body += self._store(f"%s{k}", k)
        return _loop("triad", self._stride, body)

    @property
    def _stride(self) -> int:
        return UNROLL * self.target.vector_bytes // 4

    def _place(self, array: str, k: int) -> list[str]:
        first = k * self.target.vector_bytes // 4
        return [
            f"%{array}i{k} = add i64 %i, {first}",
            f"%{array}p{k} = getelementptr float, ptr %{array}, i64 %{array}i{k}",
        ]

    def _load(self, array: str, k: int) -> list[str]:
        load = f"%{array}{k} = load {self._vector('float32')}, ptr %{array}p{k}, align 64"
        return [*self._place(array, k), load.replace("align 64", f"align {self._alignment}")]

    def _store(self, value: str, k: int) -> list[str]:
        type = self._vector("float32")
        return [
            *self._place("a", k),
            f"store {type} {value}, ptr %ap{k}, align {self._alignment}",
        ]

    @property
    def _alignment(self) -> int:
        return self.target.vector_bytes


def _splat(type: str, value: str) -> str:
    count, element = type[1:-1].split(" x ")
    return "<" + ", ".join([f"{element} {value}"] * int(count)) + ">"


def _keep(type: str, prefix: str, count: int) -> list[str]:
    """Store the sums, so that the loop is not dead code."""
    lines = []
    for k in range(count):
        lines.append(f"%kept{k} = getelementptr {type}, ptr %sums, i64 {k}")
        lines.append(f"store {type} {prefix}{k}, ptr %kept{k}, align 16")
    return lines


# Measuring


@dataclass(frozen=True)
class _Level:
    """Memory of a level: the floats of each array of a sweep, by number of threads."""

    name: str
    fits_bytes: int | None
    total_bytes: int  # of all arrays and threads


def levels_of(target: Target, threads: int) -> list[_Level]:
    """The levels to measure for so many threads: L2, L3 where there is a larger one, DRAM."""
    l2, l3 = threads * target.l2_bytes, cache_bytes(3, 0)
    levels = [_Level("L2", l2, l2 // 2)]
    if l3 > 2 * l2:
        levels.append(_Level("L3", l3, max(l3 // 2, l2 + l2 // 2)))
    far = min(max(4 * l3, _LEAST_FAR_BYTES), _MOST_FAR_BYTES)
    return [*levels, _Level("DRAM", None, far)]


class RoofLoops:
    """Samples of the machine's rates, to be taken among what is compared with them."""

    def __init__(self, target: Target, threads: int) -> None:
        self.counts = sorted({1, threads})
        self._target = target
        self._width = target.vector_bytes
        self._library = Library([object_code(loops_text(target), target)], target)
        types = (ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 4)
        kind = ctypes.CFUNCTYPE(None, *types)
        names = [*(f"multiply_{dtype}" for dtype in TYPES), *ARRAYS]
        self._loops = {name: kind(self._library.address(name)) for name in names}
        self._memory = _aligned_ones(max(v.total_bytes for v in levels_of(target, threads)))
        self._sums = _aligned_ones(_SUMS_BYTES * threads)
        self._samples: dict[tuple[int, str, str], list[float]] = {}

    def sample(self) -> None:
        """Measure every rate once more: about a fifth of a second."""
        for threads in self.counts:
            for dtype in TYPES:
                self._enter(threads, "", dtype, self._multiply_rate(threads, dtype))
            for level in levels_of(self._target, threads):
                for sweep in ARRAYS:
                    rate = self._sweep_rate(threads, level, sweep)
                    self._enter(threads, level.name, sweep, rate)

    def roofs(self) -> dict[int, Roof]:
        """The best of the samples, by number of threads: other work only lowers a rate."""
        return {threads: self._roof(threads) for threads in self.counts}

    def _enter(self, threads: int, level: str, name: str, rate: float) -> None:
        self._samples.setdefault((threads, level, name), []).append(rate)

    def _roof(self, threads: int) -> Roof:
        def best(level: str, name: str) -> float:
            return max(self._samples[threads, level, name])

        levels = tuple(
            MemoryLevel(v.name, v.fits_bytes, {sweep: best(v.name, sweep) for sweep in ARRAYS})
            for v in levels_of(self._target, threads)
        )
        return Roof(threads, {dtype: best("", dtype) for dtype in TYPES}, levels)

    def _multiply_rate(self, threads: int, dtype: str) -> float:
        """GFLOP/s of all threads together."""
        flops = 2 * ACCUMULATORS * self._width // TYPES[dtype]
        loop = self._loops[f"multiply_{dtype}"]
        rounds = self._repeats(lambda count: loop(1, count, *self._places(0, 0, 1)), 10_000)
        calls = [partial(loop, 1, rounds, *self._places(thread, 0, 1)) for thread in range(threads)]
        return sum(rounds * flops / seconds for seconds in run_together(calls)) / 1e9

    def _sweep_rate(self, threads: int, level: _Level, sweep: str) -> float:
        """GB/s of all threads together."""
        arrays = ARRAYS[sweep]
        count = level.total_bytes // threads // arrays // 4
        count -= count % (UNROLL * self._width // 4)
        loop = self._loops[sweep]
        places = [tuple(self._places(thread, count, arrays)) for thread in range(threads)]
        times = self._repeats(lambda times: loop(times, count, *places[0]), 1)
        calls = [partial(loop, times, count, *found) for found in places]
        swept = times * count * 4 * arrays
        return sum(swept / seconds for seconds in run_together(calls)) / 1e9

    def _places(self, thread: int, count: int, arrays: int) -> Iterator[int]:
        """Addresses of a thread's sums and of its arrays of `count` floats, the last repeated."""
        yield self._sums.ctypes.data + thread * _SUMS_BYTES
        start = self._memory.ctypes.data + 4 * thread * arrays * count
        yield from (start + 4 * min(number, arrays - 1) * count for number in range(3))

    def _repeats(self, run: Callable[[int], object], first: int) -> int:
        """How many rounds take about the time of a sample."""
        start = time.perf_counter()
        run(first)
        seconds = time.perf_counter() - start
        return max(first, int(first * _SAMPLE_SECONDS / max(seconds, 1e-7)))


def run_together(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Run each on a thread of its own, all at once; the seconds of each."""
    if len(calls) == 1:
        return [_timed(calls[0])]
    seconds = [0.0] * len(calls)
    start = threading.Barrier(len(calls))

    def work(number: int) -> None:
        start.wait()
        seconds[number] = _timed(calls[number])

    workers = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return seconds


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _aligned_ones(size: int) -> Array:
    """Floats of `size` bytes, written once so that their pages are real, at a multiple of 64."""
    memory = np.ones(size // 4 + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + size // 4]
