"""Offsets near the lower bound, quickly; outputs in place of inputs; barriers around loops."""

from dataclasses import replace
from random import Random
from time import perf_counter

import pytest
from generate_schedules import library

from graphc.dtypes import float32
from graphc.errors import PlanError
from graphc.loops import (
    Argument,
    Buffer,
    Kernel,
    Launch,
    Let,
    Loop,
    Repeat,
    Schedule,
    Storage,
    Store,
    Variable,
    call,
    index,
    load,
    variable,
)
from graphc.planning.arena import Block, assign_offsets, live_bytes
from graphc.planning.barriers import place_barriers
from graphc.planning.check import check_plan
from graphc.planning.inplace import in_place_pairs
from graphc.planning.plan import plan_memory


def training_chain(layers: int, random: Random) -> tuple[list[Block], int]:
    """Activations kept until their backward step, a gradient and a workspace for each layer."""
    positions = 2 * layers
    blocks = []
    for layer in range(layers):
        size = 64 * random.choice([1, 2, 8, 16, 100, 333, 1000, 4096])
        back = positions - 1 - layer
        blocks.append(Block(size, ((layer, back),)))
        blocks.append(Block(size, ((back - 1, back),)))
        blocks.append(Block(64 * random.randrange(1, 500), ((layer, layer),)))
    return blocks, positions


def place(blocks: list[Block], positions: int) -> tuple[list[int], int, int]:
    bound = int(live_bytes(blocks, positions).max())
    offsets = assign_offsets(blocks, bound)
    return offsets, max(o + b.size for o, b in zip(offsets, blocks, strict=True)), bound


@pytest.mark.parametrize("layers", [3, 10, 40, 150])
def test_training_chains_are_near_the_bound(layers: int) -> None:
    for seed in range(5):
        blocks, positions = training_chain(layers, Random(seed))
        offsets, height, bound = place(blocks, positions)
        assert bound <= height <= 1.10 * bound
        assert offsets == place(blocks, positions)[0]


def test_blocks_that_meet_do_not_overlap() -> None:
    random = Random(3)
    blocks = []
    for _ in range(80):
        starts = sorted(random.sample(range(60), 4))
        blocks.append(
            Block(64 * random.randrange(1, 9), ((starts[0], starts[1]), (starts[2], starts[3])))
        )
    offsets, _, _ = place(blocks, 60)
    for i, one in enumerate(blocks):
        for j in range(i):
            other = blocks[j]
            meet = any(a <= d and c <= b for a, b in one.spans for c, d in other.spans)
            apart = offsets[i] >= offsets[j] + other.size or offsets[j] >= offsets[i] + one.size
            assert apart or not meet


def test_three_thousand_blocks_are_placed_quickly() -> None:
    blocks, positions = training_chain(1000, Random(1))
    start = perf_counter()
    _, height, bound = place(blocks, positions)
    # 0.05 s where nothing else runs.
    assert perf_counter() - start < 1
    assert height <= 1.02 * bound


def test_pairs_of_elementwise_kernels() -> None:
    kernels = library(8)
    assert in_place_pairs(kernels["unary"]) == [("a", "y")]
    assert in_place_pairs(kernels["binary"]) == [("a", "y"), ("b", "y")]
    # The other output's store reads a[i] after y[i] is stored.
    assert in_place_pairs(kernels["two"]) == [("a", "z")]


@pytest.mark.parametrize("name", ["fill", "reverse", "fold", "update", "low"])
def test_no_pairs(name: str) -> None:
    assert in_place_pairs(library(8)[name]) == []


def test_no_pair_of_other_types_or_layouts() -> None:
    i, j = variable("i"), variable("j")
    a = Buffer("a", (4, 4), float32)
    y = Buffer("y", (4, 4), float32, order=(1, 0), access="out")
    body = Store("y", (i, j), load("a", [i, j], float32))
    inner = Loop("serial", "j", index(0), index(4), (body,))
    loops = Loop("parallel", "i", index(0), index(4), (inner,))
    made = Kernel("copy", (a, y), (loops,))
    assert in_place_pairs(made) == []
    plain = replace(y, order=())
    assert in_place_pairs(Kernel("copy", (a, plain), (loops,))) == [("a", "y")]


def launch(name: str, kind: str, *storages: str) -> Launch:
    return Launch(name, kind, tuple(Argument(s, index(0)) for s in storages))


def vectors(purpose: str, *names: str) -> list[Storage]:
    return [Storage(name, (16,), float32, purpose) for name in names]  # type: ignore[arg-type]  # a literal


def test_a_chain_of_elementwise_launches_lives_in_one_buffer() -> None:
    steps = (launch("1", "unary", "x", "a"), launch("2", "unary", "a", "b"))
    steps += (launch("3", "unary", "b", "c"), launch("4", "unary", "c", "y"))
    storages = (
        *vectors("input", "x"),
        *vectors("temporary", "a", "b", "c"),
        *vectors("output", "y"),
    )
    schedule = Schedule("chain", tuple(storages), library(16), steps, ("x",), ("y",))
    plan = plan_memory(schedule)
    assert plan.arena_bytes == plan.lower_bound_bytes == 64
    check_plan(schedule, plan, place_barriers(schedule, plan, lambda launch: True))


def test_a_program_without_temporaries_has_an_empty_arena() -> None:
    storages = (*vectors("input", "x"), *vectors("output", "y"))
    schedule = Schedule(
        "copy", storages, library(16), (launch("1", "unary", "x", "y"),), ("x",), ("y",)
    )
    plan = plan_memory(schedule)
    assert (plan.arena_bytes, plan.peak_bytes) == (0, 128)
    check_plan(schedule, plan)


def test_barrier_comes_before_a_repeat_that_only_its_past_clashes_with() -> None:
    steps = (
        launch("make", "unary", "x", "a"),
        Repeat("t", 5, (launch("use", "unary", "a", "b"),)),
        launch("end", "unary", "b", "y"),
    )
    storages = (*vectors("input", "x"), *vectors("temporary", "a", "b"), *vectors("output", "y"))
    schedule = Schedule("loop", tuple(storages), library(16), steps, ("x",), ("y",))
    plan = plan_memory(schedule)
    # b is written in each iteration, so that a barrier inside serves for a as well.
    barriers = place_barriers(schedule, plan, lambda launch: True)
    assert barriers.before == {2, 3}
    check_plan(schedule, plan, barriers)
    # On one thread the iterations need none; one before all of them is enough for a.
    barriers = place_barriers(schedule, plan, lambda launch: launch.name != "use")
    assert barriers.before == {1, 3}
    alone = place_barriers(schedule, plan, lambda launch: False)
    assert not alone.before
    check_plan(schedule, plan, barriers)
    check_plan(schedule, plan, alone)


def test_alignment_must_be_a_power_of_two() -> None:
    schedule = Schedule("none", (), {}, ())
    with pytest.raises(PlanError, match="power of two, not 48"):
        plan_memory(schedule, alignment=48)


def test_kernel_with_a_value_read_first_may_still_share() -> None:
    """A let before the store, in the same iteration."""
    i = variable("i")
    a, y = Buffer("a", (8,), float32), Buffer("y", (8,), float32, access="out")
    value = Variable("v", float32)
    body = (Let("v", load("a", [i], float32)), Store("y", (i,), call("mul", value, value)))
    made = Kernel("square", (a, y), (Loop("parallel", "i", index(0), index(8), body),))
    assert in_place_pairs(made) == [("a", "y")]
