"""A schedule for an NVIDIA GPU: its kernels as CUDA C. Running them needs a GPU and is to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.backend import KernelCode
from graphc.backends.cuda.nvrtc import ptx
from graphc.backends.cuda.source import cuda_source
from graphc.errors import ArgumentError, CompileError
from graphc.loops import Kernel, Schedule
from graphc.planning.plan import MemoryPlan
from graphc.runtime.compiled import Compiled
from graphc.runtime.state import State
from graphc.runtime.workspace import Workspace

Array = np.ndarray[Any, Any]


def identity() -> None:
    """Kernels are printed anew each time: nothing is kept between runs."""


def generate(schedule: Schedule) -> KernelCode:
    """No objects: kernels are printed when asked for."""
    return KernelCode()


def link(schedule: Schedule, plan: MemoryPlan, kernels: KernelCode) -> tuple[bytes, ...]:
    """No objects."""
    return ()


def load(
    compiled: Compiled, state: State, threads: int, workspace: Workspace | None = None
) -> CudaText:
    """The schedule's kernels, to be read."""
    return CudaText(compiled.schedule)


def kernel_code(kernel: Kernel, form: str) -> str:
    """A kernel as CUDA C ("cuda") or PTX ("ptx"), which needs NVRTC.

    Formal buffers may share bytes, so none is restrict.
    """
    if form not in ("cuda", "ptx"):
        raise ArgumentError(f"the cuda backend shows kernels as cuda or ptx, not {form!r}")
    text = cuda_source(kernel, restrict=False)
    return text if form == "cuda" else ptx(text)


class CudaText:
    """Shows kernels as CUDA C; refuses to run them."""

    form = "cuda"

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        raise CompileError("the cuda backend prints kernels; running them is not there yet")

    def measure(self, inputs: Sequence[Array], seconds: float) -> Any:
        raise ArgumentError("the cuda backend prints kernels; it cannot time them yet")

    def kernel_code(self, kernel: str, form: str) -> str:
        return kernel_code(self.schedule.kernels[kernel], form)
