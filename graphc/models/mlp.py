"""A multi-layer perceptron: inputs-512-512-10 with relu, trained by Adam."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import graphc.functional as F
from graphc import data as datasets
from graphc import nn, optim
from graphc.frontends.tracing import Spec
from graphc.frontends.train.step import TrainStep
from graphc.models.images import SIZE, ImageModel, holds_images, image_sets, restored
from graphc.models.images import predict as predict
from graphc.models.inputs import ExampleInput
from graphc.models.losses import classify


class MLP(ImageModel):
    """x[N, inputs] -> scores[N, classes]."""

    name = "mlp"

    def __init__(self, inputs: int, classes: int = 10) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 512)
        self.second = nn.Linear(512, 512)
        self.head = nn.Linear(512, classes)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.first(x))
        return self.head(F.relu(self.second(x)))


def make(data: str | None = None, batch_size: int = 128) -> tuple[TrainStep, Any, Any]:
    """(step, training loader, test loader) on the embedded digits, or at `data` on IDX files,
    CIFAR-10 or class folders of one's own.
    """
    train, test, input = _sets(data)
    names = train.class_names or tuple(str(digit) for digit in range(10))
    inputs = input.shape[0]
    model = MLP(inputs, len(names)).knows(input, names)
    specs = Spec((batch_size, inputs)), Spec((batch_size,), "i32")
    step = TrainStep(model, classify, optim.Adam(), *specs)
    loaders = datasets.Loader(train, batch_size), datasets.Loader(test, batch_size, shuffle=False)
    return step, *loaders


def _sets(data: str | None) -> tuple[Any, Any, ExampleInput]:
    """(training set, test set, what an example is), with flat images."""
    if data is not None and holds_images(data):
        train, test = image_sets(data, flat=True)
        return train, test, ExampleInput.of_images(3, SIZE, SIZE, flat=True)
    if data is None:
        train, test = (datasets.digits(train=part, flat=True) for part in (True, False))
    else:
        train, test = (datasets.idx(data, train=part, flat=True) for part in (True, False))
    inputs = len(train[0][0])
    side = math.isqrt(inputs)
    if side * side != inputs:
        return train, test, ExampleInput((inputs,))
    return train, test, ExampleInput.of_images(1, side, side, flat=True)


def restore(description: Mapping[str, Any]) -> MLP:
    """The model of a run's description, without its weights."""
    return restored(lambda input, classes: MLP(input.shape[0], classes), description)
