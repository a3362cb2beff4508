"""The trainer: what a user says about training, evaluation and prediction."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from graphc.errors import ArgumentError
from graphc.frontends.train.callbacks import Callback
from graphc.frontends.train.evaluation import Evaluator
from graphc.frontends.train.fitting import Fit
from graphc.frontends.train.logs import Record
from graphc.frontends.train.metrics import Metric, named
from graphc.frontends.train.progress import show_progress
from graphc.frontends.train.protocol import TrainStep
from graphc.frontends.train.runs import RunFolder, RunState
from graphc.frontends.train.signals import stop_on_signals

Batches = Iterable[Any]


class Trainer:
    """Trains, evaluates and predicts with a train step.

    `out` is a folder for checkpoints and metrics.csv; without it nothing is written. A metric is a
    traceable function (model, *batch) -> one value per example; its mean over the validation data
    is reported under the function's name. One that needs Python, such as an error rate of decoded
    text, is a `graphc.metrics.Decoded`.
    """

    def __init__(
        self,
        step: TrainStep,
        out: str | Path | None = None,
        metrics: Sequence[Metric] = (),
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.step = step
        self.out = None if out is None else Path(out).expanduser()
        self.metrics = named(metrics)
        self.callbacks = _named_callbacks(callbacks)
        self.state = RunState()
        self.evaluator = Evaluator(step)
        self.is_stopping = False
        self.is_validating = False  # whether `fit` has validation data
        self.is_begun = False  # whether the state is that of a run

    @property
    def history(self) -> list[Record]:
        """One record per epoch: epoch, step, loss, validation_loss, validation_..., seconds."""
        return self.state.history

    def record_names(self) -> tuple[str, ...]:
        """What the records of the running `fit` hold."""
        measured = ("loss", *self.metrics) if self.is_validating else ()
        return ("epoch", "step", "loss", *(f"validation_{name}" for name in measured), "seconds")

    def stop(self) -> None:
        """End `fit` after the running step or epoch; for callbacks."""
        self.is_stopping = True

    def fit(
        self,
        loader: Batches,
        epochs: int,
        validation: Batches | None = None,
        *,
        resume: bool = False,
        save_every: int | None = None,
        keep: int = 3,
        progress: bool | None = None,
        verbose: bool = True,
    ) -> list[Record]:
        """Train until `epochs` epochs are done in all, and return the history.

        With `out` there is a checkpoint after every epoch, and after every `save_every` steps; the
        last `keep` stay. `resume` goes on from the newest whole one, bit for bit, and starts afresh
        where there is none; a folder that holds a run is refused without it. A second call on the
        same trainer goes on, too. SIGINT and SIGTERM let the running step finish, save and raise
        `Stopped`; a second Ctrl-C interrupts at once. `progress` shows a bar (None: on a terminal),
        `verbose` prints a line per epoch.

        Raises ArgumentError for a folder in use, CheckpointError where all checkpoints are broken
        or one cannot be written, DataError where the loader gives nothing.
        """
        if epochs < 0:
            raise ArgumentError(f"fit: epochs is {epochs}, expected 0 or more")
        if save_every is not None and save_every < 1:
            raise ArgumentError(f"fit: save_every is {save_every}, expected 1 or more")
        if resume and self.out is None:
            raise ArgumentError("fit: resume needs a Trainer with out, the folder of the run")
        folder = None if self.out is None else RunFolder(self.out, keep)
        with ExitStack() as stack:
            if folder is not None:
                stack.enter_context(folder.locked())
            bar = stack.enter_context(show_progress(progress))
            request = stack.enter_context(stop_on_signals())
            fit = Fit(self, loader, epochs, validation, folder, save_every, bar, request, verbose)
            fit.run(resume)
        return self.history

    def evaluate(self, loader: Batches) -> dict[str, float]:
        """The mean loss and the mean of every metric over all examples, in evaluation mode."""
        return self.evaluator.evaluate(loader, self.metrics)

    def predict(self, loader: Batches, inputs: int | None = None) -> Any:
        """``model(*x)`` for every example, in the data set's order.

        x is the first `inputs` arrays of a batch: None means as many as the model's `forward`
        needs. `loader` may also be a data set, an array x[N, ...], or any batches. The result has
        the structure of the model's: an array, or a tuple, list or dict of arrays; of a step with
        buckets it is a list of such, one for each example.

        Raises DataError for batches of fewer arrays, and where there are no examples.
        """
        return self.evaluator.predict(loader, inputs)


def _named_callbacks(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Callbacks by their types' names, numbered where there are several of one."""
    found: dict[str, Callback] = {}
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise ArgumentError(f"a callback is made from graphc's Callback, not {callback!r}")
        kind = type(callback).__name__
        numbers = (kind if count == 1 else f"{kind}-{count}" for count in itertools.count(1))
        found[next(name for name in numbers if name not in found)] = callback
    return found
