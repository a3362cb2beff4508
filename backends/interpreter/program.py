"""Runs a schedule by the naive meaning of its kernels, in NumPy: slow, the oracle of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.backend import KernelCode
from graphc.errors import ArgumentError
from graphc.loops import Kernel, Schedule
from graphc.loops.evaluate import run_schedule
from graphc.planning.plan import MemoryPlan
from graphc.runtime.compiled import Compiled
from graphc.runtime.state import State
from graphc.runtime.workspace import Workspace

Array = np.ndarray[Any, Any]


def identity() -> None:
    """An oracle takes no short cut: nothing is kept between runs."""


def generate(schedule: Schedule) -> KernelCode:
    """No code: kernels are interpreted."""
    return KernelCode()


def link(schedule: Schedule, plan: MemoryPlan, kernels: KernelCode) -> tuple[bytes, ...]:
    """No objects."""
    return ()


def load(
    compiled: Compiled, state: State, threads: int, workspace: Workspace | None = None
) -> Interpreter:
    """A schedule to be interpreted; the number of threads does not matter."""
    return Interpreter(compiled.schedule, state, compiled.constants)


def kernel_code(kernel: Kernel, form: str) -> str:
    """A kernel's own text: the interpreter makes no other code."""
    if form != "text":
        raise ArgumentError(f"the interpreter makes no code; it cannot show {form!r}")
    return str(kernel)


class Interpreter:
    """Runs a schedule's naive kernels one after the other."""

    form = "text"

    def __init__(self, schedule: Schedule, state: State, constants: Mapping[str, Array]) -> None:
        self.schedule, self.state, self.constants = schedule, state, constants

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        schedule = self.schedule
        memory = dict(zip(schedule.inputs, inputs, strict=True))
        memory.update({name: self.constants[key] for name, key in schedule.constants.items()})
        for storage in schedule.storages:
            if storage.purpose == "state":
                memory[storage.name] = self.state.array(storage.name)
        run_schedule(schedule, memory)
        return [np.array(memory[name], order="C") for name in schedule.outputs]

    def measure(self, inputs: Sequence[Array], seconds: float) -> Any:
        raise ArgumentError("the interpreter's times say nothing; profile on the backend 'cpu'")

    def kernel_code(self, kernel: str, form: str) -> str:
        return kernel_code(self.schedule.kernels[kernel], form)
