"""Callbacks: what a user hangs into training, and the ones most runs want."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat

from graphc.errors import ArgumentError
from graphc.frontends.train.checkpoint import save

if TYPE_CHECKING:
    from graphc.frontends.train.trainer import Trainer

Mode = Literal["min", "max"]


class Callback:
    """Called at four points of `Trainer.fit`; every method may be left as it is.

    One with state of its own gives it in `state_dict` as JSON values: it is saved with the
    checkpoints, so that a resumed run goes on as if never stopped.
    """

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first step, after a checkpoint was loaded."""

    def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
        """After a step; reading `loss` waits for it."""

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """After an epoch and its validation, before its checkpoint."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """At the end, also where training was stopped or failed."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a `state_dict`."""


class _Monitor(Callback):
    """Watches one value of the epochs' records for its best."""

    def __init__(self, monitor: str, mode: Mode, minimum_change: float = 0.0) -> None:
        if mode not in ("min", "max") or not minimum_change >= 0:
            raise ArgumentError(
                f"{type(self).__name__}: mode is {mode!r}, expected 'min' or 'max'; "
                f"minimum_change is {minimum_change}, expected 0 or more"
            )
        self.monitor = monitor
        self.mode = mode
        self.minimum_change = minimum_change
        self.best: float | None = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Raises ArgumentError for a value that no record will have, before anything runs."""
        known = trainer.record_names()
        if self.monitor not in known:
            raise ArgumentError(
                f"{type(self).__name__}: an epoch has no {self.monitor!r}; it has "
                f"{', '.join(known)} (validation values need a validation loader)"
            )

    def improved(self, record: dict[str, float]) -> bool:
        """Whether the record has a new best, which is then kept; a NaN never is one."""
        value = record[self.monitor]
        if math.isnan(value) or (self.best is not None and self._gain(value) <= 0):
            return False
        self.best = value
        return True

    def _gain(self, value: float) -> float:
        assert self.best is not None
        better = self.best - value if self.mode == "min" else value - self.best
        return better - self.minimum_change

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state.get("best")


class EarlyStopping(_Monitor):
    """Stops training when `monitor` has not improved by `minimum_change` for `patience` epochs."""

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 3,
        minimum_change: float = 0.0,
        mode: Mode = "min",
    ) -> None:
        super().__init__(monitor, mode, minimum_change)
        if patience < 1:
            raise ArgumentError(f"EarlyStopping: patience is {patience}, expected 1 or more")
        self.patience = patience
        self.waited = 0

    def on_fit_begin(self, trainer: Trainer) -> None:
        super().on_fit_begin(trainer)
        self._stop_when_due(trainer)  # a run that was stopped early stays so when resumed

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        self.waited = 0 if self.improved(record) else self.waited + 1
        self._stop_when_due(trainer)

    def _stop_when_due(self, trainer: Trainer) -> None:
        if self.waited >= self.patience:
            trainer.stop()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.waited = int(state.get("waited", 0))


class SaveBest(_Monitor):
    """Saves the step's state to `path` whenever `monitor` is better than ever before.

    `path` is ``best.safetensors`` in the run's folder unless given; `graphc.checkpoint.load`
    reads it.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        monitor: str = "validation_loss",
        mode: Mode = "min",
    ) -> None:
        super().__init__(monitor, mode)
        self.path = path

    def on_fit_begin(self, trainer: Trainer) -> None:
        if self.path is None and trainer.out is None:
            raise ArgumentError("SaveBest: give a path, or the Trainer an out")
        super().on_fit_begin(trainer)

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        if self.improved(record):
            save(self._target(trainer), trainer.step.state_dict(), {"record": record})

    def _target(self, trainer: Trainer) -> Path:
        if self.path is not None or trainer.out is None:
            return Path(self.path or "best.safetensors")
        return trainer.out / "best.safetensors"
