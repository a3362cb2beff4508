"""What MODEL names on the command line: a ready model, or a function in a file."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from graphc.errors import ArgumentError
from graphc.models.registry import find


def load_model(name: str, data: str | None, batch_size: int | None) -> tuple[Any, Any, Any, int]:
    """(step, training loader or None, test loader or None, epochs)."""
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        model = find(name)
        return (*model.make(data, batch_size), model.epochs)
    made = _call(_function(Path(path), function), data, batch_size)
    parts = made if isinstance(made, tuple) else (made,)
    step, train, test = (*parts, None, None)[:3]
    return step, train, test, 10


def _function(path: Path, name: str) -> Any:
    if not path.is_file():
        raise ArgumentError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise ArgumentError(f"{path} has no function {name}")
    return getattr(module, name)


def _call(function: Any, data: str | None, batch_size: int | None) -> Any:
    given = {"data": data, "batch_size": batch_size}
    options = {key: value for key, value in given.items() if value is not None}
    known = inspect.signature(function).parameters
    for key in options:
        if key not in known:
            flag = key.replace("_", "-")
            raise ArgumentError(f"--{flag} is given, but {function.__name__} has no {key}")
    return function(**options)
