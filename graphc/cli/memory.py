"""`graphc memory`: the memory of a training step, known before anything of it is allocated."""

from __future__ import annotations

import argparse
from typing import Any

from graphc.compiler import memory_of
from graphc.errors import MemoryBudgetError
from graphc.frontends.compile import pipeline
from graphc.inspect.memory_report import memory_report


def memory(options: argparse.Namespace, step: Any) -> None:
    """Print the report. Raises MemoryBudgetError where the peak is above the limit."""
    plan = memory_of(
        step.graph,
        backend=step.backend,
        threads=step.threads,
        passes=pipeline(step.fuse, step.passes),
    )
    print(memory_report(plan, options.rows))
    limit_bytes = options.max_memory
    if limit_bytes is not None and plan.peak_bytes > limit_bytes:
        raise MemoryBudgetError(
            f"{options.model} needs {plan.peak_bytes} bytes, the limit is {limit_bytes}"
        )
