"""Metrics: what is measured over a data set beside the loss.

Most are traceable functions (model, *batch) -> one value per example, whose mean is reported. One
that compares texts or other sequences is a `Decoded`: the model's part is traced, the rest Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import graphc.frontends.tracing.functional as F
from graphc.errors import ArgumentError
from graphc.frontends.decoding.ctc import ctc_greedy
from graphc.frontends.decoding.error_rates import character_error_rate
from graphc.frontends.train.protocol import ModelFunction


@dataclass(frozen=True)
class Decoded:
    """A metric of what is decoded from the model's outputs, over the whole data set at once.

    name      what it is reported as
    outputs   a traceable function (model, *batch) -> arrays with an entry for each example
    decode    (outputs, *batch) -> a pair (found, meant) for each example, in Python
    score     (all found, all meant) -> a number
    """

    name: str
    outputs: ModelFunction
    decode: Callable[..., Iterable[tuple[Any, Any]]]
    score: Callable[[Sequence[Any], Sequence[Any]], float]

    @property
    def __name__(self) -> str:
        return self.name


Metric: TypeAlias = ModelFunction | Decoded


def ctc_error_rate(
    log_probs: ModelFunction, name: str = "character_error_rate", blank: int = 0
) -> Decoded:
    """The error rate of a CTC model's best path, on batches (x, lengths, labels [N, S], counts).

    log_probs   a traceable function (model, *batch) -> log-probabilities [N, T, C] and how many of
                the T steps count, int [N]
    """

    def decode(outputs: Any, x: Any, lengths: Any, labels: Any, counts: Any) -> Any:
        scores, steps = outputs
        found = ctc_greedy(scores.transpose(1, 0, 2), steps, blank)
        meant = [row[:count].tolist() for row, count in zip(labels, counts, strict=True)]
        return zip(found, meant, strict=True)

    return Decoded(name, log_probs, decode, character_error_rate)


def accuracy(model: Any, x: Any, y: Any) -> Any:
    """1.0 where the largest of the model's outputs [N, classes] is at the label y [N], else 0.0.

    >>> import numpy as np
    >>> accuracy(lambda x: x, np.float32([[1, 3], [2, 0]]), np.int32([1, 1]))
    array([1., 0.], dtype=float32)
    """
    return (model(x).argmax(axis=-1) == y).astype("float32")


def absolute_error(model: Any, x: Any, y: Any) -> Any:
    """The mean of |model(x) - y| for each example; model(x) and y are [N, ...] alike.

    >>> import numpy as np
    >>> absolute_error(lambda x: x, np.float32([[1, 3], [2, 0]]), np.float32([[0, 0], [2, 4]]))
    array([2., 2.], dtype=float32)
    """
    return _per_example(F.l1_loss(model(x), y, reduction="none"))


def squared_error(model: Any, x: Any, y: Any) -> Any:
    """The mean of (model(x) - y)² for each example; model(x) and y are [N, ...] alike.

    >>> import numpy as np
    >>> squared_error(lambda x: x, np.float32([[1, 3], [2, 0]]), np.float32([[0, 0], [2, 4]]))
    array([5., 8.], dtype=float32)
    """
    return _per_example(F.mse_loss(model(x), y, reduction="none"))


def _per_example(values: Any) -> Any:
    return values.reshape((values.shape[0], -1)).mean(axis=1)


def named(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """The metrics by their functions' names; raises ArgumentError for one without, or two alike."""
    found: dict[str, Metric] = {}
    for metric in metrics:
        name = getattr(metric, "__name__", None)
        if not (callable(metric) or isinstance(metric, Decoded)) or not isinstance(name, str):
            raise ArgumentError(
                f"a metric is a named function (model, *batch) -> values, or a Decoded, not "
                f"{metric!r}"
            )
        if name in found or name == "loss":
            raise ArgumentError(f"two metrics are called {name!r}; give each a name of its own")
        found[name] = metric
    return found
