"""Trained ready models, restored from the folders of their runs.

A ready model's module that has `restore(description) -> model` makes the model anew from what its
`run_description` wrote; the weights come from the newest whole checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, CheckpointError, GraphcError
from graphc.frontends.nn.adapters.low_rank import LowRank
from graphc.frontends.nn.adapters.state import attach_adapters
from graphc.frontends.train.checkpoint import load
from graphc.frontends.train.checkpoints import Checkpoints
from graphc.frontends.train.description import FILE, read_description
from graphc.frontends.train.pretrained import of_model
from graphc.models.registry import find

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class SavedRun:
    """A model in evaluation mode with the weights of a run, and what described it."""

    model: Any
    description: Mapping[str, Any]
    step: int


def load_run(path: str | Path, average: int = 1, expected: Sequence[str] = ()) -> SavedRun:
    """The model of a run folder, or of one checkpoint or the `merged.safetensors` in it.

    With `average` it has the mean weights of that many last checkpoints.

    `expected` names the ready models that are wanted. Raises CheckpointError for a folder that is
    no such run or whose weights do not fit, ArgumentError for too few checkpoints.
    """
    folder = run_folder(path)
    description = read_description(folder)
    if "model" not in description:
        raise CheckpointError(f"{folder}: is no run of a ready model")
    name = str(description["model"])
    if expected and name not in expected:
        raise CheckpointError(f"{folder}: is a run of {name!r}, expected {' or '.join(expected)}")
    step, arrays = weights_of(path, average)
    model = _restored(folder, name, description)
    attach_adapters(model, _adapters(folder, description, arrays))
    load_weights(model, arrays, str(folder))
    return SavedRun(model.eval(), description, step)


def load_own(model: Any, path: str | Path) -> None:
    """Weights of a run, or of one checkpoint in it, into a model of the user's own that was trained
    there, with the adapters that it had. Raises as `load_weights` does.
    """
    _, arrays = weights_of(path)
    folder = run_folder(path)
    description = read_description(folder) if (folder / FILE).is_file() else {}
    attach_adapters(model, _adapters(folder, description, arrays))
    load_weights(model, arrays, str(path))


def load_weights(model: Any, arrays: Arrays, name: str) -> None:
    """Weights by their names; one shared tensor may stand under one of its names only.

    Raises CheckpointError, which begins with `name`, where one is missing, unexpected or of
    another shape.
    """
    try:
        missing = model.load_state_dict(arrays, strict=False).missing_keys
        needed = {own for own, _ in model.named_holders()}
        lost = [key for key in missing if key in needed]
        unexpected = [key for key in arrays if key not in needed and key not in model.state_dict()]
    except GraphcError as error:
        raise CheckpointError(f"{name}: the weights do not fit: {error}") from None
    if lost or unexpected:
        raise CheckpointError(
            f"{name}: the weights do not fit: missing {', '.join(lost) or 'none'}; "
            f"unexpected {', '.join(unexpected) or 'none'}"
        )


def run_folder(path: str | Path) -> Path:
    """The folder of a run, given as itself or by a checkpoint in it."""
    found = Path(path).expanduser()
    if not found.is_file():
        return found
    return found.parent.parent if found.parent.name == "checkpoints" else found.parent


def weights_of(path: str | Path, average: int = 1) -> tuple[int, dict[str, Array]]:
    """(step, weights by their names in the model) of a checkpoint, or of a run's last ones."""
    folder = Path(path).expanduser()
    if folder.is_file():
        arrays, _ = load(folder)
        return int(arrays.get("step", 0)), of_model(arrays)
    if average < 1:
        raise ArgumentError(f"average is {average}, expected at least 1 checkpoint")
    checkpoints = Checkpoints(folder / "checkpoints")
    if average == 1:
        newest = checkpoints.load_newest()
        if newest is None:
            raise CheckpointError(f"{folder}: has no checkpoint")
        return newest.step, of_model(newest.arrays)
    paths = checkpoints.paths()[:average]
    if len(paths) < average:
        raise ArgumentError(f"{folder}: has {len(paths)} checkpoints, {average} to average")
    return int(paths[0].stem.rpartition("-")[2]), mean_weights(
        [of_model(load(path)[0]) for path in paths]
    )


def mean_weights(parts: Sequence[Arrays]) -> dict[str, Array]:
    """The mean of floating tensors, in float64; others as the first has them."""
    return {
        name: np.mean([part[name] for part in parts], axis=0, dtype=np.float64).astype(first.dtype)
        if first.dtype.kind == "f"
        else first
        for name, first in parts[0].items()
    }


def _adapters(folder: Path, description: Mapping[str, Any], arrays: Arrays) -> list[Any]:
    """The run's adapters, but low-rank matrices only where they are not merged with the weights."""
    is_merged = not any(name.endswith("lora_A") for name in arrays)
    adapters = description.get("adapters", [])
    if not isinstance(adapters, list) or not all(isinstance(one, dict) for one in adapters):
        raise CheckpointError(f"{folder}: the description of the model: adapters {adapters!r}")
    return [one for one in adapters if not (is_merged and one.get("kind") == LowRank.kind)]


def _restored(folder: Path, name: str, description: Mapping[str, Any]) -> Any:
    home = import_module(find(name).home)
    if not hasattr(home, "restore"):
        raise CheckpointError(f"{folder}: a {name} cannot be restored from its run")
    try:
        return home.restore(description)
    except (KeyError, TypeError, ValueError, GraphcError) as error:
        raise CheckpointError(f"{folder}: the description of the model: {error}") from None
