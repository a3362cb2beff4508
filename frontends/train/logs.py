"""What a run leaves to read: metrics.csv, a printed line for each epoch, TensorBoard's events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from graphc.errors import ArgumentError, GraphcError
from graphc.frontends.train.callbacks import Callback
from graphc.frontends.train.durable import append_line, make_folder, replace_file

if TYPE_CHECKING:
    from graphc.frontends.train.trainer import Trainer

Record = dict[str, float]
"""One epoch: epoch, step (both counted from 1), loss, validation_..., seconds."""

_FIRST, _LAST = ("epoch", "step", "loss"), ("seconds",)  # columns of a table


class CsvLog:
    """A CSV file with one line per epoch; numbers in full, so that they read back equal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: tuple[str, ...] = ()

    def write(self, history: Iterable[Record]) -> None:
        """Make the file hold exactly `history`: whole or not at all, none where it is empty.

        Raises GraphcError where the disk refuses, as does `append`.
        """
        records = list(history)
        self._columns = _columns(records)
        lines = [",".join(self._columns), *(self._line(record) for record in records)]
        with self._writing():
            if not records:
                self.path.unlink(missing_ok=True)
                return
            make_folder(self.path.parent)
            replace_file(self.path, ["".join(f"{line}\n" for line in lines).encode()])

    def append(self, history: list[Record]) -> None:
        """Add the last record of `history`; written anew where it brings other columns."""
        if self._columns != _columns(history) or not self.path.exists():
            self.write(history)
            return
        with self._writing():
            append_line(self.path, self._line(history[-1]))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise GraphcError(f"{self.path}: cannot be written: {reason}") from error

    def _line(self, record: Record) -> str:
        return ",".join(repr(record[name]) if name in record else "" for name in self._columns)


def _columns(history: Iterable[Record]) -> tuple[str, ...]:
    """All names, in one order: a resumed run has its first records from JSON, in another one."""
    names = {name for record in history for name in record}
    rest = sorted(names - {*_FIRST, *_LAST})
    return tuple(name for name in (*_FIRST, *rest, *_LAST) if name in names)


def epoch_line(record: Record, epochs: int) -> str:
    """The line that is printed after an epoch.

    >>> epoch_line({"epoch": 2, "step": 40, "loss": 0.51234, "validation_accuracy": 0.9,
    ...             "seconds": 1.26}, 10)
    'epoch  2/10  loss 0.5123  validation accuracy 0.9000  1.3 s'
    """
    width = len(str(epochs))
    values = [
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in record.items()
        if name not in ("epoch", "step", "seconds")
    ]
    head = f"epoch {int(record['epoch']):{width}d}/{epochs}"
    return "  ".join([head, *values, f"{record['seconds']:.1f} s"])


class TensorBoard(Callback):
    """Writes event files that TensorBoard reads: every value of an epoch, at its step.

    `folder` is ``tensorboard`` in the run's folder unless given; `every` also writes the loss of
    every that many steps. Needs the extra ``tensorboard``.
    """

    def __init__(self, folder: str | Path | None = None, every: int | None = None) -> None:
        self._folder = folder
        self._every = every
        self._writer: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        folder = self._folder or (trainer.out / "tensorboard" if trainer.out else None)
        if folder is None:
            raise ArgumentError("TensorBoard: give a folder, or the Trainer an out")
        self._writer = _event_writer(Path(folder))
        if trainer.state.step:  # a reader then forgets what a killed run wrote after this step
            self._add(trainer.state.step + 1, session_log=_session_start())

    def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
        if self._every and trainer.state.step % self._every == 0:
            self._scalars(trainer.state.step, {"step_loss": float(loss)})

    def on_epoch_end(self, trainer: Trainer, record: Record) -> None:
        values = {name: value for name, value in record.items() if name != "step"}
        self._scalars(trainer.state.step, values)
        self._writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        entries = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, summary=Summary(value=entries))

    def _add(self, step: int, **content: Any) -> None:
        import time

        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, **content))


def _event_writer(folder: Path) -> Any:
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise ArgumentError(
            "TensorBoard logs need the extra 'tensorboard': pip install 'graphc[tensorboard]' "
            f"({error})"
        ) from None
    return EventFileWriter(str(folder))


def _session_start() -> Any:
    from tensorboard.compat.proto.event_pb2 import SessionLog

    return SessionLog(status=SessionLog.START)
