"""Fused against unfused: the switches, the agreement, what each fusion gives, and the reports."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.errors import AgreementError
from graphc.inspect.fusion import (
    ALL,
    compare,
    differences,
    gradient_graph,
    measure_fusions,
    switches,
    unfused,
)
from graphc.inspect.fusion_report import difference_rows, fusion_fields, fusion_rows, verdict
from graphc.inspect.timing import race
from graphc.inspect.ungroup import KINDS, Ungroup, whole_nests
from graphc.ir import Graph
from graphc.ops.evaluate import evaluate
from graphc.passes.fuse import fuse
from graphc.passes.pipelines import DEFAULT, UNFUSED
from graphc.passes.recognise import Recognise
from graphc.passes.stages import run_stages
from graphc.runtime.profile import made_inputs
from tests.random_graphs import random_graph, with_gradients


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.last = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        return self.last(F.tanh(self.first(x)))


def loss(model: Any, x: Any, y: Any) -> Any:
    scores = F.exp(model(x))  # softmax in primitives, to be recognised
    share = scores / scores.sum(-1, keepdims=True)
    return ((share - y) ** 2).mean()


@pytest.fixture(scope="module")
def step() -> graphc.TrainStep:
    specs = graphc.Spec((8, 6)), graphc.Spec((8, 3))
    return graphc.TrainStep(Net(), loss, optim.Adam(lr=1e-2), *specs)


def test_every_true_option_of_a_fusing_pass_is_a_switch() -> None:
    names = [switch.name for switch in switches(DEFAULT)]
    assert "recognise.softmax" in names and "fuse" in names
    assert {f"fuse {kind}" for kind in KINDS} <= set(names)
    off = {switch.name: switch.passes for switch in switches(DEFAULT)}["recognise.softmax"]
    assert [step for step in off if isinstance(step, Recognise)] == [Recognise(softmax=False)]
    assert unfused(DEFAULT) == UNFUSED
    assert set(whole_nests()) <= set(names) and "attention" in whole_nests()


def test_the_gradient_graph_gives_the_loss_and_every_gradient(step: graphc.TrainStep) -> None:
    graph, names = gradient_graph(step.graph)
    assert names == ("loss", *(f"gradient of {name}" for name in PARAMETERS))
    assert [value.shape for value in graph.outputs] == [(), (16, 6), (16,), (3, 16), (3,)]
    assert not graph.updates and [value.name for value in graph.state] == PARAMETERS


PARAMETERS = ["first.weight", "first.bias", "last.weight", "last.bias"]


def test_a_graph_without_gradient_gives_outputs_and_updates() -> None:
    graph = graphc.trace(lambda x: (x + 1, x * 2), graphc.Spec((2,)))
    wanted, names = gradient_graph(graph)
    assert names == ("output 0", "output 1") and wanted.outputs == graph.outputs


def test_fused_and_unfused_agree(step: graphc.TrainStep) -> None:
    found = compare(step.graph, step.state, made_inputs(step.graph), DEFAULT)
    assert len(found) == 5 and all(difference.agrees for difference in found)
    assert all(difference.largest > 0 for difference in found)
    assert "agree" in verdict(found)
    assert difference_rows(found, 2)[0][-1] == "loss"


def test_what_differs_is_named() -> None:
    ones, names = np.ones(3), ["loss", "gradient of w", "gradient of b"]
    plain = [ones, ones, np.full(3, 1e-9)]
    near = differences(names, ["float32"] * 3, [ones + 1e-5, ones, np.full(3, 3e-9)], plain)
    assert all(d.agrees for d in near)  # a tiny tensor beside large ones is rounding noise
    assert near[0].relative == pytest.approx(1e-5) and near[2].relative < 1e-6
    far = differences(names, ["float32"] * 3, [ones, ones + 0.01, plain[2]], plain)
    with pytest.raises(AgreementError, match=r"gradient of w is off by 0\.01"):
        verdict(far)
    nan = np.array([np.nan, 1, np.inf])
    (same,) = differences(["loss"], ["float32"], [nan], [nan])
    (other,) = differences(["loss"], ["float32"], [nan], [ones])
    assert same.off == 0 and other.off == np.inf and not other.agrees
    (exact,) = differences(["output 0"], ["int32"], [ones * 2], [ones])
    assert not exact.agrees


def test_each_fusion_is_measured(step: graphc.TrainStep) -> None:
    arrays = made_inputs(step.graph)
    before = step.state_dict()
    found = measure_fusions(step.graph, step.state, arrays, DEFAULT, threads=1, seconds=0.01)
    names = [variant.name for variant in found.variants]
    assert names[0] == ALL and {"recognise.softmax", "fuse", "fuse updates"} <= set(names)
    assert "recognise.cross_entropy" in found.unused and "fuse poolings" in found.unused
    off = found.variants[0]
    assert off.launches > found.fused.launches
    assert off.traffic_bytes > found.fused.traffic_bytes
    assert off.loss == pytest.approx(found.fused.loss, rel=1e-5)
    for name, array in step.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    rows = fusion_rows(found)
    assert len(rows) == len(names) and rows[0][-1].startswith("all: ")
    fields = json.loads(json.dumps(fusion_fields([], found)))
    assert fields["without"][0]["bytes_not_moved"] > 0
    assert fields["unused"] == list(found.unused)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", KINDS)
def test_taking_groups_apart_changes_no_bit(seed: int, kind: str) -> None:
    graph, arrays = random_graph(seed)
    fused = run_stages(with_gradients(graph), DEFAULT)["fused"]
    apart = Ungroup(kind).run(fused)
    for one, two in zip(evaluate(fused, arrays)[0], evaluate(apart, arrays)[0], strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_kind_is_gone_and_the_others_stay() -> None:
    graph = graphc.trace(
        lambda x, w: (F.tanh(x @ w + 1), F.exp(x) * 2), graphc.Spec((4, 4)), graphc.Spec((4, 4))
    )
    fused = fuse(run_stages(graph, UNFUSED)["fused"])
    assert groups(fused) == 2
    assert groups(Ungroup("products").run(fused)) == 1
    assert groups(Ungroup("elementwise").run(fused)) == 1
    assert groups(Ungroup("reductions").run(fused)) == 2


def groups(graph: Graph) -> int:
    return sum(node.op == "group" for node in graph.nodes)


def test_a_race_gives_every_step_equal_turns() -> None:
    calls: list[str] = []
    found = race({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 0.001)
    assert len(found["a"].seconds) == len(found["b"].seconds) >= 3
    assert calls.count("a") == calls.count("b")
    assert 0 <= found["a"].least <= found["a"].median
