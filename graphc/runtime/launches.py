"""A program's launches as its users see them: with the code of their kernels."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backend import Executable
from graphc.loops import Argument, Kernel, Schedule


@dataclass(frozen=True)
class ProgramKernel:
    """A kernel of a program; several launches may share it."""

    name: str
    definition: Kernel
    _executable: Executable

    @property
    def code(self) -> str:
        """What the backend made of it: LLVM text on the CPU, CUDA C for a GPU."""
        return self._executable.kernel_code(self.name, self._executable.form)

    def __str__(self) -> str:
        return str(self.definition)


@dataclass(frozen=True)
class ProgramLaunch:
    """One run of a kernel.

    ops      the operators that it computes
    source   lines of the model; of a gradient, those that it is the gradient of
    reason   why its operators run together; "" of one that runs alone
    flops    floating-point operations of one run, nominal
    bytes    of all the buffers that it is given
    """

    name: str
    kernel: ProgramKernel
    arguments: tuple[Argument, ...]
    ops: tuple[str, ...]
    source: tuple[str, ...]
    reason: str
    flops: int
    bytes: int


def program_launches(schedule: Schedule, executable: Executable) -> list[ProgramLaunch]:
    """The launches in order; those inside repeats and branches once."""
    kernels = {
        name: ProgramKernel(name, kernel, executable) for name, kernel in schedule.kernels.items()
    }
    return [
        ProgramLaunch(
            launch.name,
            kernels[launch.kernel],
            launch.arguments,
            launch.ops,
            launch.source,
            launch.reason,
            launch.flops,
            launch.bytes,
        )
        for launch in schedule.launches()
    ]
