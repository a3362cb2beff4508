"""The processes that are measured: one for each framework and variant, kept for a whole row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
IMAGES = frozenset({"cifar-cnn", "resnet20"})  # twins whose layout channels_last changes
# glibc keeps freed memory instead of giving it back to the system after every step.
KEPT_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_MMAP_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass(frozen=True)
class Variant:
    """How a framework is run.

    python     the interpreter that has it
    module     its worker under bench/peers
    option     what the worker is told
    """

    name: str
    python: str
    module: str
    option: str = "-"
    environment: dict[str, str] = field(default_factory=dict)
    images_only: bool = False


def variants(torch: str | None, jax: str | None) -> list[Variant]:
    """graphc and all of the peers whose interpreters are given."""
    found = [Variant("graphc", sys.executable, "graphc_worker")]
    if torch is not None:
        worker = "torch_worker"
        found += [
            Variant("torch eager", torch, worker, "eager"),
            Variant("torch kept memory", torch, worker, "eager", KEPT_MEMORY),
            Variant("torch channels_last", torch, worker, "channels_last", {}, True),
            Variant("torch cl, kept", torch, worker, "channels_last", KEPT_MEMORY, True),
            Variant("torch compile", torch, worker, "compile", KEPT_MEMORY),
        ]
    if jax is not None:
        found.append(Variant("jax", jax, "jax_worker"))
    return found


class Worker:
    """A running process; see bench/peers/worker.py for what it answers."""

    def __init__(self, variant: Variant, name: str, threads: int, file: Path) -> None:
        self.variant = variant
        self.times: list[float] = []
        command = [variant.python, "-m", f"bench.peers.{variant.module}"]
        limits = {
            "OMP_NUM_THREADS": str(threads),
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=" + ("true" if threads > 1 else "false"),
        }
        self.process = subprocess.Popen(
            [*command, name, str(threads), variant.option, str(file)],
            cwd=ROOT,
            env={**os.environ, **limits, **variant.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads]),
        )

    def answer(self) -> Any:
        """The next answer. Raises RuntimeError with the end of its errors where it died."""
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            errors = self.process.stderr.read().strip().splitlines()
            raise RuntimeError(errors[-1] if errors else "the process ended")
        return json.loads(line)

    def ask(self, request: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
