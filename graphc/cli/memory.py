"""`graphc memory`: the memory of a training step, known before anything of it is allocated."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from graphc.cli.loading import load
from graphc.compiler import memory_of
from graphc.errors import MemoryBudgetError
from graphc.frontends.compile import pipeline
from graphc.inspect.memory_report import memory_report
from graphc.planning.memory_plan import MemoryPlan


def memory(options: argparse.Namespace) -> None:
    """Print the report.

    Raises MemoryBudgetError where the peak is above the limit, which says what a memory budget of
    that size would reach.
    """
    step = load(options).step
    plan_of = partial(
        memory_of,
        step.graph,
        backend=step.backend,
        threads=step.threads,
        passes=pipeline(step.fuse, step.passes),
    )
    plan = plan_of()
    print(memory_report(plan, options.rows))
    limit_bytes = options.max_memory
    if limit_bytes is not None and plan.peak_bytes > limit_bytes:
        raise MemoryBudgetError(
            f"{options.model} needs {plan.peak_bytes} bytes, the limit is {limit_bytes}; "
            f"{_reached(plan_of, limit_bytes)}"
        )


def _reached(plan_of: Callable[..., MemoryPlan], limit_bytes: int) -> str:
    """What a memory budget of the limit's size comes to."""
    try:
        reached = plan_of(memory_budget=limit_bytes).peak_bytes
    except MemoryBudgetError as error:
        return f"as a memory budget it is out of reach: {error}"
    return f"memory_budget={limit_bytes} brings it to {reached}, at the cost of time"
