"""The progress bar, and the lines printed beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, SupportsFloat

_REFRESH_SECONDS = 0.25


class Progress:
    """Prints lines; the base of the bar, and all there is where no bar is wanted."""

    def begin_epoch(self, epoch: int, epochs: int, done: int, total: int | None) -> None:
        """An epoch of `total` batches begins, `done` of them before."""

    def step(self, loss: SupportsFloat) -> None:
        """One more batch is done."""

    def print(self, line: str) -> None:
        print(line, flush=True)


class Bar(Progress):
    """A bar of the running epoch by rich, with the newest loss."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._task: Any = None
        self._read_at = 0.0

    def begin_epoch(self, epoch: int, epochs: int, done: int, total: int | None) -> None:
        if self._task is not None:
            self._display.remove_task(self._task)
        self._task = self._display.add_task(
            f"epoch {epoch}/{epochs}", total=total, completed=done, loss=""
        )

    def step(self, loss: SupportsFloat) -> None:
        fields = {}
        if monotonic() - self._read_at > _REFRESH_SECONDS:  # reading waits for the step
            fields["loss"] = f"loss {float(loss):.4f}"
            self._read_at = monotonic()
        self._display.update(self._task, advance=1, **fields)

    def print(self, line: str) -> None:
        self._display.console.print(line, markup=False, highlight=False)


@contextmanager
def show_progress(wanted: bool | None) -> Iterator[Progress]:
    """A bar where it is wanted; None: where the output is a terminal."""
    if not (sys.stdout.isatty() if wanted is None else wanted):
        yield Progress()
        return
    import rich.progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[loss]}"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, transient=True) as display:
        yield Bar(display)
