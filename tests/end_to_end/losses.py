"""The losses of graphc's ready models from given weights and batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc import nn, optim
from graphc.frontends.tracing import Spec
from graphc.frontends.train.step import TrainStep
from graphc.models.cifar_cnn import CifarCNN
from graphc.models.losses import classify
from graphc.models.mlp import MLP
from tests.end_to_end.given import PROBLEMS, Problem, batches, weights


def model_of(name: str) -> nn.Module:
    """A ready model at the shapes of its problem."""
    return MLP(PROBLEMS[name].example[0]) if name == "mlp" else CifarCNN()


def graphc_losses(name: str, problem: Problem, dtype: str) -> list[float]:
    """The loss before each of the steps, by Adam with its defaults."""
    model = model_of(name)
    model.to(dtype)
    x = Spec((problem.batch_size, *problem.example), dtype)
    y = Spec((problem.batch_size,), "int32")
    step = TrainStep(model, classify, optim.Adam(), x, y)
    given = {f"model.{key}": array.astype(dtype) for key, array in weights(problem).items()}
    step.load_state_dict(given, strict=False)
    return [float(step(x.astype(dtype), y)) for x, y in batches(problem)]


def deviations(losses: Sequence[float], exact: Sequence[float]) -> list[float]:
    """Relative distance of each loss from the exact one."""
    return [float(abs(a - b) / abs(b)) for a, b in zip(losses, np.array(exact), strict=True)]
