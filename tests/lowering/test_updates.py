"""State is updated as if all new values were computed before any is stored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.dtypes import float32
from graphc.ir import Graph, TensorType, Value
from graphc.loops.evaluate import run_schedule
from graphc.lowering.lower import lower
from graphc.lowering.updates import updates_in_place
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate
from graphc.passes.base import run_pipeline
from graphc.passes.pipelines import FUSE

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


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("make", [decayed, swapped, mirrored, seen, read_again])
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
