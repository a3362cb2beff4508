"""Lowered graphs: the checker accepts their plans, which run like memory that is never reused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from graphc.loops.evaluate import evaluate_expr, logical_view, run_kernel, run_schedule
from graphc.loops.kernel import Buffer
from graphc.loops.schedule import Argument, Branch, Launch, Repeat, Schedule, Step
from graphc.lowering.lower import lower
from graphc.passes.pipelines import DEFAULT
from graphc.passes.stages import run_stages
from graphc.planning.barriers import BarrierPlan, place_barriers
from graphc.planning.check import check_plan
from graphc.planning.memory_plan import MemoryPlan
from graphc.planning.plan import plan_memory
from tests.random_graphs import random_graph, with_gradients

Array = np.ndarray[Any, Any]
SEEDS = range(40)


def lowered(seed: int) -> tuple[Schedule, dict[str, Array]]:
    """A random graph's schedule (of every second one, with gradients), and its memory."""
    graph, arrays = random_graph(seed)
    graph = with_gradients(graph) if seed % 2 else graph
    fused = run_stages(graph, DEFAULT)["fused"]
    schedule = lower(fused)
    memory = dict(zip(schedule.inputs, arrays, strict=True))
    for name, digest in schedule.constants.items():
        memory[name] = np.asarray(fused.constants[digest])
    return schedule, memory


def is_parallel(launch: Launch) -> bool:
    """Some launches run on one thread, whichever."""
    return len(launch.name) % 3 > 0


class OneArena:
    """Runs a schedule with its temporaries as slices of one array of bytes."""

    def __init__(self, schedule: Schedule, plan: MemoryPlan, memory: Mapping[str, Array]) -> None:
        self.schedule = schedule
        arena = np.full(plan.arena_bytes + 64, 0xA5, np.uint8)
        self.flat: dict[str, Array] = {}
        for storage in schedule.storages:
            if storage.purpose == "temporary":
                start = plan.offsets[storage.name]
                piece = arena[start : start + storage.nbytes]
                self.flat[storage.name] = piece.view(storage.dtype.numpy)
            else:
                self.flat[storage.name] = np.zeros(storage.size, storage.dtype.numpy)
            if storage.name in memory:
                logical = self.logical(storage.name)
                logical[...] = memory[storage.name]

    def logical(self, name: str) -> Array:
        storage = self.schedule.by_name[name]
        buffer = Buffer(name, storage.shape, storage.dtype, storage.order)
        return logical_view(self.flat[name], buffer)

    def run(self, steps: Sequence[Step], indexes: Mapping[str, int]) -> None:
        for step in steps:
            match step:
                case Launch(kernel=key, arguments=arguments):
                    kernel = self.schedule.kernels[key]
                    placed = zip(kernel.buffers, arguments, strict=True)
                    run_kernel(kernel, {b.name: self.at(a, b.size, indexes) for b, a in placed})
                case Repeat(index, count, inner):
                    for turn in range(count):
                        self.run(inner, {**indexes, index: turn})
                case Branch(flag, yes, no):
                    self.run(yes if self.at(flag, 1, indexes)[0] else no, indexes)

    def at(self, argument: Argument, size: int, indexes: Mapping[str, int]) -> Array:
        start = int(evaluate_expr(argument.offset, indexes))
        return self.flat[argument.storage][start : start + size]


@pytest.mark.parametrize("seed", SEEDS)
def test_accepted_plans_run_like_memory_that_is_never_reused(seed: int) -> None:
    schedule, memory = lowered(seed)
    plan = plan_memory(schedule)
    check_plan(schedule, plan, place_barriers(schedule, plan, is_parallel), is_parallel)
    arena = OneArena(schedule, plan, memory)
    arena.run(schedule.steps, {})
    alone = {name: array.copy() for name, array in memory.items()}
    run_schedule(schedule, alone)
    for name in schedule.outputs:
        np.testing.assert_array_equal(arena.logical(name), alone[name])


@pytest.mark.parametrize("seed", SEEDS)
def test_arena_is_near_its_bound(seed: int) -> None:
    plan = plan_memory(lowered(seed)[0])
    live = max((moment.live_bytes for moment in plan.timeline()), default=0)
    assert live == plan.lower_bound_bytes <= plan.arena_bytes
    # Every live buffer may lose less than its alignment.
    most = max((len(moment.buffers) for moment in plan.timeline()), default=0)
    assert plan.arena_bytes <= 1.15 * plan.lower_bound_bytes + plan.alignment * (most + 1)


@pytest.mark.parametrize("seed", range(8))
def test_plans_go_to_json_and_back(seed: int) -> None:
    schedule, _ = lowered(seed)
    plan = plan_memory(schedule)
    assert MemoryPlan.from_json(plan.to_json()) == plan
    barriers = place_barriers(schedule, plan, is_parallel)
    assert BarrierPlan.from_json(barriers.to_json()) == barriers


@pytest.mark.parametrize("seed", range(12))
def test_no_barrier_can_be_left_out(seed: int) -> None:
    from graphc.errors import PlanError

    schedule, _ = lowered(seed)
    plan = plan_memory(schedule)
    barriers = place_barriers(schedule, plan, is_parallel)
    for position in barriers.before:
        fewer = BarrierPlan(barriers.before - {position}, barriers.single)
        with pytest.raises(PlanError, match="no barrier between"):
            check_plan(schedule, plan, fewer)
