"""Seconds to compile each ready model's training step, and its arena beside the lower bound.

GRAPHC_CACHE=$(mktemp -d) python bench/compile_times.py     (empty cache; again for warm)
"""

from __future__ import annotations

import time

import graphc.backends.llvm.program  # imports apart from what is timed
import graphc.compiler  # noqa: F401 - the same
from graphc import target
from graphc.models.registry import MODELS


def main() -> None:
    target.host()
    for name, model in MODELS.items():
        step, *_ = model.make()
        start = time.perf_counter()
        memory = step.compile().memory
        seconds = time.perf_counter() - start
        ratio = memory.arena_bytes / memory.lower_bound_bytes
        print(
            f"{name:10} {seconds:6.2f} s  arena/bound {ratio:.7f}  peak {memory.peak_bytes} bytes"
        )


if __name__ == "__main__":
    main()
