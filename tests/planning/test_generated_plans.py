"""Plans of random schedules: proved by the checker, and run on one arena with the same results."""

from random import Random

import numpy as np
import pytest
from generate_schedules import execute, make_schedule, random_values
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.errors import PlanError
from graphc.loops import Launch
from graphc.loops.verify_schedule import verify_schedule
from graphc.planning.barriers import BarrierPlan, place_barriers
from graphc.planning.check import check_plan
from graphc.planning.memory_plan import MemoryPlan
from graphc.planning.plan import plan_memory


def often_parallel(launch: Launch) -> bool:
    return not launch.name.endswith(("3", "7"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_arena_gives_the_results_of_separate_memory(seed: int, steps: int) -> None:
    schedule = make_schedule(Random(seed), steps)
    verify_schedule(schedule)
    plan = plan_memory(schedule)
    barriers = place_barriers(schedule, plan, often_parallel)
    check_plan(schedule, plan, barriers)
    for run in range(3):
        values = random_values(schedule, seed + run)
        expected = execute(schedule, values)
        found = execute(schedule, values, plan)
        shuffled = execute(schedule, values, plan, barriers, Random(seed))
        for name, array in expected.items():
            assert not np.isnan(array).any()
            np.testing.assert_array_equal(found[name], array)
            np.testing.assert_array_equal(shuffled[name], array)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_every_barrier_is_needed_in_a_row_of_steps(seed: int) -> None:
    random = Random(seed)
    schedule = make_schedule(random, 6)
    plan = plan_memory(schedule)
    barriers = place_barriers(schedule, plan, lambda launch: True)
    inside = {n for n, label in enumerate(plan.steps) if label.startswith(("repeat", "branch"))}
    if inside:
        return
    for position in barriers.before:
        fewer = BarrierPlan(barriers.before - {position})
        with pytest.raises(PlanError, match="barrier"):
            check_plan(schedule, plan, fewer)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_plans_go_to_json_and_back(seed: int) -> None:
    schedule = make_schedule(Random(seed))
    plan = plan_memory(schedule)
    barriers = place_barriers(schedule, plan, often_parallel)
    assert MemoryPlan.from_json(plan.to_json()) == plan
    assert BarrierPlan.from_json(barriers.to_json()) == barriers
    assert plan == plan_memory(schedule)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_lower_bound_is_the_largest_sum_of_live_bytes(seed: int) -> None:
    plan = plan_memory(make_schedule(Random(seed), 10))
    peak = plan.peak()
    assert peak is not None
    assert peak.live_bytes == plan.lower_bound_bytes <= plan.arena_bytes
    assert str(plan).startswith("peak")
