"""A multi-layer perceptron: inputs-512-512-10 with relu, trained by Adam."""

from __future__ import annotations

from typing import Any

import graphc.functional as F
from graphc import data as datasets
from graphc import nn, optim
from graphc.frontends.tracing import Spec
from graphc.frontends.train.step import TrainStep
from graphc.models.losses import classify


class MLP(nn.Module):
    """x[N, inputs] -> scores[N, 10]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 512)
        self.second = nn.Linear(512, 512)
        self.head = nn.Linear(512, 10)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.first(x))
        return self.head(F.relu(self.second(x)))


def make(data: str | None = None, batch_size: int = 128) -> tuple[TrainStep, Any, Any]:
    """(step, training loader, test loader) on the embedded digits, or on IDX files at `data`."""
    if data is None:
        train, test = (datasets.digits(train=part, flat=True) for part in (True, False))
    else:
        train, test = (datasets.idx(data, train=part, flat=True) for part in (True, False))
    inputs = train[0][0].shape[0]
    step = TrainStep(
        MLP(inputs), classify, optim.Adam(), Spec((batch_size, inputs)), Spec((batch_size,), "i32")
    )
    loaders = datasets.Loader(train, batch_size), datasets.Loader(test, batch_size, shuffle=False)
    return step, *loaders
