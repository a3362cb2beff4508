"""What MODEL names on the command line: a ready model, or a function in a file."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any, NamedTuple

from graphc.errors import ArgumentError
from graphc.frontends.train.step import TrainStep
from graphc.models.registry import find

DEFAULT_EPOCHS = 10  # of a model in a file


class Loaded(NamedTuple):
    """A training step with its loaders; None where there is no data."""

    step: Any
    training: Any
    test: Any
    epochs: int


def load(options: argparse.Namespace, like: Any = None) -> Loaded:
    """What the options of a command name, seeded and set to run where they say."""
    loaded = load_model(
        options.model,
        getattr(options, "data", None),
        options.batch_size,
        getattr(options, "epochs", None),
        like,
    )
    if options.seed is not None and not 0 <= options.seed < 1 << 64:
        raise ArgumentError(f"--seed is {options.seed}, expected 0 to 2^64 - 1")
    loaded.step.backend, loaded.step.threads = options.backend, options.threads
    if options.seed is not None:
        for seeded in loaded[:3]:
            if hasattr(seeded, "seed"):  # a loader of the user's own may have none
                seeded.seed = options.seed
    return loaded


def load_model(
    name: str,
    data: str | None,
    batch_size: int | None,
    epochs: int | None = None,
    like: Any = None,
) -> Loaded:
    """The step and loaders that a ready model or a function in a file gives.

    `like` is the description of a run whose sizes and vocabulary a ready model takes over.

    Raises ArgumentError for a name that is neither a ready model nor a function in a file, and for
    a function that gives something else.
    """
    if batch_size is not None and batch_size < 1:
        raise ArgumentError(f"--batch-size is {batch_size}, expected at least 1")
    path, colon, function = name.rpartition(":")
    if name.endswith(".py"):
        raise ArgumentError(f"{name} is a file; {name}:FUNCTION names a function of it")
    if not colon or not path.endswith(".py"):
        model = find(name)
        made = model.make(data, batch_size, epochs, like)
        return Loaded(*made, model.epochs if epochs is None else epochs)
    made = _call(_function(Path(path), function), data, batch_size, epochs)
    parts = made if isinstance(made, tuple) else (made,)
    if not 1 <= len(parts) <= 3 or not isinstance(parts[0], TrainStep):
        raise ArgumentError(
            f"{name} gives {_described(made)}; expected a TrainStep, or "
            "(TrainStep, loader) or (TrainStep, loader, test loader)"
        )
    step, train, test = (*parts, None, None)[:3]
    return Loaded(step, train, test, DEFAULT_EPOCHS if epochs is None else epochs)


def _described(made: Any) -> str:
    kinds = [type(part).__name__ for part in made] if isinstance(made, tuple) else []
    return f"({', '.join(kinds)})" if kinds else type(made).__name__


def _function(path: Path, name: str) -> Any:
    if not path.is_file():
        raise ArgumentError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent.resolve()))  # as `python path` would find its neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    if not hasattr(module, name):
        raise ArgumentError(f"{path} has no function {name}")
    function = getattr(module, name)
    if not callable(function):
        raise ArgumentError(f"{name} of {path} is a {type(function).__name__}, no function")
    return function


def _call(function: Any, data: str | None, batch_size: int | None, epochs: int | None) -> Any:
    """Call with the options that are given; `epochs` only where the function takes it."""
    known = inspect.signature(function).parameters
    given: dict[str, Any] = {"data": data, "batch_size": batch_size}
    given |= {"epochs": epochs} if "epochs" in known else {}
    options = {key: value for key, value in given.items() if value is not None}
    for key in options:
        if key not in known:
            flag = key.replace("_", "-")
            raise ArgumentError(f"--{flag} is given, but {function.__name__} has no {key}")
    return function(**options)
