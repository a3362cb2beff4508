"""Schedules: launches in order on storages, each an array of its own."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

from graphc.errors import VerifyError
from graphc.loops.arithmetic import Array
from graphc.loops.evaluate.kernels import evaluate_expr, logical_view, run_kernel, undefined
from graphc.loops.kernel import Buffer
from graphc.loops.schedule import Argument, Branch, Launch, Repeat, Schedule, Step, Storage


def run_schedule(schedule: Schedule, memory: MutableMapping[str, Array]) -> None:
    """Run a schedule on arrays by the names of its storages, in logical shape.

    `memory` holds what the program reads: inputs, state, constants. Those arrays are updated in
    place where the program writes them; all other storages' arrays are added.
    """
    flat = {s.name: _flatten(s, memory.get(s.name)) for s in schedule.storages}
    _run_steps(schedule, schedule.steps, flat, {})
    for storage in schedule.storages:
        result = logical_view(flat[storage.name], _buffer(storage))
        if storage.name not in memory:
            memory[storage.name] = result
        elif storage.purpose != "constant":
            logical_view(memory[storage.name], _buffer(storage))[...] = result


def _buffer(storage: Storage) -> Buffer:
    return Buffer(storage.name, storage.shape, storage.dtype, storage.order)


def _flatten(storage: Storage, array: Array | None) -> Array:
    """A storage's elements as they lie in memory."""
    flat = undefined((storage.size,), storage.dtype)
    if array is not None:
        logical_view(flat, _buffer(storage))[...] = logical_view(array, _buffer(storage))
    return flat


def _run_steps(
    schedule: Schedule,
    steps: Sequence[Step],
    flat: Mapping[str, Array],
    indices: Mapping[str, int],
) -> None:
    for step in steps:
        match step:
            case Launch():
                _run_launch(schedule, step, flat, indices)
            case Repeat(index, count, inner):
                for i in range(count):
                    _run_steps(schedule, inner, flat, {**indices, index: i})
            case Branch(flag, yes, no):
                taken = _place(flag, 1, flat, indices)[0]
                _run_steps(schedule, yes if taken else no, flat, indices)


def _run_launch(
    schedule: Schedule, launch: Launch, flat: Mapping[str, Array], indices: Mapping[str, int]
) -> None:
    kernel = schedule.kernels[launch.kernel]
    placed = zip(kernel.buffers, launch.arguments, strict=True)
    run_kernel(
        kernel,
        {buffer.name: _place(at, buffer.size, flat, indices) for buffer, at in placed},
    )


def _place(
    argument: Argument, size: int, flat: Mapping[str, Array], indices: Mapping[str, int]
) -> Array:
    """The elements of a storage that an argument names."""
    start = int(evaluate_expr(argument.offset, indices))
    whole = flat[argument.storage]
    if not 0 <= start <= whole.size - size:
        raise VerifyError(
            f"{size} elements from {start} of {argument.storage}, which has {whole.size}"
        )
    return whole[start : start + size]
