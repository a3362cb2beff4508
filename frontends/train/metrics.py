"""Metrics: traceable functions (model, *batch) -> one value per example; their mean is reported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import graphc.frontends.tracing.functional as F
from graphc.errors import ArgumentError
from graphc.frontends.train.protocol import ModelFunction


def accuracy(model: Any, x: Any, y: Any) -> Any:
    """1.0 where the largest of the model's outputs [N, classes] is at the label y [N], else 0.0."""
    return (model(x).argmax(axis=-1) == y).astype("float32")


def absolute_error(model: Any, x: Any, y: Any) -> Any:
    """The mean of |model(x) - y| for each example; model(x) and y are [N, ...] alike."""
    return _per_example(F.l1_loss(model(x), y, reduction="none"))


def squared_error(model: Any, x: Any, y: Any) -> Any:
    """The mean of (model(x) - y)² for each example; model(x) and y are [N, ...] alike."""
    return _per_example(F.mse_loss(model(x), y, reduction="none"))


def _per_example(values: Any) -> Any:
    return values.reshape((values.shape[0], -1)).mean(axis=1)


def named(metrics: Iterable[ModelFunction]) -> dict[str, ModelFunction]:
    """The metrics by their functions' names; raises ArgumentError for one without, or two alike."""
    found: dict[str, ModelFunction] = {}
    for metric in metrics:
        name = getattr(metric, "__name__", None)
        if not callable(metric) or not isinstance(name, str):
            raise ArgumentError(
                f"a metric is a named function (model, *batch) -> values, not {metric!r}"
            )
        if name in found or name == "loss":
            raise ArgumentError(f"two metrics are called {name!r}; give each a name of its own")
        found[name] = metric
    return found
