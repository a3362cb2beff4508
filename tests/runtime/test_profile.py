"""Profiles: rows that add up, roofs that no loop exceeds, traces and JSON that others can read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.dtypes import float32
from graphc.errors import ArgumentError, ShapeError
from graphc.loops import (
    Argument,
    Buffer,
    Kernel,
    Launch,
    Loop,
    Repeat,
    Schedule,
    Storage,
    Store,
    const,
    index,
    load,
    mul,
    variable,
)
from graphc.runtime.profile import (
    LOG_TYPE,
    WHOLE_STEP,
    Measurement,
    MemoryLevel,
    Profile,
    Roof,
    made_inputs,
    profile_of,
    wait_before,
)


def roof(threads: int) -> Roof:
    levels = (
        MemoryLevel("L2", 1000, {"read": 10.0 * threads, "copy": 8.0}),
        MemoryLevel("DRAM", None, {"read": 1.0 * threads, "copy": 0.5}),
    )
    return Roof(threads, {"float32": 100.0 * threads, "float64": 50.0 * threads}, levels)


def log(*records: tuple[int, float, float]) -> np.ndarray[Any, Any]:
    return np.array(list(records), LOG_TYPE)


def schedule() -> Schedule:
    """0 one -> 1 repeat (2 two), on 40 floats that `two` updates in place."""
    source, target = Buffer("a", (40,), float32), Buffer("b", (40,), float32, access="out")
    inout = Buffer("b", (40,), float32, access="inout")
    element = load("b", [variable("i")], float32)
    doubled = Store("b", (variable("i"),), mul(element, const(2, float32)))
    doubling = Loop("serial", "i", index(0), index(40), (doubled,))
    place = [Argument("x", index(0)), Argument("t", index(0))]
    one = Launch("one", "k1", tuple(place), ("exp",), ("net.py:3",), "because", 4000, 320)
    two = Launch("two", "k2", (place[1],), ("add",), ("net.py:4",), "", 40, 160)
    return Schedule(
        "net",
        (Storage("x", (40,), float32, "input"), Storage("t", (40,), float32, "temporary")),
        {"k1": Kernel("k1", (source, target), ()), "k2": Kernel("k2", (inout,), (doubling,))},
        (one, Repeat("i", 2, (two,))),
        ("x",),
        ("t",),
    )


def profile() -> Profile:
    """Two threads; `one` is shared, `two` runs on the first alone, twice."""
    first = log((0, 0, 1e-7), (wait_before(2), 1e-7, 3e-7), (2, 3e-7, 4e-7), (2, 4e-7, 6e-7))
    first = np.append(first, log((wait_before(3), 6e-7, 6e-7), (WHOLE_STEP, 0, 6e-7)))
    second = log((0, 0, 3e-7), (wait_before(2), 3e-7, 3e-7), (wait_before(3), 3e-7, 6e-7))
    second = np.append(second, log((WHOLE_STEP, 0, 6e-7)))
    seen = Measurement(
        "a CPU", 2, (5e-7,), ((first, second),), frozenset({2}), {1: roof(1), 2: roof(2)}
    )
    return profile_of(schedule(), seen)


def test_a_launch_takes_what_its_slowest_thread_takes() -> None:
    one, two = profile().launches
    assert (one.launch.name, one.position, one.repeats, one.threads) == ("one", 0, 1, 2)
    assert one.seconds == pytest.approx(3e-7) and one.spread == pytest.approx(2 / 3)
    assert (two.position, two.repeats, two.threads) == (2, 2, 1)
    assert two.seconds == pytest.approx(3e-7) and two.spread == pytest.approx(1)
    assert (two.flops, two.bytes) == (80, 2 * 2 * 160)  # an update in place reads and writes


def test_roofs_are_those_of_the_threads_and_the_level() -> None:
    one, two = profile().launches
    assert one.limit == "float32" and one.roof_seconds == pytest.approx(4000 / 200e9)
    assert two.limit == "L2" and two.roof_seconds == pytest.approx(2 * 320 / 10e9)
    assert two.share == pytest.approx(two.roof_seconds / 3e-7)
    assert roof(1).level_of(1001).name == "DRAM"


def test_equal_layers_are_one_row() -> None:
    found = profile()
    one, two = found.launches
    again = replace(two, launch=replace(two.launch, source=("net.py:9",)))
    together = replace(found, launches=(one, two, again)).by_kernel().launches
    assert [row.launch.name for row in together] == ["one", "two"]
    assert together[1].seconds == pytest.approx(2 * two.seconds)
    assert together[1].repeats == 4 and together[1].launch.source == ("net.py:4", "net.py:9")
    assert together[1].share == pytest.approx(two.share)


def test_totals_and_text() -> None:
    found = profile()
    assert found.waiting_seconds == pytest.approx(0, abs=1e-12)
    assert found.stamped_seconds == pytest.approx(6e-7)
    lines = str(found).splitlines()
    assert lines[0] == "net on a CPU, 2 threads, 1 rounds"
    assert "net.py:3" in str(found) and "because" in str(found)
    assert any("two x2" in line and "L2, one thread" in line for line in lines)


def test_json_and_trace_hold_every_launch() -> None:
    fields = json.loads(profile().to_json())
    assert [row["name"] for row in fields["launches"]] == ["one", "two"]
    assert fields["launches"][0]["source"] == ["net.py:3"]
    events = json.loads(profile().to_trace())["traceEvents"]
    slices = [(e["tid"], e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert (0, "one", 0.0, 0.1) in slices and (1, "one", 0.0, 0.3) in slices
    assert (0, "wait", 0.1, 0.2) in slices
    assert sum(name == "two" for _, name, _, _ in slices) == 2


def recurrent() -> graphc.TrainStep:
    """A step with a loop, a state that moves, and an integer input."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.Linear(8, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            def step(h: Any, part: Any) -> Any:
                h = F.tanh(self.cell(h) + part)
                return h, h

            final, _ = F.scan(step, F.zeros((x.shape[1], 8)), x)
            return self.head(final)

    return graphc.TrainStep(
        Net(),
        lambda model, x, y: F.cross_entropy(model(x), y),
        optim.Adam(lr=1e-2),
        graphc.Spec((5, 512, 8)),
        graphc.Spec((512,), "int32"),
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_is_profiled_and_stays_as_it_was(threads: int) -> None:
    step = recurrent()
    step.threads = threads
    before = step.state_dict()
    found = step.profile(seconds=0.01)
    for name, array in step.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    names = [launch.name for launch in step.program.launches]
    assert [row.launch.name for row in found.launches] == names
    assert max(row.repeats for row in found.launches) == 5
    assert all(row.seconds > 0 and 0 < row.spread <= 1.0001 for row in found.launches)
    assert set(found.measurement.roofs) == {1, threads}
    assert min(found.roof.gflops.values()) > 0.1
    assert found.flops == sum(r.repeats * r.launch.flops for r in found.launches)


def test_given_arrays_are_checked_and_made_ones_fit() -> None:
    step = recurrent()
    x, y = made_inputs(step.graph)
    assert x.shape == (5, 512, 8) and x.std() > 0.5 and not y.any()
    with pytest.raises(ShapeError):
        step.profile(x)


def test_a_backend_that_times_nothing_says_so() -> None:
    program = graphc.compile(lambda x: x + 1, graphc.Spec((2,)), backend="interpreter")
    with pytest.raises(ArgumentError, match="cpu"):
        program.profile()
