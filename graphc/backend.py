"""What a backend offers, looked up by name: the compiler stands below the backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from graphc.errors import ArgumentError
from graphc.loops import Kernel, Schedule
from graphc.planning.plan import MemoryPlan
from graphc.runtime.compiled import Compiled
from graphc.runtime.workspace import Workspace

Array = np.ndarray[Any, Any]


class Executable(Protocol):
    """A schedule made runnable.

    form   the format of `kernel_code` that is this backend's own: "llvm", "cuda", "text"
    """

    form: str

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Arrays of the program's inputs to arrays of its outputs; state changes in place."""
        ...

    def measure(self, inputs: Sequence[Array], seconds: float) -> Any:
        """Time the launches for about `seconds`: a `graphc.runtime.profile.Measurement`.

        Raises ArgumentError where the backend cannot.
        """
        ...

    def kernel_code(self, kernel: str, form: str) -> str:
        """A kernel's text in the backend's own form, or another that it knows."""
        ...


@dataclass(frozen=True)
class KernelCode:
    """The code of a schedule's kernels.

    objects        {key of the kernel in the schedule: object}
    scratch_bytes  what a thread needs for the local buffers of any one of them
    """

    objects: Mapping[str, bytes] = field(default_factory=dict)
    scratch_bytes: int = 0


class Backend(Protocol):
    def identity(self) -> str | None:
        """All that its code depends on beside the schedule: target and versions.

        None: its programs are not kept between runs.
        """
        ...

    def generate(self, schedule: Schedule) -> KernelCode:
        """The code of every kernel; the plan needs to know its scratch."""
        ...

    def link(self, schedule: Schedule, plan: MemoryPlan, code: KernelCode) -> tuple[bytes, ...]:
        """All objects of a planned schedule."""
        ...

    def load(
        self,
        compiled: Compiled,
        state: Any,
        threads: int,
        workspace: Workspace | None = None,
    ) -> Executable:
        """A program ready to run; it may work in an arena that others of its state work in."""
        ...

    def kernel_code(self, kernel: Kernel, form: str) -> str: ...


_HOMES = {
    "cpu": "graphc.backends.llvm.program",
    "interpreter": "graphc.backends.interpreter.program",
    "cuda": "graphc.backends.cuda.program",
}


def find(name: str) -> Backend:
    """The backend of a name. Raises ArgumentError where there is none."""
    if name not in _HOMES:
        raise ArgumentError(f"no backend {name!r}; there are {', '.join(_HOMES)}")
    found: Backend = import_module(_HOMES[name])
    return found
