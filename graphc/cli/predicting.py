"""`graphc predict`: what a trained model says about files, a line each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from graphc.dtypes import float32
from graphc.errors import ArgumentError

if TYPE_CHECKING:  # what it takes to predict is loaded when it is asked for
    from graphc.models.inputs import ExampleInput
    from graphc.models.prediction import Prediction


def predict(options: argparse.Namespace) -> None:
    """Print a line for every input, as soon as it is known."""
    made = _own_model(options) if ":" in options.model else _ready_model(options)
    for prediction in made:
        print(_as_json(prediction) if options.json else _as_text(prediction), flush=True)


def _as_text(prediction: Prediction) -> str:
    return f"{prediction.input}  {prediction.text}"


def _as_json(prediction: Prediction) -> str:
    return json.dumps({"input": prediction.input, **prediction.fields}, ensure_ascii=False)


def _ready_model(options: argparse.Namespace) -> Iterable[Prediction]:
    from graphc.models.registry import find
    from graphc.models.saved import load_run

    ready = find(options.model)
    if options.data is not None:
        raise ArgumentError(
            f"{options.model} needs no --data to predict; the run keeps what counts"
        )
    saved = load_run(options.source, expected=(options.model,))
    predictions: Iterable[Prediction] = ready.predict(saved, options.inputs)
    return predictions


# A model in a file


def _own_model(options: argparse.Namespace) -> Iterable[Prediction]:
    """By the model, and the loaders where there are any, that the function makes."""
    from graphc.cli.loading import load_model
    from graphc.cli.training import classifies
    from graphc.models.prediction import classified, numbers
    from graphc.models.saved import load_own

    step, training, test, _ = load_model(options.model, options.data, None)
    load_own(step.model, options.source)
    step.model.eval()
    loader = test if test is not None else training
    items = _input_of(step, loader).read(options.inputs)
    if not classifies(step):
        return numbers(step.model, items)
    names = getattr(getattr(loader, "dataset", None), "class_names", ())
    return classified(step.model, items, names)


def _input_of(step: Any, loader: Any) -> ExampleInput:
    """What the step's first array takes: images where it is [N, 1 or 3, H, W]."""
    from graphc.models.inputs import ExampleInput

    spec = step.batch_specs[0]
    if spec.dtype != float32:
        raise ArgumentError(f"predict: the model takes {spec.type}, expected f32[N, ...]")
    _, *shape = spec.shape
    is_image = len(shape) == 3 and shape[0] in (1, 3)
    input = ExampleInput(tuple(shape), tuple(shape) if is_image else ())
    normalize = _normalisation(getattr(loader, "transform", None)) if is_image else None
    if normalize is None:
        return input
    return input.normalised(normalize.mean.reshape(-1).tolist(), normalize.std.reshape(-1).tolist())


def _normalisation(transform: Any) -> Any:
    """The Normalize of a transform; None where it has none."""
    from graphc.data import transforms

    parts = transform.transforms if isinstance(transform, transforms.Compose) else (transform,)
    return next((part for part in parts if isinstance(part, transforms.Normalize)), None)
