"""Replay: a schedule launch by launch, by the naive meaning of its kernels, each launch by itself.

    for run in runs(schedule, memory):                  # a launch that has not run yet
        alone(schedule, run.launch)                     # a schedule of that launch only
        run_naive(schedule, run.launch, memory)         # before the next is asked for

Every storage has memory of its own here, whatever the plan says, so what a launch reads is never
overwritten by another, and one launch can be run in another way on the same elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc.dtypes import int64
from graphc.ir import Graph
from graphc.loops import Launch, Schedule, const
from graphc.loops.evaluate import evaluate_expr, logical_view, run_schedule
from graphc.loops.evaluate.kernels import undefined
from graphc.loops.kernel import Buffer
from graphc.loops.schedule import Argument, Branch, Repeat, Step, Storage
from graphc.ops.numerics import NumpyArray

Memory = dict[str, NumpyArray]


@dataclass(frozen=True)
class Run:
    """A launch as it runs: offsets are numbers, and the indexes of the repeats around it."""

    launch: Launch
    indices: Mapping[str, int]
    is_last: bool  # of every repeat around it


def memory_for(
    schedule: Schedule,
    graph: Graph,
    inputs: Sequence[NumpyArray],
    state: Mapping[str, NumpyArray],
) -> Memory:
    """{storage: its elements as they lie in memory}; what nothing has written is undefined."""
    given = dict(zip(schedule.inputs, inputs, strict=True))
    given |= {name: graph.constants[digest] for name, digest in schedule.constants.items()}
    given |= {s.name: state[s.name] for s in schedule.storages if s.purpose == "state"}
    memory = {}
    for storage in schedule.storages:
        memory[storage.name] = undefined((storage.size,), storage.dtype)
        if storage.name in given:
            elements(storage, memory[storage.name])[...] = given[storage.name]
    return memory


def elements(storage: Storage, flat: NumpyArray) -> NumpyArray:
    """A view of a storage's memory by logical index."""
    return logical_view(flat, Buffer(storage.name, storage.shape, storage.dtype, storage.order))


def replay(schedule: Schedule, memory: Memory) -> None:
    """Run every launch by its kernel's meaning."""
    for run in runs(schedule, memory):
        run_naive(schedule, run.launch, memory)


def runs(schedule: Schedule, memory: Memory) -> Iterator[Run]:
    """Every launch in the order of running, before it runs: branches look into `memory`."""
    yield from _runs(schedule.steps, memory, {}, True)


def _runs(
    steps: Sequence[Step], memory: Memory, indices: Mapping[str, int], is_last: bool
) -> Iterator[Run]:
    for step in steps:
        match step:
            case Launch():
                yield Run(_bound(step, indices), indices, is_last)
            case Repeat(index, count, inner):
                for number in range(count):
                    last = is_last and number == count - 1
                    yield from _runs(inner, memory, {**indices, index: number}, last)
            case Branch(flag, yes, no):
                position = int(evaluate_expr(flag.offset, indices))
                taken = yes if memory[flag.storage][position] else no
                yield from _runs(taken, memory, indices, is_last)


def _bound(launch: Launch, indices: Mapping[str, int]) -> Launch:
    placed = [
        Argument(a.storage, const(int(evaluate_expr(a.offset, indices)), int64))
        for a in launch.arguments
    ]
    return replace(launch, arguments=tuple(placed))


def alone(schedule: Schedule, launch: Launch) -> Schedule:
    """A schedule of one launch; the storages that it touches are its state."""
    names = dict.fromkeys(argument.storage for argument in launch.arguments)
    return Schedule(
        name=launch.name,
        storages=tuple(replace(schedule.by_name[name], purpose="state") for name in names),
        kernels={launch.kernel: schedule.kernels[launch.kernel]},
        steps=(launch,),
    )


def run_naive(schedule: Schedule, launch: Launch, memory: Memory) -> None:
    """Run one launch by its kernel's meaning; the storages that it writes change in place."""
    single = alone(schedule, launch)
    run_schedule(single, {storage.name: memory[storage.name] for storage in single.storages})


def touched(launch: Launch, memory: Memory) -> Memory:
    """Copies of the storages of a launch."""
    names = {argument.storage for argument in launch.arguments}
    return {name: np.array(memory[name]) for name in names}
