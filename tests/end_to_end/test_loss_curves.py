"""Twenty training steps of mlp and cifar-cnn follow torch's losses.

The reference is written by bench/loss_reference.py; weights and batches come from given.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.given import PROBLEMS, STEPS
from tests.end_to_end.losses import deviations, graphc_losses, model_of

REFERENCE = json.loads((Path(__file__).parent / "loss_reference.json").read_text())
names = pytest.mark.parametrize("name", PROBLEMS)


@names
def test_the_problem_is_the_ready_model(name: str) -> None:
    shapes = {key: parameter.shape for key, parameter in model_of(name).named_parameters()}
    assert shapes == PROBLEMS[name].parameters


@names
def test_the_reference_learns(name: str) -> None:
    losses = REFERENCE[name]["float64"]
    assert len(losses) == STEPS and losses[-1] < 0.8 * losses[0]


@names
def test_float64_follows_torch(name: str) -> None:
    off = deviations(graphc_losses(name, PROBLEMS[name], "float64"), REFERENCE[name]["float64"])
    assert max(off) < 1e-10, off


@names
def test_float32_follows_torch_as_closely_as_torch_itself(name: str) -> None:
    exact = REFERENCE[name]["float64"]
    off = deviations(graphc_losses(name, PROBLEMS[name], "float32"), exact)
    usual = deviations(REFERENCE[name]["float32"], exact)
    assert max(off[:10]) < 1e-5, off
    assert max(off) <= 5 * max(usual), (off, usual)
