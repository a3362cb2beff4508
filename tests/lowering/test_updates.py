"""State is updated as if all new values were computed before any is stored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.dtypes import float32, int64
from graphc.ir import Graph, TensorType, Value
from graphc.loops import Launch
from graphc.loops.evaluate import run_schedule
from graphc.lowering.lower import lower
from graphc.lowering.updates import updates_in_place
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate
from graphc.passes.base import run_pipeline
from graphc.passes.pipelines import FUSE, OPTIMIZE

Make = Callable[[Builder, Value, Value], tuple[tuple[Value, ...], tuple[Value, Value]]]


def decayed(b: Builder, v: Value, w: Value) -> tuple[tuple[Value, ...], tuple[Value, Value]]:
    return (), (b.scale(v, 0.5), b.add(b.mul(w, w), v))


def swapped(b: Builder, v: Value, w: Value) -> tuple[tuple[Value, ...], tuple[Value, Value]]:
    return (), (b.add(w, w), v)


def mirrored(b: Builder, v: Value, w: Value) -> tuple[tuple[Value, ...], tuple[Value, Value]]:
    return (), (b.add(v, b.op("transpose", v, axes=(1, 0))), w)


def seen(b: Builder, v: Value, w: Value) -> tuple[tuple[Value, ...], tuple[Value, Value]]:
    turned = b.op("transpose", b.op("reshape", w, shape=(3, 3)), axes=(1, 0))
    return (turned,), (v, b.scale(w, 3.0))


def read_again(b: Builder, v: Value, w: Value) -> tuple[tuple[Value, ...], tuple[Value, Value]]:
    new = b.shift(v, 1.0)
    return (), (new, b.mul(new, b.add(v, w)))


def reshaped(b: Builder, v: Value, w: Value) -> tuple[tuple[Value, ...], tuple[Value, Value]]:
    wide = b.op("reshape", b.scale(b.op("reshape", v, shape=(9,)), 2.0), shape=(3, 3))
    return (), (wide, b.op("transpose", w, axes=(1, 0)))


def filled(b: Builder, v: Value, w: Value) -> tuple[tuple[Value, ...], tuple[Value, Value]]:
    counted = b.iota((3, 3), 1, float32)
    return (b.add(v, w),), (counted, b.broadcast(b.constant(2.0, float32), (3, 3)))


def cut(b: Builder, v: Value, w: Value) -> tuple[tuple[Value, ...], tuple[Value, Value]]:
    both = b.op("concat", v, w, axis=0)
    middle = b.op("slice", both, start=(2, 0), stop=(5, 3), step=(1, 1))
    return (), (middle, b.op("flip", w, axes=(0,)))


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize(
    "make", [decayed, swapped, mirrored, seen, read_again, reshaped, filled, cut]
)
def test_updates_see_the_old_state(make: Make, fuse: bool) -> None:
    v, w = (Value(TensorType((3, 3), float32), name) for name in "vw")
    b = Builder(source=("update.py:1",))
    outputs, news = make(b, v, w)
    updates = tuple(zip("vw", news, strict=True))
    graph = Graph("update", (), tuple(b.nodes), outputs, state=(v, w), updates=updates)
    graph = run_pipeline(graph, FUSE, ()) if fuse else graph
    old = {n: np.arange(9, dtype=np.float32).reshape(3, 3) + ord(n) for n in "vw"}
    expected, new = evaluate(graph, (), old)
    schedule = lower(graph)
    memory = {name: array.copy() for name, array in old.items()}
    run_schedule(schedule, memory)
    for name in "vw":
        np.testing.assert_array_equal(memory[name], new[name])
    for name, array in zip(schedule.outputs, expected, strict=True):
        np.testing.assert_array_equal(memory[name], array)


def test_an_elementwise_update_needs_no_copy() -> None:
    w = Value(TensorType((3, 3), float32), "w")
    b = Builder(source=("update.py:1",))
    new = b.scale(w, 0.5)
    graph = Graph("update", (), tuple(b.nodes), (), state=(w,), updates=(("w", new),))
    assert updates_in_place(graph) == {new: w}
    assert [storage.name for storage in lower(graph).storages if storage.size > 1] == ["w"]


def cache_graph(read_old: bool = False, checked: bool = False) -> Graph:
    """A block of `rows` is stored into the state `cache`, whose sum over keys is given out."""
    cache = Value(TensorType((2, 6, 4), float32), "cache")
    rows = Value(TensorType((2, 1, 4), float32), "rows")
    at = Value(TensorType((3,), int64), "at")
    b = Builder(source=("update.py:1",))
    new = b.op("dynamic_update", cache, rows, at)
    outputs = [b.sum(new, (1,))] + ([b.sum(cache, (1,))] if read_old else [])
    updates = (("cache", new),)
    graph = Graph("step", (rows, at), tuple(b.nodes), tuple(outputs), (cache,), updates)
    return run_pipeline(graph, OPTIMIZE + FUSE if checked else FUSE, ())


@pytest.mark.parametrize("start", [0, 5, 7, -1])
@pytest.mark.parametrize("read_old", [False, True])
def test_a_block_of_the_state_is_stored_where_it_lies(start: int, read_old: bool) -> None:
    graph = cache_graph(read_old)
    old = {"cache": np.arange(48, dtype=np.float32).reshape(2, 6, 4)}
    given = (np.full((2, 1, 4), -1, np.float32), np.array([0, start, 0]))
    expected, new = evaluate(graph, given, old)
    schedule = lower(graph)
    memory = {"cache": old["cache"].copy(), "input.rows": given[0], "input.at": given[1]}
    run_schedule(schedule, memory)
    np.testing.assert_array_equal(memory["cache"], new["cache"])
    for name, array in zip(schedule.outputs, expected, strict=True):
        np.testing.assert_array_equal(memory[name], array)


def test_a_block_that_is_stored_moves_no_more_than_itself() -> None:
    rows_bytes, starts_bytes = 2 * 4 * 4, 3 * 8
    moved = bytes_by_launch(cache_graph(checked=True))
    assert moved["dynamic_update"] == 2 * rows_bytes + starts_bytes
    assert "copy" not in moved
    assert bytes_by_launch(cache_graph(read_old=True))["copy"] == 2 * 48 * 4


def bytes_by_launch(graph: Graph) -> dict[str, int]:
    return {step.name: step.bytes for step in lower(graph).steps if isinstance(step, Launch)}


@pytest.mark.parametrize(("start", "number"), [(0, 0), (5, 0), (6, 1), (-1, 1)])
def test_a_block_outside_the_state_leaves_it_as_it_was(start: int, number: int) -> None:
    graph = cache_graph(checked=True)
    old = {"cache": np.ones((2, 6, 4), np.float32)}
    given = (np.zeros((2, 1, 4), np.float32), np.array([0, start, 0]))
    (_, found), new = evaluate(graph, given, old)
    assert found == number
    assert int((new["cache"] == 0).sum()) == (0 if number else 8)


def test_a_check_that_depends_on_the_state_still_guards_it() -> None:
    cache = Value(TensorType((6,), float32), "cache")
    at = Value(TensorType((1,), int64), "at")
    b = Builder(source=("update.py:1",))
    new = b.op("dynamic_update", cache, b.array(np.array([9.0], np.float32)), at)
    index = b.cast(b.sum(new, (0,)), int64)
    found = b.op("gather", cache, index, axis=0)
    graph = Graph("step", (at,), tuple(b.nodes), (found,), (cache,), (("cache", new),))
    checked = run_pipeline(graph, OPTIMIZE, ())
    for fill, kept in ((0.0, 0.0), (-1.0, 9.0)):
        old = {"cache": np.full(6, fill, np.float32)}
        (_, number), after = evaluate(checked, (np.array([2]),), old)
        assert (int(number) != 0) == (fill == 0.0)
        assert after["cache"][2] == kept
