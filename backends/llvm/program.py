"""A compiled schedule ready to run: its objects loaded, its memory, and the threads to run it."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.backend import KernelCode
from graphc.errors import ArgumentError
from graphc.loops import Kernel, Schedule
from graphc.planning.plan import MemoryPlan
from graphc.runtime.compiled import Compiled
from graphc.runtime.profile import Measurement
from graphc.runtime.state import State
from graphc.runtime.workspace import Workspace, aligned_zeros
from graphc.target import Target

from . import code
from .addresses import address_of
from .code import kernel_text
from .engine import Library, assembly
from .host import host
from .outputs import Outputs
from .release import release_llvm
from .threads import STOP_BYTE

Array = np.ndarray[Any, Any]
_SYNC_BYTES = 1024

# Those that have workers: a forked process has the programs, but not their workers.
_sharing: weakref.WeakSet[NativeProgram] = weakref.WeakSet()


def identity() -> str:
    """What programs for this machine depend on beside their schedule."""
    return code.identity(host())


def generate(schedule: Schedule) -> KernelCode:
    """The kernels for this machine."""
    return code.generate_kernels(schedule, host())


def link(schedule: Schedule, plan: MemoryPlan, kernels: KernelCode) -> tuple[bytes, ...]:
    """All objects of a planned schedule for this machine."""
    return tuple(code.link_step(schedule, plan, kernels, host()))


def load(
    compiled: Compiled, state: State, threads: int, workspace: Workspace | None = None
) -> NativeProgram:
    """A program for this machine, ready to run."""
    program = NativeProgram(compiled, state, threads, host(), workspace)
    release_llvm()
    return program


def kernel_code(kernel: Kernel, form: str, target: Target | None = None) -> str:
    """A kernel's LLVM text ("llvm") or machine instructions ("asm"), by default of this machine."""
    if form not in ("llvm", "asm"):
        raise ArgumentError(f"the cpu backend shows kernels as llvm or asm, not {form!r}")
    target = host() if target is None else target
    text = kernel_text(kernel, "kernel", target)
    return text if form == "llvm" else assembly(text, target)


class NativeProgram:
    """Runs a schedule by one native call."""

    form = "llvm"

    def __init__(
        self,
        compiled: Compiled,
        state: State,
        threads: int,
        target: Target,
        workspace: Workspace | None = None,
    ) -> None:
        if threads < 1:
            raise ArgumentError(f"threads is {threads}, expected at least 1")
        self.compiled, self.state, self.target = compiled, state, target
        self._layout, plan = compiled.layout, compiled.plan
        self._library = Library(compiled.objects, target)
        self.threads = threads if self._function("shares", ctypes.c_int64)() else 1
        self._sync, sync = _aligned(_SYNC_BYTES)
        workspace = Workspace() if workspace is None else workspace
        self._arena = workspace.arena(plan.arena_bytes)
        self._scratch, scratch = _aligned(plan.scratch_bytes * threads)
        self._table = (ctypes.c_uint64 * (len(self._layout.storages) + 1))()
        self._slots = {s.name: n for n, s in enumerate(self._layout.storages)}
        named = (*self._layout.inputs, *self._layout.outputs)
        self._places = [self._slots[name] for name in named]
        self._fill_table(self._arena.ctypes.data, scratch)
        types = (None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        self._run = self._native = self._function("run", *types)
        self._arguments = (ctypes.addressof(self._table), sync, self.threads)
        self._lock = workspace.lock
        self._outputs = Outputs([self._layout.by_name[name] for name in self._layout.outputs])
        if self.threads > 1:
            self._start_workers()
            _sharing.add(self)

    def _function(self, name: str, *types: Any) -> Callable[..., Any]:
        """A function of the objects; `types` are those of its result and arguments."""
        return ctypes.CFUNCTYPE(*types)(self._library.address(name))

    @property
    def working_bytes(self) -> int:
        """What it works in: the arena, which may be shared, and the threads' scratch."""
        return self._arena.nbytes + self._scratch.nbytes

    def _fill_table(self, arena: int, scratch: int) -> None:
        """Every address that stays the same from call to call."""
        for storage in self._layout.storages:
            slot = self._slots[storage.name]
            if storage.purpose == "temporary":
                self._table[slot] = arena + self.compiled.plan.offsets[storage.name]
            elif storage.purpose == "state":
                self._table[slot] = self.state.address(storage.name)
            elif storage.purpose == "constant":
                array = self.compiled.constants[self._layout.constants[storage.name]]
                self._table[slot] = array.ctypes.data
        self._table[len(self._layout.storages)] = scratch

    def _start_workers(self) -> None:
        types = (ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        work = self._function("work", None, *types)
        memory = (self._table, self._sync, self._arena, self._scratch)
        kept = (self._library, memory, self.state, self.compiled.constants)
        for number in range(1, self.threads):
            arguments = (number, *self._arguments)
            worker = threading.Thread(
                target=_work, args=(work, arguments, kept), daemon=True, name=f"graphc-{number}"
            )
            worker.start()
        leave = self._function("leave", None, ctypes.c_void_p, ctypes.c_int64)
        _, sync, threads = self._arguments
        self._ending = weakref.finalize(self, _stop, leave, self._sync, sync, threads, kept)
        self._ending.atexit = False

    def lose_workers(self) -> None:
        """In a forked process: new ones start at the next run, if there is one."""
        self._ending.detach()
        self._sync[:] = 0
        self._run = self._start_and_run

    def _start_and_run(self, *arguments: int) -> None:
        self._run = self._native
        self._start_workers()
        self._run(*arguments)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Arrays of the inputs' shapes and types, contiguous, to new arrays of the outputs."""
        table = self._table
        with self._lock:
            outputs = self._outputs.arrays()
            for slot, array in zip(self._places, (*inputs, *outputs), strict=True):
                table[slot] = address_of(array)
            self._run(*self._arguments)
        return outputs

    def measure(self, inputs: Sequence[Array], seconds: float) -> Measurement:
        """Time each launch, in rounds for about `seconds`; the state stays as it was."""
        from .profiling import measure

        return measure(self, inputs, seconds)

    def kernel_code(self, kernel: str, form: str) -> str:
        return kernel_code(self.compiled.schedule.kernels[kernel], form, self.target)


def _lose_workers() -> None:
    for program in tuple(_sharing):
        program.lose_workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lose_workers)


def _work(work: Any, arguments: tuple[int, ...], kept: object) -> None:
    work(*arguments)


def _stop(leave: Any, sync: Array, address: int, threads: int, kept: object) -> None:
    """Wake the workers for the last time: the stop flag ends them before the step."""
    sync[STOP_BYTE : STOP_BYTE + 4].view(np.int32)[0] = 1
    leave(address, threads)


def _aligned(size: int) -> tuple[Array, int]:
    """Zeroed memory that starts at a multiple of ALIGNMENT_BYTES, and its address."""
    part = aligned_zeros(size)
    return part, part.ctypes.data
