"""The checkpoints of one run: a folder of ``step-<number>.safetensors``, the last few kept."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from graphc.errors import ArgumentError, CheckpointError
from graphc.frontends.train.checkpoint import Array, load, save
from graphc.frontends.train.durable import remove_partial_files

_NAME = re.compile(r"step-(\d+)\.safetensors")


@dataclass(frozen=True)
class Refused:
    """A checkpoint that was not used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was read and checked, and the newer ones that were refused before it."""

    step: int
    path: Path
    arrays: dict[str, Array]
    metadata: dict[str, Any]
    refused: tuple[Refused, ...]


class Checkpoints:
    """Saves and finds the checkpoints of a run in `folder`; the newest `keep` stay.

    One process at a time may save; any number may load.
    """

    def __init__(self, folder: str | Path, keep: int = 3) -> None:
        if keep < 1:
            raise ArgumentError(f"keep is {keep}; expected at least 1 checkpoint to keep")
        self.folder = Path(folder).expanduser()
        self.keep = keep

    def paths(self) -> list[Path]:
        """The files of all checkpoints, the newest step first, unchecked."""
        found = [item for item in self.folder.glob("step-*") if _NAME.fullmatch(item.name)]
        return sorted(found, key=_step, reverse=True)

    def save(
        self, step: int, arrays: Mapping[str, ArrayLike], metadata: Mapping[str, Any] | None = None
    ) -> Path:
        """Save the checkpoint of a step, then remove those before the last `keep`.

        Raises CheckpointError where it cannot be written; all older ones then still stand.
        """
        if step < 0:
            raise ArgumentError(f"step is {step}; expected 0 or more")
        remove_partial_files(self.folder)
        path = self.folder / f"step-{step:010d}.safetensors"
        save(path, arrays, metadata)
        self._remove_older(step)
        return path

    def load_newest(self) -> Loaded | None:
        """The newest checkpoint that is whole; None where there is none at all.

        Cut and damaged ones are passed over and listed in `refused`. Raises CheckpointError naming
        all of them where none is whole.
        """
        refused: list[Refused] = []
        for path in self.paths():
            try:
                arrays, metadata = load(path)
            except CheckpointError as error:
                refused.append(Refused(path, str(error)))
                continue
            return Loaded(_step(path), path, arrays, metadata, tuple(refused))
        if refused:
            reasons = "; ".join(item.reason for item in refused)
            raise CheckpointError(f"{self.folder}: no checkpoint is whole: {reasons}")
        return None

    def _remove_older(self, step: int) -> None:
        """Keep the newest up to `step`; a later one, damaged and passed over, is not counted."""
        past = [path for path in self.paths() if _step(path) <= step]
        for path in past[self.keep :]:
            with suppress(OSError):  # one that cannot be removed only takes space
                os.unlink(path)


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1
