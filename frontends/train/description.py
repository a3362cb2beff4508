"""What a run trains, as JSON beside its checkpoints, so that the folder alone is enough to use it.

`Trainer.fit` writes `model.json`: what the model's `run_description()` gives, a dict of JSON
values, where it has one, and the adapters that are on the model. Ready models put their name under
"model"; `graphc.models.saved` restores them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graphc.errors import CheckpointError
from graphc.frontends.nn.adapters.state import adapter_config
from graphc.frontends.nn.module import Module
from graphc.frontends.train.durable import make_folder, replace_file

FILE = "model.json"


def write_description(folder: Path, model: Any) -> None:
    """Write the description of a model that has one, or adapters.

    Raises CheckpointError where it cannot.
    """
    describe = getattr(model, "run_description", None)
    adapters = adapter_config(model) if isinstance(model, Module) else []
    if describe is None and not adapters:
        return
    target = folder / FILE
    try:
        own = {} if describe is None else describe()
        description = {**own, **({"adapters": adapters} if adapters else {})}
        text = json.dumps(description, sort_keys=True)
        make_folder(folder)
        replace_file(target, [text.encode(), b"\n"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{target}: the model's description is no JSON: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{target}: cannot be written: {error.strerror or error}") from error


def read_description(folder: Path) -> dict[str, Any]:
    """The description in a run's folder. Raises CheckpointError where there is none."""
    source = folder / FILE
    try:
        found = json.loads(source.read_text())
    except OSError as error:
        raise CheckpointError(
            f"{folder}: is no run of a model that can be restored: {FILE}: "
            f"{error.strerror or error}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{source}: is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{source}: is no description of a model")
    return found
