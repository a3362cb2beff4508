"""The small network of the Keras CIFAR-10 tutorial, with Keras's initial weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import graphc.functional as F
from graphc import data as datasets
from graphc import nn, optim
from graphc.frontends.tracing import Spec
from graphc.frontends.train.step import TrainStep
from graphc.models.images import AHEAD, SIZE, ImageModel, image_sets, restored
from graphc.models.images import predict as predict
from graphc.models.inputs import ExampleInput
from graphc.models.losses import classify

INPUT = ExampleInput.of_images(3, SIZE, SIZE)


class CifarCNN(ImageModel):
    """x[N, 3, 32, 32] -> scores[N, classes]. Glorot-uniform weights, zero biases."""

    name = "cifar-cnn"

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.hidden = nn.Linear(1024, 64)
        self.head = nn.Linear(64, classes)
        for layer in (self.conv1, self.conv2, self.conv3, self.hidden, self.head):
            layer.weight = nn.Parameter(layer.weight.shape, nn.init.xavier_uniform())
            layer.bias = nn.Parameter(layer.bias.shape, nn.init.zeros())

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x))
        x = F.relu(self.hidden(x.reshape((x.shape[0], -1))))
        return self.head(x)


def make(data: str | None = None, batch_size: int = 64) -> tuple[TrainStep, Any, Any]:
    """(step, training loader, test loader)."""
    train, test = image_sets(data)
    model = CifarCNN(len(train.class_names)).knows(INPUT, train.class_names)
    specs = Spec((batch_size, 3, 32, 32)), Spec((batch_size,), "i32")
    step = TrainStep(model, classify, optim.Adam(), *specs)
    training = datasets.Loader(train, batch_size, prefetch=AHEAD)
    return step, training, datasets.Loader(test, batch_size, shuffle=False, prefetch=AHEAD)


def restore(description: Mapping[str, Any]) -> CifarCNN:
    """The model of a run's description, without its weights."""
    return restored(lambda _, classes: CifarCNN(classes), description)
