"""What trained models say about files: the seam between `graphc predict` and the ready models.

A ready model's module that has `predict(saved, paths) -> Iterable[Prediction]` takes files, with
the model of a run (`saved.SavedRun`) in evaluation mode; what it needs beside the weights (class
names, a vocabulary, how inputs are scaled) is in ``saved.description``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

import graphc.functional as F
from graphc.errors import ShapeError
from graphc.frontends.compile import compile
from graphc.frontends.tracing import Spec

Array = np.ndarray[Any, Any]
Item = tuple[str, Array]  # how the input is called, and the array that the model takes for it

BATCH_SIZE = 64


@dataclass(frozen=True)
class Prediction:
    """What a model says about one input.

    input   the file, or the row or entry of one
    text    the answer as it is printed after the input
    fields  the answer for programs: what becomes JSON
    """

    input: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def classified(
    model: Any, items: Iterable[Item], class_names: Sequence[str], batch_size: int = BATCH_SIZE
) -> Iterator[Prediction]:
    """The most probable class of every item, for a model that gives scores [N, classes]."""
    width = max(map(len, class_names), default=0)
    for name, shares in outputs(model, items, lambda x: F.softmax(model(x), dim=-1), batch_size):
        names = [*class_names, *(str(n) for n in range(len(class_names), len(shares)))]
        best = int(shares.argmax())
        share = float(shares[best])
        fields = {
            "class": names[best],
            "index": best,
            "probability": share,
            "probabilities": dict(zip(names, map(float, shares), strict=True)),
        }
        yield Prediction(name, f"{names[best]:{width}}  {share:.4f}", fields)


def numbers(
    model: Any, items: Iterable[Item], batch_size: int = BATCH_SIZE
) -> Iterator[Prediction]:
    """The model's own output for every item."""
    for name, values in outputs(model, items, model, batch_size):
        text = " ".join(f"{value:.6g}" for value in values.reshape(-1))
        yield Prediction(name, text, {"values": values.tolist()})


def outputs(
    model: Any, items: Iterable[Item], function: Callable[[Any], Any], batch_size: int = BATCH_SIZE
) -> Iterator[tuple[str, Array]]:
    """(name, output) of every item; `function` takes x [N, ...] and gives an array [N, ...].

    One program is compiled, for at most `batch_size` items at once; a last, smaller batch is
    filled up. Raises ShapeError for an output that is no array with an entry for each item.
    """
    program: Any = None
    size = 0
    for chunk in _chunks(items, batch_size):
        if program is None:
            size, first = len(chunk), chunk[0][1]
            spec = Spec((size, *first.shape), str(first.dtype))
            program = compile(function, spec, model=model)
        arrays = [array for _, array in chunk]
        found = program(np.stack(arrays + arrays[-1:] * (size - len(arrays))))
        if not isinstance(found, np.ndarray) or found.ndim == 0 or len(found) != size:
            raise ShapeError(
                f"{type(model).__name__} gives {_described(found)} for {size} examples; expected "
                "one array with an entry for each"
            )
        yield from zip((name for name, _ in chunk), found, strict=False)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _described(found: Any) -> str:
    return f"shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
