"""What benches of single functions share: the fastest call, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any


def least(call: Callable[[], Any], threads: int, seconds: float = 1.5) -> float:
    """Milliseconds of the fastest call; with one thread those of the processor, not the clock."""
    clock = time.process_time if threads == 1 else time.perf_counter
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = clock()
        call()
        best = min(best, clock() - start)
    return best * 1e3


def in_process(bench: str, python: str, row: str, threads: int, kind: str) -> dict[str, float]:
    """What the module `bench` prints of a row, measured by that Python in a process of its own."""
    command = [python, "-m", bench, "--measure", kind, "--row", row, "--threads", str(threads)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    values: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return values
