"""ResNet-20 for 32x32 images (He et al. 2016), with 1x1 convolutions on the shortcuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import graphc.functional as F
from graphc import data as datasets
from graphc import nn, optim
from graphc.data import transforms
from graphc.frontends.tracing import Spec
from graphc.frontends.train.data.transform import Transform
from graphc.frontends.train.step import TrainStep
from graphc.models.images import AHEAD, SIZE, ImageModel, image_sets, restored
from graphc.models.images import predict as predict
from graphc.models.inputs import ExampleInput
from graphc.models.losses import classify

EPOCHS = 20
# Of the channels of CIFAR-10's training images, values 0 to 1.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: Any = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Any) -> Any:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet20(ImageModel):
    """x[N, 3, 32, 32] -> scores[N, classes]: three stages of three blocks, 16, 32, 64 channels."""

    name = "resnet20"

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        widths = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        blocks = []
        for inputs, outputs, stride in widths:
            blocks += [Block(inputs, outputs, stride)]
            blocks += [Block(outputs, outputs, 1) for _ in range(2)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(64, classes)

    def forward(self, x: Any) -> Any:
        x = self.blocks(F.relu(self.norm(self.conv(x))))
        return self.head(F.mean(x, axis=(2, 3)))


def make(
    data: str | None = None, batch_size: int = 128, epochs: int = EPOCHS
) -> tuple[TrainStep, Any, Any]:
    """(step, training loader, test loader); the rate goes through one cycle over `epochs`.

    L. N. Smith, "Super-convergence", 2018: a rise to a large rate and a long fall to almost none
    is what gets most out of few epochs.
    """
    train, test = image_sets(data)
    input = ExampleInput.of_images(3, SIZE, SIZE)
    if data is not None:
        input = input.normalised(MEAN, STD)
    model = ResNet20(len(train.class_names)).knows(input, train.class_names)
    specs = Spec((batch_size, 3, 32, 32)), Spec((batch_size,), "i32")
    steps = max(1, epochs * (len(train) // batch_size))
    rate = optim.schedules.one_cycle(0.2, total_steps=steps, pct_start=0.2)
    optimizer = optim.SGD(lr=rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    step = TrainStep(model, classify, optimizer, *specs)
    augment, prepare = transforms_of(data)
    training = datasets.Loader(train, batch_size, transform=augment, prefetch=AHEAD)
    testing = datasets.Loader(test, batch_size, shuffle=False, transform=prepare, prefetch=AHEAD)
    return step, training, testing


def transforms_of(data: str | None) -> tuple[Transform | None, Transform | None]:
    """What is done to images in training and in testing; nothing to the embedded digits."""
    if data is None:
        return None, None
    normalize = transforms.Normalize(MEAN, STD)
    crop, flip = transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()
    return transforms.Compose([crop, flip, normalize]), normalize


def restore(description: Mapping[str, Any]) -> ResNet20:
    """The model of a run's description, without its weights."""
    return restored(lambda _, classes: ResNet20(classes), description)
