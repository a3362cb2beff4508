"""Ctrl-C and SIGTERM while training: finish the running step, save, and leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """Training was stopped by a signal after a whole step, and saved where it has a folder.

    Uncaught it ends the process with 128 + the signal's number and no traceback, as a shell shows
    it: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: int, checkpoint: Path | None) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)
        self.checkpoint = checkpoint


class StopRequest:
    """The first signal that came, None before."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; a Ctrl-C after that interrupts at once."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Note SIGINT and SIGTERM instead of dying of them; the old handlers come back at the end.

    Does nothing outside the main thread, which alone may set handlers, and to ignored signals.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[signal.Signals, Any] = {}
    try:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, request.handle)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
