"""Schedules: the tree of launches that a program runs.

    schedule = storages, kernels, steps
    step     = launch(kernel, arguments) | repeat(index, count, steps) | branch(flag, yes, no)
    argument = storage + offset, the offset affine in the enclosing repeat indexes

A storage is bytes with a purpose: a program's input, output, state, constant, or a temporary that
the memory plan puts into the arena. Views of a tensor are arguments on the same storage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal as OneOf
from typing import TypeAlias

from graphc.dtypes import DType
from graphc.loops.expressions import Expr
from graphc.loops.kernel import Kernel

Purpose = OneOf["input", "output", "state", "constant", "temporary"]


@dataclass(frozen=True)
class Storage:
    """Memory of a program.

    shape, order   logical extents and the dimensions from slowest to fastest
    source         lines of the model that made it, for memory reports
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    purpose: Purpose
    order: tuple[int, ...] = ()
    source: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclass(frozen=True)
class Argument:
    """A kernel's formal buffer placed on a storage, `offset` elements from its start."""

    storage: str
    offset: Expr


@dataclass(frozen=True)
class Launch:
    """One run of a kernel: arguments in the order of the kernel's formal buffers."""

    name: str
    kernel: str  # key in Schedule.kernels
    arguments: tuple[Argument, ...]
    ops: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    reason: str = ""
    flops: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Repeat:
    """`steps` for index 0 ... count - 1, in order."""

    index: str
    count: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Branch:
    """`yes` where the bool at `flag` is true, else `no`."""

    flag: Argument
    yes: tuple[Step, ...]
    no: tuple[Step, ...]


Step: TypeAlias = Launch | Repeat | Branch


@dataclass(frozen=True)
class Schedule:
    """What a program runs, and the memory it runs on.

    inputs, outputs   storages in the order of the program's arguments and results
    """

    name: str
    storages: tuple[Storage, ...]
    kernels: dict[str, Kernel]
    steps: tuple[Step, ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    constants: dict[str, str] = field(default_factory=dict)  # storage -> digest of its elements

    @cached_property
    def by_name(self) -> dict[str, Storage]:
        return {storage.name: storage for storage in self.storages}

    def launches(self) -> Iterator[Launch]:
        """Every launch, in order; those inside repeats and branches once."""
        yield from _launches(self.steps)

    def __str__(self) -> str:
        from graphc.loops.text import format_schedule

        return format_schedule(self)


def _launches(steps: tuple[Step, ...]) -> Iterator[Launch]:
    for step in steps:
        match step:
            case Launch():
                yield step
            case Repeat(steps=inner):
                yield from _launches(inner)
            case Branch(yes=yes, no=no):
                yield from _launches(yes)
                yield from _launches(no)
