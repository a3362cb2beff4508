"""Kernels that differ in nothing but the streams of their random numbers become one.

Each dropout of a model draws from a stream of its own, a number in its kernel. Where kernels are
equal otherwise, the numbers move to a constant, from which every launch gets its own part:

    kernel @a(...) { ... random_bits(k0, k1, i, u32(3)) }       launch a(...)
    kernel @b(...) { ... random_bits(k0, k1, i, u32(4)) }       launch b(...)
    =>
    kernel @a(..., in streams: u32[1]) { ... random_bits(k0, k1, i, streams[0]) }
    launch a(..., table), launch a(..., table + 1)

Six equal layers are compiled once then, which is most of the time to compile a Transformer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphc.dtypes import uint32
from graphc.ir import Array
from graphc.loops import (
    Argument,
    Branch,
    Buffer,
    Call,
    Contract,
    Expr,
    Kernel,
    Launch,
    Let,
    Literal,
    Load,
    Loop,
    Prefetch,
    Repeat,
    Schedule,
    Statement,
    Step,
    Storage,
    Store,
    When,
    index,
)
from graphc.loops.expressions import children, with_children

_DRAWS = frozenset({"random_bits", "random_bits_high"})  # their last argument is the stream
Constants = Mapping[str, np.ndarray[Any, Any]]


def share_streams(schedule: Schedule) -> tuple[Schedule, Constants]:
    """The schedule with such kernels merged, and the constant that it has more: {digest: u32[n]}.

    The very same schedule, and none, where no two kernels are alike.
    """
    groups: dict[object, dict[str, _Lifted]] = {}
    for key, kernel in schedule.kernels.items():
        lifted = _Lifting(kernel).run()
        if lifted.streams:
            groups.setdefault((lifted.kernel.buffers, lifted.kernel.body), {})[key] = lifted
    shared = [group for group in groups.values() if len(group) > 1]
    return _Sharing(schedule, shared).run() if shared else (schedule, {})


@dataclass(frozen=True)
class _Lifted:
    """A kernel that reads its streams from its last formal buffer, and what they are."""

    kernel: Kernel
    streams: tuple[int, ...]


class _Lifting:
    """Replaces the streams of one kernel's draws by loads."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.streams: dict[Literal, int] = {}  # stream -> its place in the buffer
        # By identity: the items of one fold are known by it.
        self._known: dict[int, tuple[Expr, Expr]] = {}

    def run(self) -> _Lifted:
        body = tuple(map(self._statement, self.kernel.body))
        buffer = Buffer("streams", (len(self.streams),), uint32)
        kernel = replace(self.kernel, buffers=(*self.kernel.buffers, buffer), body=body)
        return _Lifted(kernel, tuple(int(stream.value) for stream in self.streams))

    def _statement(self, statement: Statement) -> Statement:
        match statement:
            case Loop(lower=lower, upper=upper, body=body):
                inner = tuple(map(self._statement, body))
                return replace(
                    statement, lower=self._expr(lower), upper=self._expr(upper), body=inner
                )
            case When(condition, body):
                return When(self._expr(condition), tuple(map(self._statement, body)))
            case Let(name, value):
                return Let(name, self._expr(value))
            case Store(buffer, at, value, guard):
                places = tuple(map(self._expr, at))
                kept = None if guard is None else self._expr(guard)
                return Store(buffer, places, self._expr(value), kept)
            case Contract(a=a, b=b):
                return replace(statement, a=self._expr(a), b=self._expr(b))
            case Prefetch(buffer, at):
                return Prefetch(buffer, tuple(map(self._expr, at)))
            case _:
                return statement

    def _expr(self, expr: Expr) -> Expr:
        known = self._known.get(id(expr))
        if known is None:
            known = self._known[id(expr)] = (expr, self._rewrite(expr))
        return known[1]

    def _rewrite(self, expr: Expr) -> Expr:
        old = children(expr)
        new = tuple(map(self._expr, old))
        if isinstance(expr, Call) and expr.op in _DRAWS and isinstance(stream := new[-1], Literal):
            place = self.streams.setdefault(stream, len(self.streams))
            new = (*new[:-1], Load("streams", (index(place),), uint32))
        unchanged = all(a is b for a, b in zip(old, new, strict=True))
        return expr if unchanged else with_children(expr, new)


class _Sharing:
    """Puts one kernel in the place of each group's, and its streams into one table."""

    def __init__(self, schedule: Schedule, groups: Sequence[Mapping[str, _Lifted]]) -> None:
        self.schedule = schedule
        self.table: list[int] = []
        self.names: dict[str, str] = {}  # a merged kernel's key -> that of the kernel in its place
        self.arguments: dict[str, int] = {}  # a merged kernel's key -> where its streams start
        self.kernels: dict[str, Kernel] = {}
        for group in groups:
            first, lifted = next(iter(group.items()))
            self.kernels[first] = lifted.kernel
            for key, other in group.items():
                self.names[key] = first
                self.arguments[key] = len(self.table)
                self.table.extend(other.streams)

    def run(self) -> tuple[Schedule, Constants]:
        array = np.array(self.table, np.uint32)
        digest = Array(array).digest
        self.storage = Storage(f"constant.{digest}", array.shape, uint32, "constant")
        kernels = {
            key: self.kernels.get(key, kernel)
            for key, kernel in self.schedule.kernels.items()
            if self.names.get(key, key) == key
        }
        shared = replace(
            self.schedule,
            storages=(*self.schedule.storages, self.storage),
            kernels=kernels,
            steps=tuple(map(self._step, self.schedule.steps)),
            constants={**self.schedule.constants, self.storage.name: digest},
        )
        return shared, {digest: array}

    def _step(self, step: Step) -> Step:
        match step:
            case Launch(kernel=key) if key in self.names:
                streams = Argument(self.storage.name, index(self.arguments[key]))
                return replace(step, kernel=self.names[key], arguments=(*step.arguments, streams))
            case Launch():
                return step
            case Repeat(steps=steps):
                return replace(step, steps=tuple(map(self._step, steps)))
            case Branch(yes=yes, no=no):
                return replace(step, yes=tuple(map(self._step, yes)), no=tuple(map(self._step, no)))
