"""Training steps in a process that dies at its first system call.

    python -m tests.end_to_end.confined MODEL THREADS

compiles and warms up, then has the kernel kill the process at any system call but those that write
to a file, end the process and, with several threads, wait and wake. It prints "confined",
"100 steps" after as many, and dies of the call that it makes then.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable

from graphc.frontends.train.step import TrainStep
from tests.end_to_end.training import make_loader, make_step

# Linux's numbers of system calls, by machine
NUMBERS = {
    "x86_64": {"write": 1, "exit_group": 231, "futex": 202, "seccomp": 317},
    "aarch64": {"write": 64, "exit_group": 94, "futex": 98, "seccomp": 277},
}
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_NO_NEW_PRIVILEGES = 38
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: load a word, jump if it equals k, return k


class Instruction(ctypes.Structure):
    """Linux's struct sock_filter."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class Filter(ctypes.Structure):
    """Linux's struct sock_fprog."""

    _fields_ = (
        ("length", ctypes.c_uint16),
        ("instructions", ctypes.POINTER(Instruction)),
    )


def forbid_system_calls(*allowed: str) -> bool:
    """From now on another system call of any thread kills this process.

    False where the system does not offer that.
    """
    numbers = NUMBERS[platform.machine()]
    rows = [(_LOAD, 0, 0, 0)]  # the number of the call comes first in struct seccomp_data
    for position, name in enumerate(allowed):
        rows.append((_JUMP_EQUAL, len(allowed) - position, 0, numbers[name]))
    rows += [(_RETURN, 0, 0, _KILL_PROCESS), (_RETURN, 0, 0, _ALLOW)]
    program = Filter(len(rows), (Instruction * len(rows))(*(Instruction(*row) for row in rows)))
    libc = ctypes.CDLL(None)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    pointer = ctypes.byref(program)
    return bool(libc.syscall(numbers["seccomp"], _SET_MODE_FILTER, _ALL_THREADS, pointer) == 0)


def warm(name: str, threads: int = 1) -> tuple[TrainStep, Callable[[], None]]:
    """A step that ran before, and a call of it that keeps nothing."""
    step = make_step(name, threads)
    batch = next(iter(make_loader(name)))

    def run() -> None:
        step(*batch)

    for _ in range(3):
        run()
    return step, run


def main(name: str, threads: int) -> None:
    _, run = warm(name, threads)
    if not forbid_system_calls("write", "exit_group", *["futex"] * (threads > 1)):
        os.write(1, b"not offered\n")
        return
    os.write(1, b"confined\n")
    for _ in range(100):
        run()
    os.write(1, b"100 steps\n")
    os.getppid()
    os.write(1, b"not confined at all\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
