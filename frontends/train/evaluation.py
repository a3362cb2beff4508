"""Evaluation and prediction over a data set, on programs compiled for one batch size.

Examples are put together to batches of the train step's size, whatever the loader's; those of one
bucket, where the step has several. A last, smaller batch is filled up with copies of its last
example, and what comes out for those is left out; a loss, which is one number for a whole batch, is
taken on a program compiled for the smaller batch instead, and batches are weighted by their sizes.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import DataError, ShapeError
from graphc.frontends.tracing.trees import Tree, build, flatten
from graphc.frontends.train.data.dataset import BatchDataset
from graphc.frontends.train.data.loader import Loader
from graphc.frontends.train.metrics import Decoded, Metric
from graphc.frontends.train.protocol import Array, Arrays, ModelFunction, TrainStep

Batches = Iterable[Any]
_EXAMPLES_AT_ONCE = 256  # read from a data set that has no loader
Specs = tuple[Any, ...]


class Evaluator:
    """Runs functions (model, *batch) over data; keeps the programs compiled for them."""

    def __init__(self, step: TrainStep) -> None:
        self._step = step
        self._programs: dict[tuple[ModelFunction, Specs], Callable[..., Any]] = {}

    def evaluate(
        self,
        batches: Batches,
        metrics: Mapping[str, Metric],
        between: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """The mean loss and every metric over all examples.

        `between` is called before each batch. Raises DataError where there are no examples.
        """
        losses = _Mean()
        tallies = {name: _tally(metric) for name, metric in metrics.items()}
        for batch in self._rebatched(in_order(batches)):
            between()
            losses.add([self._loss(batch) * len(batch[0])], len(batch[0]))
            for name, metric in metrics.items():
                self._add(tallies[name], name, metric, batch)
        if not losses.count:
            raise DataError("the loader gives no examples to evaluate")
        return {
            "loss": losses.result(),
            **{name: tally.result() for name, tally in tallies.items()},
        }

    def predict(self, batches: Batches, inputs: int | None) -> Any:
        """``model(*batch[:inputs])`` for all examples, put together along the first dimension.

        Without `inputs` they are as many as the model needs.

        The result has the structure of the model's: an array, or a tuple, list or dict of them. Of
        a step with buckets it is a list of such, one for each example, in the data set's order.
        """
        count = needed_inputs(self._step.model) if inputs is None else inputs
        found: dict[int, Arrays] = {}
        structure: Tree | None = None
        for *batch, numbers in self._rebatched(numbered(batches)):
            if len(batch) < count:
                raise DataError(
                    f"predict: batches of {len(batch)} arrays; the "
                    f"{type(self._step.model).__name__} takes {count} inputs"
                )
            outputs, structure = self._outputs(forward, tuple(batch[:count]))
            for row, number in enumerate(numbers):
                found[int(number)] = tuple(output[row] for output in outputs)
        if structure is None:
            raise DataError("the loader gives no examples to predict")
        rows = [found[number] for number in sorted(found)]
        if len(self._step.buckets) > 1:
            return [build(structure, row) for row in rows]
        return build(structure, [np.stack(parts) for parts in zip(*rows, strict=True)])

    def _add(self, tally: _Mean | _Pairs, name: str, metric: Metric, batch: Arrays) -> None:
        if isinstance(tally, _Mean):
            assert not isinstance(metric, Decoded)
            tally.add(self._values(name, metric, batch), len(batch[0]))
            return
        outputs, structure = self._outputs(tally.metric.outputs, batch)
        tally.add(tally.metric.decode(build(structure, outputs), *batch))

    def _loss(self, batch: Arrays) -> float:
        program = self._program(self._step.loss, self._specs(batch, len(batch[0])))
        (value,) = as_arrays(program(*batch))
        return float(value)

    def _values(self, name: str, metric: ModelFunction, batch: Arrays) -> list[float]:
        """One value for each example of a batch."""
        outputs, _ = self._outputs(metric, batch)
        if len(outputs) != 1 or outputs[0].ndim != 1:
            size = self._size(batch)
            shapes = ", ".join(str((size, *part.shape[1:])) for part in outputs)
            raise ShapeError(
                f"metric {name!r} gives shape {shapes or 'nothing'}, expected one value per "
                f"example, {(size,)}"
            )
        (values,) = outputs
        return [float(value) for value in values]

    def _outputs(self, function: ModelFunction, batch: Arrays) -> tuple[Arrays, Tree]:
        """What `function` gives for the examples of a batch that may be smaller."""
        count, size = len(batch[0]), self._size(batch)
        program = self._program(function, self._specs(batch, size))
        outputs, structure = flatten(program(*padded(batch, size)))
        for output in outputs:
            if output.ndim == 0 or len(output) != size:
                raise ShapeError(
                    f"{getattr(function, '__name__', function)} gives shape {output.shape}, "
                    f"expected one entry per example of the batch of {size}"
                )
        return tuple(output[:count] for output in outputs), structure

    def _program(self, function: ModelFunction, specs: Specs) -> Callable[..., Any]:
        if (function, specs) not in self._programs:
            self._programs[function, specs] = self._step.evaluation(function, *specs)
        return self._programs[function, specs]

    # Buckets

    def _bucket(self, batch: Sequence[Array]) -> Specs:
        """The specs of the batches that these examples belong to; the last ones where none are.

        What else is wrong with their shapes is told by the program that is made for the specs.
        """
        for specs in self._step.buckets:
            pairs = list(zip(batch, specs, strict=False))
            if all(tuple(part.shape[1:]) == tuple(spec.shape[1:]) for part, spec in pairs):
                return tuple(specs)
        return tuple(self._step.buckets[-1])

    def _size(self, batch: Sequence[Array]) -> int:
        return int(self._bucket(batch)[0].shape[0])

    def _specs(self, batch: Arrays, size: int) -> Specs:
        return tuple(with_batch(spec, size) for spec in self._bucket(batch)[: len(batch)])

    def _rebatched(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """The same examples in batches of the step's size, each of one bucket."""
        if len(self._step.buckets) == 1:
            return rebatched(batches, int(self._step.batch_specs[0].shape[0]))
        return self._sorted(batches)

    def _sorted(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        held: dict[Specs, Arrays] = {}
        for batch in batches:
            specs = self._bucket(batch)
            joined = join(held[specs], batch) if specs in held else batch
            *whole, rest = *rebatched([joined], self._size(batch)), None
            if whole and len(whole[-1][0]) < self._size(batch):
                rest = whole.pop()
            yield from whole
            held.pop(specs, None)
            if rest is not None:
                held[specs] = rest
        yield from held.values()


class _Mean:
    """The mean of a value per example."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: list[float] = []

    def add(self, values: Sequence[float], count: int) -> None:
        self._parts.append(math.fsum(values))
        self.count += count

    def result(self) -> float:
        return math.fsum(self._parts) / self.count


class _Pairs:
    """The score of all (found, meant)."""

    def __init__(self, metric: Decoded) -> None:
        self.metric = metric
        self._found: list[Any] = []
        self._meant: list[Any] = []

    def add(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        for found, meant in pairs:
            self._found.append(found)
            self._meant.append(meant)

    def result(self) -> float:
        return float(self.metric.score(self._found, self._meant))


def _tally(metric: Metric) -> _Mean | _Pairs:
    return _Pairs(metric) if isinstance(metric, Decoded) else _Mean()


def forward(model: Any, *inputs: Any) -> Any:
    """The model's outputs."""
    return model(*inputs)


def needed_inputs(model: Any) -> int:
    """How many arguments the model cannot be called without; at least 1."""
    parameters = inspect.signature(getattr(model, "forward", model)).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return max(1, len(needed))


def in_order(batches: Batches) -> Iterator[Arrays]:
    """The batches as tuples of arrays; those of a `Loader`, or of a data set itself, in the data
    set's order, none left out; an array alone is one batch.
    """
    return (_batch(batch) for batch in _source(batches))


def _source(batches: Batches) -> Iterable[Any]:
    if isinstance(batches, Loader):
        return batches.in_order()
    if isinstance(batches, np.ndarray):
        return (batches,)
    if isinstance(batches, BatchDataset):
        return Loader(batches, _EXAMPLES_AT_ONCE, shuffle=False).in_order()
    return batches


def _batch(value: Any) -> Arrays:
    """Raises DataError where a part of a batch is a number, not one for each example."""
    arrays = as_arrays(value)
    for position, part in enumerate(arrays):
        if part.ndim == 0:
            raise DataError(
                f"part {position} of a batch is a number alone, expected an array "
                "with an entry for each example (to read a data set, give its Loader)"
            )
    return arrays


def numbered(batches: Batches) -> Iterator[Arrays]:
    """`in_order`, with the number of each example as one more array."""
    if isinstance(batches, Loader):
        yield from ((*as_arrays(batch), numbers) for numbers, batch in batches.indexed())
        return
    start = itertools.count()
    for batch in in_order(batches):
        yield (*batch, np.array([next(start) for _ in batch[0]], np.int64))


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
