"""A train step in NumPy with the trainer's protocol: softmax regression by SGD with momentum.

Its gradients carry a little noise drawn from (key, step), so that a resumed run is equal only if
the random state is, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Spec:
    shape: tuple[int, ...]
    dtype: str = "float32"


class Model:
    def __init__(self, inputs: int, classes: int) -> None:
        self.weight = np.zeros((inputs, classes), np.float32)
        self.training = True

    def __call__(self, x: Array) -> Array:
        return np.asarray(x @ self.weight)


def cross_entropy(model: Model, x: Array, y: Array) -> Array:
    logits = model(x)
    shifted = logits - logits.max(-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(-1))
    return np.asarray((log_sum - shifted[np.arange(len(y)), y]).mean())


def accuracy(model: Model, x: Array, y: Array) -> Array:
    return np.asarray(model(x).argmax(-1) == y, np.float32)


def wrong_shape(model: Model, x: Array, y: Array) -> Array:
    return np.asarray(0.5)


class Step:
    """The step, and what it was asked to compile."""

    def __init__(
        self, inputs: int, classes: int, batch_size: int, lr: float = 0.1, seconds: float = 0.0
    ) -> None:
        self.model = Model(inputs, classes)
        self.loss = cross_entropy
        self.batch_specs = (Spec((batch_size, inputs)), Spec((batch_size,), "int32"))
        self.buckets = (self.batch_specs,)
        self.compiled: list[tuple[str, int]] = []
        self.seen: list[Array] = []
        self._lr = lr
        self._seconds = seconds
        self._momentum = np.zeros_like(self.model.weight)
        self._step = 0
        self._key = 17

    def __call__(self, *batch: Array) -> float:
        x, y = batch
        assert [tuple(part.shape) for part in batch] == [spec.shape for spec in self.batch_specs]
        time.sleep(self._seconds)
        self.seen.append(x.copy())
        loss = float(cross_entropy(self.model, x, y))
        self._update(x, y)
        return loss

    def _update(self, x: Array, y: Array) -> None:
        logits = self.model(x)
        chances = np.exp(logits - logits.max(-1, keepdims=True))
        chances /= chances.sum(-1, keepdims=True)
        chances[np.arange(len(y)), y] -= 1
        noise = np.random.Generator(np.random.Philox(key=[self._key, self._step]))
        gradient = x.T @ chances / len(y) + 1e-3 * noise.standard_normal(self._momentum.shape)
        self._momentum = (0.9 * self._momentum + gradient).astype(np.float32)
        self.model.weight = self.model.weight - np.float32(self._lr) * self._momentum
        self._step += 1

    def state_dict(self) -> dict[str, Array]:
        return {
            "model.weight": self.model.weight,
            "optimizer.weight.momentum_buffer": self._momentum,
            "step": np.asarray(self._step),
            "key": np.asarray(self._key, np.uint64),
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        self.model.weight = state["model.weight"]
        self._momentum = state["optimizer.weight.momentum_buffer"]
        self._step = int(state["step"])
        self._key = int(state["key"])

    def evaluation(self, function: Callable[..., Any], *specs: Spec) -> Callable[..., Any]:
        self.compiled.append((function.__name__, specs[0].shape[0]))

        def program(*arrays: Array) -> Array:
            for array, spec in zip(arrays, specs, strict=True):
                assert array.shape == spec.shape
            return np.asarray(function(self.model, *arrays))

        return program


def problem(count: int, inputs: int = 6, classes: int = 3, seed: int = 0) -> tuple[Array, Array]:
    """Points in three clouds that a linear model tells apart nearly always."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, inputs))
    y = rng.integers(0, classes, count).astype(np.int32)
    x = (2 * centres[y] + rng.normal(size=(count, inputs))).astype(np.float32)
    return x, y
