"""What a backend offers, looked up by name: the compiler stands below the backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from graphc.errors import ArgumentError
from graphc.loops import Kernel, Schedule

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


class Memory(Protocol):
    """Where state tensors lie; `graphc.runtime.state.State` is one."""

    def address(self, name: str) -> int: ...

    def array(self, name: str) -> Array: ...


class Backend(Protocol):
    def load(
        self,
        schedule: Schedule,
        plan: Any,
        state: Any,
        constants: Mapping[str, Array],
        threads: int,
    ) -> Executable: ...

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
