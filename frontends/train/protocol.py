"""What the trainer needs of a train step; `graphc.TrainStep` is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, SupportsFloat

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = tuple[Array, ...]

ModelFunction = Callable[..., Any]
"""A traceable function (model, *batch): a loss gives a scalar, a metric one value per example."""


class BatchSpec(Protocol):
    """The shape and dtype of one array of a batch; the first dimension is the batch."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...


class TrainStep(Protocol):
    """One training step of a model: forward, loss, backward and update."""

    @property
    def model(self) -> Any:
        """The model whose state the step updates."""

    @property
    def loss(self) -> ModelFunction:
        """The function (model, *batch) -> scalar that is made small."""

    @property
    def batch_specs(self) -> Sequence[Any]:
        """A `BatchSpec` for each array of a batch; its type takes (shape, dtype)."""

    @property
    def buckets(self) -> Sequence[Sequence[Any]]:
        """All the batch specs that the step takes; `batch_specs` alone, or several."""

    def __call__(self, *batch: Array) -> SupportsFloat:
        """Update the model by one batch; the loss before it, which may still be on its way."""

    def state_dict(self) -> Mapping[str, Array]:
        """Everything the next step depends on: parameters, moments, counters, the random key."""

    def load_state_dict(self, state: Mapping[str, Array], /) -> Any:
        """Take up a `state_dict`."""

    def evaluation(self, function: ModelFunction, *specs: Any) -> Callable[..., Any]:
        """``function(model, *arrays)`` compiled in evaluation mode, on the model's own state."""
