"""Objects of many modules at once, with the help of other processes.

Texts are made in this process, one after the other, and put in a line. Helpers take from its
front while more are made; at the end this process takes part. What a helper does not answer, this
process does itself: a helper may be missing, refuse or die, and only time is lost.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue

from graphc import settings
from graphc.target import Target

from . import assembler
from .engine import generate

_MODULES_EACH = 30  # it takes so many to pay for starting a helper: about 0.2 s

Line = SimpleQueue["tuple[int, str] | None"]


def generate_all(texts: Iterable[str], count: int, target: Target) -> list[bytes]:
    """The objects of `count` modules. Raises CompileError where LLVM refuses one."""
    line: Line = SimpleQueue()
    found: dict[int, bytes] = {}
    helpers = [_Helper(line, found, target) for _ in range(_helper_count(count))]
    kept = []
    try:
        for job in enumerate(texts):
            kept.append(job[1])
            line.put(job)
        line.put(None)
        while (taken := line.get()) is not None:
            found[taken[0]] = generate(taken[1], target)
    finally:
        line.put(None)  # again: whoever takes the end of the line puts it back
        for helper in helpers:
            helper.join()
    return [found[n] if n in found else generate(text, target) for n, text in enumerate(kept)]


def _helper_count(modules: int) -> int:
    return min(settings.helpers(), modules // _MODULES_EACH) if _python() else 0


def _python() -> str | None:
    """The interpreter, where this process is one: a frozen program would start itself."""
    name = Path(sys.executable or "").name
    is_python = name.startswith("python") and not getattr(sys, "frozen", False)
    return sys.executable if is_python else None


class _Helper(threading.Thread):
    """A process, and the thread that feeds it from the line until the line ends."""

    def __init__(self, line: Line, found: dict[int, bytes], target: Target) -> None:
        super().__init__(daemon=True, name="graphc-helper")
        self.line, self.found, self.target = line, found, target
        self.start()

    def run(self) -> None:
        try:
            with _start() as process:
                try:
                    self._feed(process)
                finally:
                    process.kill()
        except OSError:
            return  # it could not be started, or is gone

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        source, answers = process.stdin, process.stdout
        assert source is not None and answers is not None
        target = (self.target.triple, self.target.cpu, self.target.features)
        assembler.send(source, json.dumps(target).encode())
        while (job := self.line.get()) is not None:
            assembler.send(source, job[1].encode())
            code = assembler.receive(answers)
            if not code:
                return
            self.found[job[0]] = code
        self.line.put(None)


def _start() -> subprocess.Popen[bytes]:
    import llvmlite

    folder = str(Path(llvmlite.__file__).parent.parent)
    return subprocess.Popen(
        [str(_python()), "-I", assembler.__file__, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
