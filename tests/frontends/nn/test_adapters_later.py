"""Adapters that come or go once something was made of the model, and options of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from traced import normal

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.errors import ArgumentError
from graphc.frontends.nn.adapters.state import adapter_config


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))


def train_step(model: nn.Module) -> graphc.TrainStep:
    def loss(model: Any, x: Any) -> Any:
        return F.mean((model(x) - 1.0) ** 2)

    return graphc.TrainStep(model, loss, optim.SGD(lr=0.005), graphc.Spec((3, 4)))


def lora_again(model: nn.Module) -> None:
    nn.remove_adapters(model)
    nn.lora(model, "0", rank=2)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (nn.merge_lora, r"carried lora\(rank=2, .*\) when it was made and now carries no adapter"),
        (nn.remove_adapters, "now carries no adapter; make a new one"),
        (lora_again, r"carried lora\(rank=2.* and now carries lora\(rank=2"),
        (
            lambda model: nn.lora(model, "2"),
            r"a Linear carried no adapter when it was made and now carries lora",
        ),
        (lambda model: nn.bottleneck(model, "0"), r"now carries lora\(.*\) and bottleneck\("),
    ],
)
def test_a_step_made_before_layers_changed_is_refused(
    change: Callable[[nn.Module], Any], text: str
) -> None:
    found = model()
    nn.lora(found, "0", rank=2)
    step = train_step(found)
    x = normal(3, 4)
    step(x)
    change(found)
    kept = found.state_dict()
    with pytest.raises(ArgumentError, match=rf"TrainStep: .*{text}"):
        step(x)
    for name, elements in found.state_dict().items():
        np.testing.assert_array_equal(elements, kept[name])


def test_a_step_goes_on_once_its_matrices_are_back() -> None:
    found = model()
    nn.lora(found, "*", rank=2)
    step = train_step(found)
    x = normal(3, 4)
    losses = [float(step(x)) for _ in range(3)]
    nn.merge_lora(found)
    nn.unmerge_lora(found)
    losses += [float(step(x)) for _ in range(3)]
    assert losses == sorted(losses, reverse=True) and losses[3] < losses[2]
    assert not np.array_equal(found.state_dict()["0.lora_B"], np.zeros((4, 2)))


def test_options_may_be_numbers_of_numpy() -> None:
    found = model()
    options: Any = {"rank": np.int64(2), "alpha": np.float32(4), "dropout": np.float64(0.5)}
    nn.lora(found, "0", **options)
    nn.bottleneck(found, "2", width=np.int32(3))  # type: ignore[arg-type]  # the point of the test
    config = json.loads(json.dumps(adapter_config(found)))
    assert config[0] == {
        "kind": "lora", "rank": 2, "alpha": 4.0, "dropout": 0.5, "layers": ["0"],
    }  # fmt: skip
    assert config[1]["width"] == 3
    with pytest.raises(ArgumentError, match=r"rank is np\.float64\(2\.0\), expected 1 or more"):
        nn.lora(found, "2", rank=np.float64(2))  # type: ignore[arg-type]  # the error is the test


@pytest.mark.parametrize("call", [nn.lora, nn.bottleneck, nn.prefix, nn.Module.freeze])
def test_a_list_of_patterns_is_named(call: Callable[..., Any]) -> None:
    with pytest.raises(ArgumentError, match=r"\['0'\] is list; a name pattern is text"):
        call(model(), ["0"])
