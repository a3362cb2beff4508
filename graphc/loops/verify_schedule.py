"""The invariants of schedules; `graphc.loops.verify` lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from graphc.dtypes import bool_, int64
from graphc.errors import VerifyError
from graphc.loops.affine import Ranges, free_variables, interval
from graphc.loops.intervals import Interval
from graphc.loops.kernel import Buffer
from graphc.loops.schedule import Argument, Branch, Launch, Purpose, Repeat, Schedule, Step, Storage
from graphc.loops.text import format_argument, format_step
from graphc.loops.verify import check_memory, verify_kernel
from graphc.loops.verify_expressions import Scope, check_type


def verify_schedule(schedule: Schedule) -> None:
    """Raise VerifyError naming the schedule, the step and the broken invariant."""
    scope = Scope(f"schedule @{schedule.name}")
    _check_storages(schedule, scope)
    _check_constants(schedule, scope)
    _check_arguments(schedule, scope)
    for key, kernel in schedule.kernels.items():
        try:
            verify_kernel(kernel)
        except VerifyError as problem:
            raise VerifyError(f"{scope.place}, kernel {key!r}: {problem} [kernels]") from problem
    _Steps(schedule, scope).check(schedule.steps, {})


def _check_storages(schedule: Schedule, scope: Scope) -> None:
    uses = Counter(storage.name for storage in schedule.storages)
    for storage in schedule.storages:
        if uses[storage.name] > 1:
            raise scope.fail("storages", f"several storages are named {storage.name!r}")
        if problem := check_memory(storage):
            raise scope.fail("storages", problem)
        if storage.purpose not in get_args(Purpose):
            raise scope.fail("storages", f"{storage.name!r} is for {storage.purpose!r}")


def _check_constants(schedule: Schedule, scope: Scope) -> None:
    constants = {s.name for s in schedule.storages if s.purpose == "constant"}
    for name in constants - schedule.constants.keys():
        raise scope.fail("constants", f"constant {name!r} has no data")
    for name in schedule.constants.keys() - constants:
        raise scope.fail("constants", f"data is given for {name!r}, which is no constant")


def _check_arguments(schedule: Schedule, scope: Scope) -> None:
    for name in schedule.inputs:
        if name not in schedule.by_name or schedule.by_name[name].purpose != "input":
            raise scope.fail("arguments", f"{name!r} is not a storage of purpose input")
    for name in schedule.outputs:
        if name not in schedule.by_name:
            raise scope.fail("arguments", f"output {name!r} is not a storage")


class _Steps:
    def __init__(self, schedule: Schedule, scope: Scope) -> None:
        self.schedule = schedule
        self.scope = scope

    def check(self, steps: Sequence[Step], ranges: Ranges) -> None:
        for step in steps:
            match step:
                case Launch():
                    self._launch(step, self._at(step), ranges)
                case Repeat():
                    self._repeat(step, ranges)
                case Branch():
                    self._flag(step.flag, self._at(step), ranges)
                    self.check(step.yes, ranges)
                    self.check(step.no, ranges)
                case _:
                    raise self.scope.fail("fields", f"{step!r} is not a step")

    def _at(self, step: Step) -> Scope:
        """Where errors in a step are said to be; repeat indices stay in scope."""
        inner = Scope(f"schedule @{self.schedule.name}, `{format_step(step)}`")
        inner.variables = self.scope.variables
        return inner

    def _repeat(self, repeat: Repeat, ranges: Ranges) -> None:
        at = self._at(repeat)
        if type(repeat.count) is not int or repeat.count < 0:
            raise at.fail("repeats", f"count {repeat.count!r}; expected 0 or more")
        if repeat.index in self.scope.variables:
            raise at.fail("repeats", f"index {repeat.index!r} is that of a repeat around it")
        with self.scope.block():
            self.scope.bind(repeat.index, int64)
            inner = {**ranges, repeat.index: Interval(0, max(0, repeat.count - 1))}
            self.check(repeat.steps, inner)

    def _launch(self, launch: Launch, at: Scope, ranges: Ranges) -> None:
        kernel = self.schedule.kernels.get(launch.kernel)
        if kernel is None:
            raise at.fail("launches", f"no kernel {launch.kernel!r}")
        if len(launch.arguments) != len(kernel.buffers):
            problem = f"{len(launch.arguments)} arguments for {len(kernel.buffers)} buffers"
            raise at.fail("launches", problem)
        for argument, buffer in zip(launch.arguments, kernel.buffers, strict=True):
            self._argument(argument, buffer, at, ranges)

    def _argument(self, argument: Argument, buffer: Buffer, at: Scope, ranges: Ranges) -> None:
        storage = self._storage(argument, at)
        if storage.dtype != buffer.dtype:
            problem = f"{buffer.name!r} is {buffer.dtype}, {storage.name!r} holds {storage.dtype}"
            raise at.fail("launches", problem)
        if buffer.access != "in" and storage.purpose in ("input", "constant"):
            problem = f"{storage.purpose} {storage.name!r} is written as {buffer.name!r}"
            raise at.fail("writes", problem)
        self._offset(argument, storage, buffer.size, at, ranges)

    def _storage(self, argument: Argument, at: Scope) -> Storage:
        if argument.storage not in self.schedule.by_name:
            raise at.fail("launches", f"no storage {argument.storage!r}")
        return self.schedule.by_name[argument.storage]

    def _offset(
        self, argument: Argument, storage: Storage, size: int, at: Scope, ranges: Ranges
    ) -> None:
        for name in free_variables(argument.offset) - self.scope.variables.keys():
            raise at.fail("offsets", f"{name!r} is no index of a repeat around it")
        check_type(argument.offset, int64, f"the offset into {storage.name!r}", at)
        reach = interval(argument.offset, ranges)
        if reach.low < 0 or reach.high + size > storage.size:
            problem = (
                f"{format_argument(argument)} takes {size} elements at {reach.low}..{reach.high} "
                f"of {storage.size}"
            )
            raise at.fail("offsets", problem)

    def _flag(self, flag: Argument, at: Scope, ranges: Ranges) -> None:
        storage = self._storage(flag, at)
        if storage.dtype != bool_:
            raise at.fail("branches", f"the flag {storage.name!r} is {storage.dtype}, not bool")
        self._offset(flag, storage, 1, at, ranges)
