"""The folder of one training run: checkpoints, the log, and a lock while it is trained."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from graphc.errors import ArgumentError, CheckpointError
from graphc.frontends.train.checkpoints import Checkpoints
from graphc.frontends.train.durable import make_folder
from graphc.frontends.train.logs import CsvLog, Record


@dataclass
class RunState:
    """Where a run stands."""

    epoch: int = 0  # whole epochs done
    step: int = 0  # steps done, in all
    position: int = 0  # batches of the current epoch done
    loss_sum: float = 0.0  # of the current epoch's batches
    seconds: float = 0.0  # spent on the current epoch
    place: dict[str, int] = field(default_factory=dict)  # the loader's, as of the last step
    history: list[Record] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Any, name: str) -> RunState:
        """The state in a checkpoint called `name`; raises CheckpointError where it has none."""
        try:
            return cls(**{key: type(value)(fields[key]) for key, value in asdict(cls()).items()})
        except (TypeError, KeyError, ValueError):
            raise CheckpointError(f"{name}: holds no state of a training run") from None


class RunFolder:
    """``checkpoints/`` and ``metrics.csv`` under one folder."""

    def __init__(self, path: Path, keep: int) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints", keep)
        self.log = CsvLog(path / "metrics.csv")

    def holds_run(self) -> bool:
        return bool(self.checkpoints.paths()) or self.log.path.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training into the folder; the lock dies with the process."""
        try:
            make_folder(self.path)
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ArgumentError(f"{self.path}: no folder to train into: {error.strerror}") from None
        try:
            self._lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArgumentError(f"{self.path}: another process is training into it") from None
        except OSError:  # a file system without locks
            return


def callback_states(callbacks: Mapping[str, Any]) -> dict[str, Any]:
    """The states of callbacks by name, without the empty ones."""
    states = {name: callback.state_dict() for name, callback in callbacks.items()}
    return {name: state for name, state in states.items() if state}
