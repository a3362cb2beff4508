"""Weights and batches that any Python makes alike, for runs that are compared step by step.

From the raw 64-bit stream of Philox (which NumPy keeps for ever, unlike its distributions) come
uniform numbers, and from these everything else; only NumPy is needed.

Float32 runs can be compared closely only where nothing jumps: where a relu's input, or the
difference of two values that a max compares, is within rounding of zero, one rounding decides
whether a gradient passes, whoever computes it. There are 2.6 million such places in a step of
cifar-cnn at batch 64, and a jump moves losses by up to 1e-2. Hence the small batches, and the
seeds: those of 24 for which torch in float64 stays farthest from any jump
(bench/loss_reference.py --search) and learns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

STEPS = 20
CLASSES = 10


@dataclass(frozen=True)
class Problem:
    """A ready model and what it is given.

    parameters   shapes by name
    example      shape of one example
    signal       height of the classes' templates over noise in -1...1
    """

    parameters: Mapping[str, Shape]
    example: Shape
    batch_size: int
    signal: float
    seed: int


def _layers(**weights: Shape) -> dict[str, Shape]:
    """Weights and biases of layers, by their weights' shapes."""
    found: dict[str, Shape] = {}
    for name, shape in weights.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return found


PROBLEMS: Mapping[str, Problem] = {
    "mlp": Problem(
        _layers(first=(512, 784), second=(512, 512), head=(CLASSES, 512)),
        (784,),
        batch_size=4,
        signal=0.25,
        seed=3,
    ),
    "cifar-cnn": Problem(
        _layers(
            conv1=(32, 3, 3, 3),
            conv2=(64, 32, 3, 3),
            conv3=(64, 64, 3, 3),
            hidden=(64, 1024),
            head=(CLASSES, 64),
        ),
        (3, 32, 32),
        batch_size=4,
        signal=1.0,
        seed=23,
    ),
}


def uniform(seed: int, stream: int, shape: Sequence[int]) -> Array:
    """Float64 numbers in [0, 1) of 24 bits, so that float32 holds them exactly."""
    raw = np.random.Philox(key=np.array([seed, stream], np.uint64)).random_raw(math.prod(shape))
    return ((raw >> np.uint64(40)) * 2.0**-24).reshape(tuple(shape))


def weights(problem: Problem) -> dict[str, Array]:
    """First parameters, exact in float32: weights uniform as Glorot's, small biases."""
    found = {}
    for stream, (name, shape) in enumerate(problem.parameters.items()):
        field = math.prod(shape[2:])
        fans = (shape[0] + shape[1]) * field if len(shape) > 1 else 600
        bound = math.sqrt(6 / fans)
        values = (2 * uniform(problem.seed, stream, shape) - 1) * bound
        found[name] = values.astype(np.float32).astype(np.float64)
    return found


def batches(problem: Problem) -> list[tuple[Array, Array]]:
    """STEPS of (x[N, ...], classes[N]): the template of each class under noise."""
    seed, count = problem.seed, problem.batch_size
    patterns = [template(seed, 1000 + index, problem.example) for index in range(CLASSES)]
    found = []
    for step in range(STEPS):
        classes = (uniform(seed, 2000 + step, (count,)) * CLASSES).astype(np.int32)
        noise = 2 * uniform(seed, 3000 + step, (count, *problem.example)) - 1
        x = problem.signal * np.stack(patterns)[classes] + noise
        found.append((x.astype(np.float32).astype(np.float64), classes))
    return found


def template(seed: int, stream: int, shape: Shape) -> Array:
    """What examples of a class share, in -1...1: patches of 8x8 pixels, or single numbers."""
    if len(shape) == 1:
        return 2 * uniform(seed, stream, shape) - 1
    channels, height, width = shape
    patches = 2 * uniform(seed, stream, (channels, height // 8, width // 8)) - 1
    return patches.repeat(8, axis=1).repeat(8, axis=2)
