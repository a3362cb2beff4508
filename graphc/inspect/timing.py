"""Times of whole steps, of several programs in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_LONG_SECONDS = 0.1  # of a step that is timed without another before it, in its turn
_LEAST_ROUNDS = 3

Clock = Callable[[], float]


@dataclass(frozen=True)
class Times:
    """Seconds of a step, in the order they were taken."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        return min(self.seconds)


def race(
    steps: Mapping[str, Callable[[], object]], seconds: float, clock: Clock = time.perf_counter
) -> dict[str, Times]:
    """The times of each step, taken in rounds of about `seconds` in all.

    In each round every step has its turn, and the next round begins with another, so that a slow
    moment of the machine meets all alike. In its turn a step runs once to warm the caches, then
    three times, of which the median counts; a long one runs once.
    """
    found: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    lengths = {name: _timed(step, clock) for name, step in steps.items()}  # the first run warms up
    start = clock()
    while len(found[order[0]]) < _LEAST_ROUNDS or clock() - start < seconds:
        for name in order:
            found[name].append(_turn(steps[name], lengths[name], clock))
        order = [*order[1:], order[0]]
    return {name: Times(tuple(times)) for name, times in found.items()}


def _turn(step: Callable[[], object], length: float, clock: Clock) -> float:
    if length > _LONG_SECONDS:
        return _timed(step, clock)
    step()
    return statistics.median(_timed(step, clock) for _ in range(3))


def _timed(step: Callable[[], object], clock: Clock) -> float:
    start = clock()
    step()
    return clock() - start
