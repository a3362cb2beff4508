"""Kernels that differ in the streams of their random numbers alone are one; no bit changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import graphc
import graphc.functional as F
from graphc import nn
from graphc.compiler import compile_graph
from graphc.ir import Graph
from graphc.loops import Launch, Repeat, Schedule
from graphc.loops.evaluate import run_schedule
from graphc.loops.parse import parse_schedule
from graphc.loops.verify_schedule import verify_schedule
from graphc.lowering.lower import lower
from graphc.lowering.sharing import share_streams
from graphc.passes.pipelines import DEFAULT
from graphc.passes.stages import run_stages
from graphc.runtime.state import State

WEIGHT = np.eye(6, dtype=np.float32) + 0.1
KEY = np.array([7, 9], np.uint32)


def layers(count: int) -> Graph:
    """Equal layers, each with a dropout of its own, then one over another shape."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropouts = nn.ModuleList([nn.Dropout(0.5) for _ in range(count + 1)])

        def forward(self, x: Any) -> Any:
            for dropout in list(self.dropouts)[:count]:
                x = dropout(F.tanh(x @ WEIGHT))
            return self.dropouts[count]((x @ WEIGHT).sum(axis=1))

    graph: Graph = graphc.trace(Net(), graphc.Spec((4, 6)))
    return graph


def fused(graph: Graph) -> Graph:
    return run_stages(graph, DEFAULT)["fused"]


def results(schedule: Schedule, constants: Mapping[str, Any]) -> list[Any]:
    memory: dict[str, Any] = {"key": KEY.copy()}
    memory["input.x"] = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    memory.update({name: constants[key] for name, key in schedule.constants.items()})
    run_schedule(schedule, memory)
    return [memory[name] for name in schedule.outputs]


def test_equal_layers_share_a_kernel_and_keep_their_streams() -> None:
    graph = fused(layers(3))
    plain = lower(graph)
    shared, added = share_streams(plain)
    verify_schedule(shared)
    assert parse_schedule(str(shared)) == shared
    assert len(plain.kernels) - len(shared.kernels) == 2
    (table,) = added.values()
    assert len(set(table.tolist())) == len(table) >= 3
    users = [
        launch for launch in shared.launches() if launch.arguments[-1].storage in shared.constants
    ]
    offsets = [launch.arguments[-1].offset for launch in users]
    assert len({launch.kernel for launch in users}) == 1
    assert len(set(offsets)) == len(offsets) == 3
    for one, other in zip(
        results(plain, graph.constants),
        results(shared, {**graph.constants, **added}),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_one_layer_keeps_its_stream_in_its_kernel() -> None:
    plain = lower(fused(layers(1)))
    shared, added = share_streams(plain)
    assert shared is plain
    assert added == {}


def test_loops_share_what_they_hold() -> None:
    """A repeat's launches get their parts, too."""
    plain = lower(fused(layers(2)))
    inside = Repeat("t", 3, plain.steps)
    looped = Schedule(
        plain.name, plain.storages, plain.kernels, (inside,), plain.inputs, plain.outputs
    )
    shared, _ = share_streams(looped)
    (step,) = shared.steps
    assert isinstance(step, Repeat)
    assert all(
        isinstance(launch, Launch) and launch.kernel in shared.kernels for launch in step.steps
    )
    assert len(shared.kernels) == len(plain.kernels) - 1


def test_native_programs_follow_the_interpreter() -> None:
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    found = []
    for backend in ("cpu", "interpreter"):
        state = State()
        state.add("key", KEY)
        found.append(compile_graph(layers(3), state, backend=backend).run([x]))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
