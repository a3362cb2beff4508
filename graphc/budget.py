"""A program within a memory budget: a bounded search over how much is computed again.

    peak = state, inputs, outputs, constants + arena + scratch of the threads     <= budget

Only the arena can give way. Each try asks the pass `remat` for the share of the live bytes that
would fit, lowers and plans; the plan says what came of it, and the next try asks for as much less
as was missing. Where there are loops, the other way to differentiate them is tried as well, which
keeps only what each iteration starts from. Code is generated for what fits alone, and what was
found is kept beside the programs.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np

from graphc.errors import ArgumentError, MemoryBudgetError
from graphc.inspect.memory_report import by_line
from graphc.planning.memory_plan import MemoryPlan
from graphc.planning.text import format_bytes
from graphc.runtime.compiled import Compiled

MOST_TRIES = 4
_LEAST_STEP = 3  # percent from try to try: one of less often brings the same
_MOST_LINES = 5  # of the model, in an error


class Way(Protocol):
    """A compilation on its way; see `graphc.compiler`."""

    def plan(self) -> MemoryPlan: ...

    def result(self) -> Compiled: ...

    def with_less_memory(self: _Way, percent: int) -> _Way: ...

    def alternatives(self: _Way) -> tuple[_Way, ...]: ...

    def remembered(self: _Way, budget: str) -> _Way | None: ...

    def remember(self: _Way, budget: str, chosen: _Way) -> None: ...


_Way = TypeVar("_Way", bound=Way)


def within_budget(way: _Way, budget_bytes: int | None, threads: int) -> tuple[_Way, Compiled]:
    """The way that was taken, and its result, of a peak of at most the budget (None: any).

    What was found before is taken again with no search. Raises MemoryBudgetError with the least
    peak that was reached, ArgumentError for a budget that is no number of bytes.
    """
    if budget_bytes is None:
        return way, way.result()
    _expect_bytes(budget_bytes)
    name = f"{budget_bytes} bytes, {threads} threads"
    known = way.remembered(name)
    if known is not None:
        compiled = known.result()
        if compiled.plan.with_threads(threads).peak_bytes <= budget_bytes:
            return known, compiled
    found = _Search(way, budget_bytes, threads).run(way)
    way.remember(name, found[0])
    return found


def _expect_bytes(budget: object) -> None:
    """Raises ArgumentError for what is no number of bytes."""
    if not isinstance(budget, int | np.integer) or isinstance(budget, bool) or budget <= 0:
        raise ArgumentError(
            f"memory_budget is {budget!r}, expected a whole number of bytes above 0, or None"
        )


class _Search:
    def __init__(self, way: Way, budget_bytes: int, threads: int) -> None:
        self.budget_bytes = budget_bytes
        self.threads = threads
        self.whole = self.least = way.plan().with_threads(threads)
        self.scratch_bytes = self.whole.scratch_bytes

    def run(self, way: _Way) -> tuple[_Way, Compiled]:
        compiled = self._fitting(way, self.whole)
        if compiled is not None:
            return way, compiled
        others = way.alternatives()
        tries = MOST_TRIES // (1 + len(others))
        found = self._descend(way, self.whole, tries)
        for other in others if found is None else ():
            plan = other.plan()
            compiled = self._fitting(other, plan)
            if compiled is not None:
                return other, compiled
            found = found or self._descend(other, plan, tries - 1)
        if found is None:
            raise self._error()
        return found

    def _descend(self, way: _Way, plan: MemoryPlan, tries: int) -> tuple[_Way, Compiled] | None:
        """The way with as much computed again as it takes; None: the tries are over."""
        percent = 100
        for left in reversed(range(tries)):
            percent = self._next(percent, plan, is_last=left == 0)
            trial = way.with_less_memory(percent)
            plan = trial.plan()
            compiled = self._fitting(trial, plan)
            if compiled is not None:
                return trial, compiled
            if percent == 0:
                break
        return None

    def _fitting(self, way: Way, plan: MemoryPlan) -> Compiled | None:
        """The result, where it fits; the scratch is known once there is code."""
        self.least = min(self.least, plan, key=lambda found: found.arena_bytes)
        if self._peak(plan) > self.budget_bytes:
            return None
        compiled = way.result()
        self.scratch_bytes = max(self.scratch_bytes, compiled.plan.scratch_bytes)
        return compiled if self._peak(compiled.plan) <= self.budget_bytes else None

    def _next(self, percent: int, plan: MemoryPlan, is_last: bool) -> int:
        """The share of the peak to try after one whose plan was too large."""
        room = plan.arena_bytes - (self._peak(plan) - self.budget_bytes)
        stuck = percent < 100 and plan.arena_bytes > self.least.arena_bytes
        if is_last or room <= 0 or stuck:
            return 0
        step = _LEAST_STEP if percent < 100 else 1
        return max(min(percent - step, percent * room // plan.arena_bytes), 0)

    def _peak(self, plan: MemoryPlan) -> int:
        """The peak with all the scratch that is known of."""
        missing = max(self.scratch_bytes - plan.scratch_bytes, 0)
        return plan.with_threads(self.threads).peak_bytes + missing * self.threads

    def _error(self) -> MemoryBudgetError:
        least = self._peak(self.least)
        text = f"{self.whole.name} needs {self._peak(self.whole)} bytes"
        if least < self._peak(self.whole):
            text += f", {least} with all computed again that may be"
        return MemoryBudgetError(
            f"{text}; the budget is {self.budget_bytes}. Held at the peak: {_held(self.least)}"
        )


def _held(plan: MemoryPlan) -> str:
    resident = sum(buffer.bytes for buffer in plan.resident)
    parts = [f"{format_bytes(resident)} of state, inputs and outputs"]
    parts += [f"{format_bytes(count)} by {line}" for line, count, _ in by_line(plan)[:_MOST_LINES]]
    return ", ".join(parts)
