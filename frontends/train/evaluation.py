"""Evaluation and prediction over a data set, on programs compiled for one batch size.

Examples are put together to batches of the train step's size, whatever the loader's. The last,
smaller batch is filled up with copies of its last example, and what comes out for those is left
out; a loss, which is one number for a whole batch, is taken on a program compiled for the smaller
batch instead, and batches are weighted by their sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from graphc.errors import DataError, ShapeError
from graphc.frontends.tracing.trees import Tree, build, flatten
from graphc.frontends.train.data.loader import Loader
from graphc.frontends.train.protocol import Array, Arrays, ModelFunction, TrainStep

Batches = Iterable[Any]


class Evaluator:
    """Runs functions (model, *batch) over data; keeps the programs compiled for them."""

    def __init__(self, step: TrainStep) -> None:
        self._step = step
        self._programs: dict[tuple[ModelFunction, int, int], Callable[..., Any]] = {}

    @property
    def batch_size(self) -> int:
        return int(self._step.batch_specs[0].shape[0])

    def evaluate(
        self,
        batches: Batches,
        metrics: Mapping[str, ModelFunction],
        between: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """The mean loss and the mean of every metric over all examples.

        `between` is called before each batch. Raises DataError where there are no examples.
        """
        parts: dict[str, list[float]] = {name: [] for name in ("loss", *metrics)}
        total = 0
        for batch in rebatched(in_order(batches), self.batch_size):
            between()
            count = len(batch[0])
            total += count
            parts["loss"].append(self._loss(batch) * count)
            for name, metric in metrics.items():
                parts[name].append(math.fsum(self._values(name, metric, batch)))
        if not total:
            raise DataError("the loader gives no examples to evaluate")
        return {name: math.fsum(values) / total for name, values in parts.items()}

    def predict(self, batches: Batches, inputs: int) -> Any:
        """``model(*batch[:inputs])`` for all examples, put together along the first dimension.

        The result has the structure of the model's: an array, or a tuple, list or dict of them.
        """
        results = []
        for batch in rebatched(in_order(batches), self.batch_size):
            outputs, structure = self._outputs(forward, batch[:inputs])
            results.append(outputs)
        if not results:
            raise DataError("the loader gives no examples to predict")
        joined = [np.concatenate(parts) for parts in zip(*results, strict=True)]
        return build(structure, joined)

    def _loss(self, batch: Arrays) -> float:
        program = self._program(self._step.loss, len(batch), len(batch[0]))
        (value,) = as_arrays(program(*batch))
        return float(value)

    def _values(self, name: str, metric: ModelFunction, batch: Arrays) -> list[float]:
        """One value for each example of a batch."""
        outputs, _ = self._outputs(metric, batch)
        if len(outputs) != 1 or outputs[0].ndim != 1:
            shapes = ", ".join(str((self.batch_size, *part.shape[1:])) for part in outputs)
            raise ShapeError(
                f"metric {name!r} gives shape {shapes or 'nothing'}, expected one value per "
                f"example, {(self.batch_size,)}"
            )
        (values,) = outputs
        return [float(value) for value in values]

    def _outputs(self, function: ModelFunction, batch: Arrays) -> tuple[Arrays, Tree]:
        """What `function` gives for the examples of a batch that may be smaller."""
        count, size = len(batch[0]), self.batch_size
        program = self._program(function, len(batch), size)
        outputs, structure = flatten(program(*padded(batch, size)))
        for output in outputs:
            if output.ndim == 0 or len(output) != size:
                raise ShapeError(
                    f"{getattr(function, '__name__', function)} gives shape {output.shape}, "
                    f"expected one entry per example of the batch of {size}"
                )
        return tuple(output[:count] for output in outputs), structure

    def _program(self, function: ModelFunction, inputs: int, size: int) -> Callable[..., Any]:
        key = (function, inputs, size)
        if key not in self._programs:
            specs = [with_batch(spec, size) for spec in self._step.batch_specs[:inputs]]
            self._programs[key] = self._step.evaluation(function, *specs)
        return self._programs[key]


def forward(model: Any, *inputs: Any) -> Any:
    """The model's outputs."""
    return model(*inputs)


def in_order(batches: Batches) -> Iterator[Arrays]:
    """The batches as tuples of arrays; a `Loader`'s in the data set's order, none left out."""
    source = batches.in_order() if isinstance(batches, Loader) else batches
    return (as_arrays(batch) for batch in source)


def as_arrays(value: Any) -> Arrays:
    """A tuple of arrays, from one or from an array alone. Raises DataError for a dict."""
    if isinstance(value, Mapping):
        raise DataError(
            f"a batch is a dict of {', '.join(map(str, value))}; expected a tuple of arrays, in "
            "the order of the loss's arguments"
        )
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return tuple(np.asarray(part) for part in parts)


def with_batch(spec: Any, size: int) -> Any:
    """A spec of the same kind for another batch size."""
    return type(spec)((size, *spec.shape[1:]), spec.dtype)


def rebatched(batches: Iterable[Arrays], size: int) -> Iterator[Arrays]:
    """The same examples in batches of `size`, the last one as small as it comes."""
    held: Arrays | None = None
    for batch in batches:
        held = batch if held is None else join(held, batch)
        while held is not None and len(held[0]) >= size:
            yield tuple(part[:size] for part in held)
            held = tuple(part[size:] for part in held) if len(held[0]) > size else None
    if held is not None and len(held[0]):
        yield held


def join(first: Arrays, second: Arrays) -> Arrays:
    """Two batches as one."""
    return tuple(np.concatenate(parts) for parts in zip(first, second, strict=True))


def padded(batch: Arrays, size: int) -> Arrays:
    """A batch filled up to `size` with copies of its last example, whose values are all valid."""
    missing = size - len(batch[0])
    return tuple(_fill(part, missing) if missing else part for part in batch)


def _fill(part: Array, missing: int) -> Array:
    return np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
