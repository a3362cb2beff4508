"""Training steps of random small networks: no step of the compiler changes what they compute.

Each is bisected whole: passes, lowering, every kernel against its naive one to the bit, the plan,
and two threads against one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.tools.bisect import find_difference

CLASSES = 4
ACTIVATIONS: list[Callable[[], nn.Module]] = [
    nn.ReLU,
    nn.Tanh,
    nn.GELU,
    nn.SiLU,
    nn.ELU,
    nn.Identity,
    lambda: nn.LeakyReLU(0.1),
]
OPTIMIZERS: list[optim.Optimizer] = [
    optim.SGD(0.1, momentum=0.9),
    optim.Adam(1e-2),
    optim.RMSprop(1e-2),
    optim.AdamW(1e-2, clip_norm=1.0),
    optim.Adafactor(),
    optim.LAMB(),
]


def convolution(random: np.random.Generator, channels: int) -> tuple[nn.Module, int]:
    """A convolution of any kernel, stride, padding and grouping, and how many channels it gives."""
    size = int(random.choice([1, 2, 3, 5]))
    groups = channels if random.random() < 0.2 else 1
    given = channels * int(random.integers(1, 3)) if groups > 1 else int(random.integers(1, 20))
    stride, padding = int(random.choice([1, 1, 2])), int(random.integers(0, size))
    bias = bool(random.random() < 0.7)
    layer = nn.Conv2d(channels, given, size, stride, padding, groups=groups, bias=bias)
    return layer, given


def after(random: np.random.Generator, channels: int) -> list[nn.Module]:
    """What may follow a convolution."""
    norms: list[Any] = [nn.BatchNorm2d(channels), nn.GroupNorm(1, channels), None]
    pools: list[Any] = [
        nn.MaxPool2d(2, padding=int(random.integers(0, 2))),
        nn.AvgPool2d(2, stride=int(random.integers(1, 3))),
        nn.ConvTranspose2d(channels, channels, 2, stride=2),
        nn.Dropout(0.3),
        None,
    ]
    parts = [
        norms[random.integers(len(norms))],
        ACTIVATIONS[random.integers(len(ACTIVATIONS))](),
        pools[random.integers(len(pools))],
    ]
    return [part for part in parts if part is not None]


def network(random: np.random.Generator, shape: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    channels = shape[1]
    for _ in range(int(random.integers(1, 4))):
        layer, channels = convolution(random, channels)
        layers += [layer, *after(random, channels)]
    side = int(random.integers(1, 3))
    layers += [nn.AdaptiveAvgPool2d(side), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels * side * side, CLASSES))


@pytest.mark.parametrize("seed", range(8))
def test_a_random_network_is_compiled_right(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(int(extent) for extent in random.integers((1, 1, 12, 12), (6, 6, 20, 20)))
    step = graphc.TrainStep(
        network(random, shape),
        lambda model, x, y: F.cross_entropy(model(x), y),
        OPTIMIZERS[seed % len(OPTIMIZERS)],
        graphc.Spec(shape),
        graphc.Spec(shape[:1], "int32"),
        seed=seed,
    )
    x = random.normal(size=shape).astype(np.float32)
    y = random.integers(0, CLASSES, shape[0]).astype(np.int32)
    state = {name: slot.array for name, slot in step.state.items()}
    assert find_difference(step.graph, state, [x, y], threads=2) is None
