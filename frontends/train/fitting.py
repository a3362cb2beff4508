"""The loop of one `Trainer.fit`: epochs, validation, checkpoints, stopping and going on."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, SupportsFloat

from graphc.errors import ArgumentError, CheckpointError, DataError
from graphc.frontends.train.callbacks import Callback
from graphc.frontends.train.data.loader import Loader
from graphc.frontends.train.description import write_description
from graphc.frontends.train.evaluation import as_arrays
from graphc.frontends.train.logs import Record, epoch_line
from graphc.frontends.train.progress import Progress
from graphc.frontends.train.protocol import Arrays
from graphc.frontends.train.runs import RunFolder, RunState, callback_states
from graphc.frontends.train.signals import Stopped, StopRequest

if TYPE_CHECKING:
    from graphc.frontends.train.trainer import Trainer

Batches = Iterable[Any]
_UNREAD_LOSSES = 64  # steps that may be on their way before the oldest loss is waited for


@dataclass
class Fit:
    """One call of `Trainer.fit`; the trainer holds what outlives it."""

    trainer: Trainer
    loader: Batches
    epochs: int
    validation: Batches | None
    folder: RunFolder | None
    save_every: int | None
    bar: Progress
    request: StopRequest
    verbose: bool
    losses: deque[SupportsFloat] = field(default_factory=deque)
    resumed_at: float = 0.0

    @property
    def state(self) -> RunState:
        return self.trainer.state

    def run(self, resume: bool) -> None:
        """Train to the end; `resume` begins with the folder's newest checkpoint."""
        if resume:
            self._load()
        else:
            self._refuse_overwriting()
        if self.folder is not None:
            self.folder.log.write(self.state.history)
            write_description(self.folder.path, self.trainer.step.model)
        if not self.state.place:
            self._note_first_place()
        self.trainer.is_begun, self.trainer.is_stopping = True, False
        self.trainer.is_validating = self.validation is not None
        try:
            self._each_callback(lambda callback: callback.on_fit_begin(self.trainer))
            while self.state.epoch < self.epochs and not self.trainer.is_stopping:
                self._epoch()
            self._leave_on_signal()
        finally:
            self._each_callback(lambda callback: callback.on_fit_end(self.trainer))

    def _refuse_overwriting(self) -> None:
        if self.folder is not None and not self.trainer.is_begun and self.folder.holds_run():
            raise ArgumentError(
                f"{self.folder.path}: holds a run already; resume it or choose another folder"
            )

    # An epoch

    def _epoch(self) -> None:
        self._leave_on_signal()
        self.resumed_at = perf_counter()
        self._announce()
        for batch in self._batches():
            self._step(batch)
            self._leave_on_signal()
            if self.trainer.is_stopping:
                self._save()
                return
        self._finish_epoch()

    def _announce(self) -> None:
        total = len(self.loader) if isinstance(self.loader, Sized) else None
        self.bar.begin_epoch(self.state.epoch + 1, self.epochs, self.state.position, total)

    def _batches(self) -> Iterator[Arrays]:
        """What is left of the epoch. A `Loader` knows its place; of others the start is skipped."""
        skipped = self.state.position
        if isinstance(self.loader, Loader) and skipped:
            self.loader.load_state_dict(self.state.place)
            skipped = 0
        return (as_arrays(batch) for batch in itertools.islice(iter(self.loader), skipped, None))

    def _step(self, batch: Arrays) -> None:
        loss = self.trainer.step(*batch)
        self.losses.append(loss)
        if len(self.losses) > _UNREAD_LOSSES:
            self.state.loss_sum += float(self.losses.popleft())
        self.state.step += 1
        self.state.position += 1
        self._note_place()
        self.bar.step(loss)
        self._each_callback(lambda callback: callback.on_step_end(self.trainer, loss))
        if self.save_every is not None and self.state.step % self.save_every == 0:
            self._save()

    def _finish_epoch(self) -> None:
        self._read_losses()
        record = self._record()
        self.trainer.state = RunState(
            epoch=self.state.epoch + 1,
            step=self.state.step,
            history=[*self.state.history, record],
        )
        self._note_place()
        self._each_callback(lambda callback: callback.on_epoch_end(self.trainer, record))
        if self.folder is not None:
            self.folder.log.append(self.state.history)
        self._save()
        if self.verbose:
            self.bar.print(epoch_line(record, self.epochs))

    def _record(self) -> Record:
        state = self.state
        if not state.position:
            raise DataError(
                "the loader gives no batches to train on (a generator gives its batches only once)"
            )
        validated = self._validate()
        return {
            "epoch": state.epoch + 1,
            "step": state.step,
            "loss": state.loss_sum / state.position,
            **{f"validation_{name}": value for name, value in validated.items()},
            "seconds": state.seconds + perf_counter() - self.resumed_at,
        }

    def _validate(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        return self.trainer.evaluator.evaluate(
            self.validation, self.trainer.metrics, self._leave_on_signal
        )

    def _read_losses(self) -> None:
        """Add the losses that are still on their way, in the order of their steps."""
        while self.losses:
            self.state.loss_sum += float(self.losses.popleft())

    # Saving, loading, leaving

    def _note_first_place(self) -> None:
        if isinstance(self.loader, Loader):
            self.loader.leave_iteration()
            self._note_place()

    def _note_place(self) -> None:
        """Keep the loader's place as of the last step: at an epoch's end it moves on by itself."""
        if isinstance(self.loader, Loader):
            self.state.place = self.loader.state_dict()

    def _save(self) -> Path | None:
        """Save a checkpoint of this moment, where there is a folder for it."""
        self._read_losses()
        if self.folder is None:
            return None
        fields = self.state.to_json()
        if self.state.position:
            fields["seconds"] += perf_counter() - self.resumed_at
        metadata = {
            "trainer": fields,
            "callbacks": callback_states(self.trainer.callbacks),
        }
        return self.folder.checkpoints.save(
            self.state.step, self.trainer.step.state_dict(), metadata
        )

    def _load(self) -> None:
        found = self.folder.checkpoints.load_newest() if self.folder is not None else None
        if found is None:
            return
        for refused in found.refused:
            print(f"refused {refused.reason}", file=sys.stderr, flush=True)
        self.trainer.state = RunState.from_json(found.metadata.get("trainer"), str(found.path))
        self.trainer.step.load_state_dict(found.arrays)
        self._load_loader(found.path)
        states = found.metadata.get("callbacks") or {}
        for name, callback in self.trainer.callbacks.items():
            if name in states:
                callback.load_state_dict(states[name])
        if self.verbose:
            self.bar.print(f"resumed {found.path} (step {found.step})")

    def _load_loader(self, path: Path) -> None:
        if not isinstance(self.loader, Loader):
            return
        if not self.state.place:
            raise CheckpointError(f"{path}: was saved without a Loader, so the order is not known")
        self.loader.load_state_dict(self.state.place)

    def _leave_on_signal(self) -> None:
        if self.request.signal is None:
            return
        path = self._save()
        stopped = Stopped(self.request.signal, path)
        saved = f"saved {path}" if path else "nothing saved, since there is no folder"
        self.bar.print(f"stopped by {stopped.signal.name} after step {self.state.step}; {saved}")
        raise stopped

    def _each_callback(self, call: Callable[[Callback], None]) -> None:
        for callback in self.trainer.callbacks.values():
            call(callback)
