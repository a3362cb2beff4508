"""What every framework's process does: it reads requests, a line each, and answers in JSON.

losses N        the losses of the next N steps
time SECONDS    the times of as many steps as fit, at least 3, in seconds each
peak            the greatest resident size of the process so far, in bytes
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable


def serve(step: Callable[[], float], extra: dict[str, Callable[[], object]] | None = None) -> None:
    """Answer requests until the input ends. `step` runs one step and gives its loss."""
    more = extra or {}
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request, *arguments = line.split()
        if request == "losses":
            answer: object = [step() for _ in range(int(arguments[0]))]
        elif request == "time":
            answer = timed(step, float(arguments[0]))
        elif request == "peak":
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        else:
            answer = more[request]()
        print(json.dumps(answer), flush=True)


def timed(step: Callable[[], float], seconds: float) -> list[float]:
    """The times of single steps; the first, after the pause, is left out."""
    step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times
