"""Rates that fall towards a model's input, and a small rate that rises first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc.functional as F
from graphc import TrainStep, nn, optim
from graphc.dtypes import float64
from graphc.errors import ArgumentError
from graphc.frontends.tracing import Spec
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(3))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        x = self.embed(x)
        for block in self.blocks.children():
            x = block(x)
        return self.head(x)


def rates(schedule: optim.schedules.Schedule, steps: int) -> list[float]:
    b, step = Builder(), Value(TensorType((), float64), "step")
    value = schedule.rate(b, step)
    graph = Graph("rate", (step,), tuple(b.nodes), (value,))
    return [float(evaluate(graph, [np.float64(n)], {})[0][0]) for n in range(steps)]


def moved(optimizer: optim.Optimizer, steps: int = 1) -> dict[str, float]:
    """How far each parameter goes in steps of signs (Adam without memory): its rates' sum."""
    model = Net()
    step = TrainStep(
        model,
        lambda model, x: F.sum(model(x) ** 2),
        optimizer,
        Spec((5, 3)),
        backend="interpreter",
    )
    before = step.state_dict()
    for _ in range(steps):
        step(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
    after = step.state_dict()
    names = [name for name, _ in model.named_parameters()]
    return {n: float(abs(after[f"model.{n}"] - before[f"model.{n}"]).max()) for n in names}


def test_each_stage_is_slower_than_the_one_above() -> None:
    groups = optim.layerwise(Net(), 0.01, 0.5, "embed", "blocks.*")
    found = moved(optim.Adam(lr=0.01, groups=groups))
    factors = {"embed": 4, "blocks.0.0": 3, "blocks.1.0": 2, "blocks.2.0": 1, "head": 0}
    for name, power in factors.items():
        assert found[f"{name}.weight"] == pytest.approx(0.01 * 0.5**power, rel=1e-3), name


def test_patterns_in_one_stage_share_a_rate_and_other_options_hold() -> None:
    decay = (lambda name, parameter: len(parameter.shape) > 1, {"weight_decay": 0.5, "lr": 7.0})
    groups = optim.layerwise(Net(), 0.1, 0.1, ("embed", "blocks.0"), "blocks.2", groups=[decay])
    optimizer = optim.AdamW(lr=0.1, weight_decay=0.0, groups=groups)
    expected = {
        "embed.weight": (0.001, 0.5),
        "embed.bias": (0.001, 0.0),
        "blocks.0.0.weight": (0.001, 0.5),
        "blocks.2.0.bias": (0.01, 0.0),
        "head.weight": (7.0, 0.5),  # of no stage
        "head.bias": (0.1, 0.0),
    }
    for name, parameter in Net().named_parameters():
        if name in expected:
            rule = optimizer.for_parameter(name, parameter)
            assert (rule.lr, rule.weight_decay) == pytest.approx(expected[name]), name


def test_a_tied_parameter_has_the_rate_of_the_first_stage_that_reads_it() -> None:
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6, bias=False))
    model[2].weight = model[0].weight

    def found(*stages: str) -> dict[str, Any]:
        optimizer = optim.SGD(lr=1.0, groups=optim.layerwise(model, 1.0, 0.5, *stages))
        names = model.named_parameters()
        return {name: optimizer.for_parameter(name, holder).lr for name, holder in names}

    assert found("0", "1", "2") == {"0.weight": 0.125, "1.weight": 0.25, "1.bias": 0.25}
    assert found("1", "2") == {"0.weight": 0.5, "1.weight": 0.25, "1.bias": 0.25}


def test_a_schedule_is_scaled_at_every_step() -> None:
    cosine = optim.schedules.cosine(1.0, 20, warmup_steps=4, minimum=0.1)
    np.testing.assert_allclose(rates(cosine.scaled(0.25), 25), 0.25 * np.array(rates(cosine, 25)))
    ((_, options),) = optim.layerwise(nn.Sequential(nn.Linear(2, 2)), cosine, 0.25, "0")
    assert options["lr"] == cosine.scaled(0.25)


def test_inverse_time_decay_rises_first() -> None:
    schedule = optim.schedules.inverse_time_decay(0.4, decay_steps=10, warmup_steps=4)
    expected = [0.1, 0.2, 0.3, 0.4, *(0.4 / (1 + n / 10) for n in range(1, 30))]
    np.testing.assert_allclose(rates(schedule, 33), [*expected[:4], 0.4, *expected[4:]][:33])
    plain = optim.schedules.inverse_time_decay(0.4, decay_steps=10)
    np.testing.assert_allclose(rates(plain, 20), [0.4 / (1 + n / 10) for n in range(20)])


def test_a_group_has_a_schedule_of_its_own() -> None:
    slow = optim.schedules.inverse_time_decay(0.004, decay_steps=1, warmup_steps=2)
    groups = [("head.*", {"lr": 0.01}), ("*", {"lr": slow})]
    found = moved(optim.Adam(groups=groups), 1)
    assert found["head.weight"] == pytest.approx(0.01, rel=1e-3)
    assert found["blocks.1.0.weight"] == pytest.approx(0.002, rel=1e-3)


def test_mistakes_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"no module with parameters matches 'blocks\.\?\.1'"):
        optim.layerwise(Net(), 0.1, 0.5, "blocks.?.1")  # the activations
    with pytest.raises(ArgumentError, match="decay is 0"):
        optim.layerwise(Net(), 0.1, 0, "blocks.*")
