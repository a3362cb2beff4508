"""A schedule as native code: kernels compiled or from the cache, and the threads to run it."""

from __future__ import annotations

import ctypes
import hashlib
import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from graphc import loops as loops_package
from graphc import target as targets
from graphc.errors import ArgumentError
from graphc.loops import Kernel, Launch, Schedule
from graphc.planning.barriers import BarrierPlan, place_barriers
from graphc.planning.check import check_plan
from graphc.planning.plan import MemoryPlan
from graphc.runtime.profile import Measurement
from graphc.runtime.state import State
from graphc.target import Target

from .engine import Library, assembly, cached, module_text, object_code
from .statements import emit_kernel
from .threads import STOP_BYTE, step_text
from .tile import tile

Array = np.ndarray[Any, Any]
_SERIAL_SECONDS = 5e-6
_SYNC_BYTES = 1024


def runs_alone(launch: Launch) -> bool:
    """Whether a launch is too short to share out: below about 5 us on one core."""
    return launch.bytes / 20e9 + launch.flops / 40e9 < _SERIAL_SECONDS


def runs_shared(launch: Launch) -> bool:
    return not runs_alone(launch)


def load(
    schedule: Schedule,
    plan: MemoryPlan,
    state: State,
    constants: Mapping[str, Array],
    threads: int,
) -> NativeProgram:
    """Compile a planned schedule for this machine."""
    return NativeProgram(schedule, plan, state, constants, threads, targets.host())


def kernel_text(kernel: Kernel, symbol: str, target: Target) -> str:
    return module_text([emit_kernel(tile(kernel, target), symbol, target)])


def kernel_code(kernel: Kernel, form: str, target: Target | None = None) -> str:
    """A kernel's LLVM text ("llvm") or machine instructions ("asm"), by default of this machine."""
    if form not in ("llvm", "asm"):
        raise ArgumentError(f"the cpu backend shows kernels as llvm or asm, not {form!r}")
    target = targets.host() if target is None else target
    text = kernel_text(kernel, "kernel", target)
    return text if form == "llvm" else assembly(text, target)


class NativeProgram:
    """Runs a schedule by one native call."""

    form = "llvm"

    def __init__(
        self,
        schedule: Schedule,
        plan: MemoryPlan,
        state: State,
        constants: Mapping[str, Array],
        threads: int,
        target: Target,
    ) -> None:
        if threads < 1:
            raise ArgumentError(f"threads is {threads}, expected at least 1")
        self.schedule, self.target, self.threads = schedule, target, threads
        self.parts = (schedule, plan, state, constants, threads, target)
        self._library = self._compile(plan)
        self._sync, sync = _aligned(_SYNC_BYTES)
        self._arena, arena = _aligned(max(64, plan.arena_bytes))
        self._kept = [state, *constants.values()]
        self._table = np.zeros(max(1, len(schedule.storages)), np.uint64)
        self._slots = {s.name: n for n, s in enumerate(schedule.storages)}
        self._fill_table(plan, state, constants, arena)
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(
            self._library.address("run")
        )
        self._arguments = (self._table.ctypes.data, sync, threads)
        self._lock = threading.Lock()
        self._start_workers(sync)

    def _compile(self, plan: MemoryPlan) -> Library:
        symbols = {
            key: f"k_{kernel.structural_hash[:24]}" for key, kernel in self.schedule.kernels.items()
        }
        objects = {
            symbols[key]: _kernel_object(kernel, symbols[key], self.target)
            for key, kernel in self.schedule.kernels.items()
        }
        barriers = place_barriers(self.schedule, plan, runs_shared)
        check_plan(self.schedule, plan, barriers, runs_shared)
        step = self._step_text(symbols, barriers)
        return Library([*objects.values(), object_code(step, self.target)], self.target)

    def _step_text(self, symbols: Mapping[str, str], barriers: BarrierPlan) -> str:
        return step_text(self.schedule, symbols, barriers, self.target)

    def _fill_table(
        self, plan: MemoryPlan, state: State, constants: Mapping[str, Array], arena: int
    ) -> None:
        for storage in self.schedule.storages:
            slot = self._slots[storage.name]
            if storage.purpose == "temporary":
                self._table[slot] = arena + plan.offsets[storage.name]
            elif storage.purpose == "state":
                self._table[slot] = state.address(storage.name)
            elif storage.purpose == "constant":
                array = constants[self.schedule.constants[storage.name]]
                self._table[slot] = array.ctypes.data

    def _start_workers(self, sync: int) -> None:
        types = (ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        work = ctypes.CFUNCTYPE(None, *types)(self._library.address("work"))
        kept = (self._library, self._table, self._sync, self._arena, self._kept)
        for number in range(1, self.threads):
            arguments = (number, self._table.ctypes.data, sync, self.threads)
            worker = threading.Thread(
                target=_work, args=(work, arguments, kept), daemon=True, name=f"graphc-{number}"
            )
            worker.start()
        if self.threads > 1:
            leave = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(
                self._library.address("leave")
            )
            ending = weakref.finalize(self, _stop, leave, self._sync, sync, self.threads, kept)
            ending.atexit = False

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Arrays of the inputs' shapes and types, contiguous, to new arrays of the outputs."""
        outputs = [
            np.empty(storage.shape, storage.dtype.numpy)
            for storage in (self.schedule.by_name[name] for name in self.schedule.outputs)
        ]
        with self._lock:
            for name, array in zip(self.schedule.inputs, inputs, strict=True):
                self._table[self._slots[name]] = array.ctypes.data
            for name, array in zip(self.schedule.outputs, outputs, strict=True):
                self._table[self._slots[name]] = array.ctypes.data
            self._run(*self._arguments)
        return outputs

    def measure(self, inputs: Sequence[Array], seconds: float) -> Measurement:
        """Time each launch, in rounds for about `seconds`; the state stays as it was."""
        from .profiling import measure

        return measure(self, inputs, seconds)

    def kernel_code(self, kernel: str, form: str) -> str:
        return kernel_code(self.schedule.kernels[kernel], form, self.target)


def _work(work: Any, arguments: tuple[int, ...], kept: object) -> None:
    work(*arguments)


def _stop(leave: Any, sync: Array, address: int, threads: int, kept: object) -> None:
    """Wake the workers for the last time: the stop flag ends them before the step."""
    sync[STOP_BYTE : STOP_BYTE + 4].view(np.int32)[0] = 1
    leave(address, threads)


def _aligned(size: int) -> tuple[Array, int]:
    """Zeroed memory that starts at a multiple of 64, and its address."""
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    part = memory[start : start + size]
    return part, part.ctypes.data


def _kernel_object(kernel: Kernel, symbol: str, target: Target) -> bytes:
    key = f"{_sources_digest()} {target} {kernel.structural_hash}"
    return cached(key, target, lambda: kernel_text(kernel, symbol, target))


@cache
def _sources_digest() -> str:
    """A digest of the code generator itself, so that another one never meets old objects."""
    folders = (Path(__file__).parent, Path(loops_package.__file__).parent)
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
