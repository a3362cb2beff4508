"""`import graphc` stays quick: numpy and little else."""

from __future__ import annotations

import subprocess
import sys
import time


def seconds(code: str) -> float:
    """The best of several runs of a fresh Python, in seconds."""
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        best = min(best, time.perf_counter() - start)
    return best


def loaded(code: str) -> set[str]:
    """The top-level packages that a fresh Python has loaded after `code`."""
    line = f"{code}\nimport sys\nprint(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", line], check=True, capture_output=True, text=True
    )
    return {name.split(".")[0] for name in output.stdout.split()}


HEAVY = {"llvmlite", "networkx", "safetensors", "rich", "PIL", "cupy", "torch", "matplotlib"}


def test_import_takes_less_than_a_fifth_of_a_second() -> None:
    assert seconds("import graphc") - seconds("pass") < 0.2


def test_import_loads_nothing_heavy() -> None:
    assert loaded("import graphc") & HEAVY == set()


def test_the_command_line_loads_nothing_heavy() -> None:
    assert loaded("import graphc.cli.main") & (HEAVY | {"numpy"}) <= {"numpy"}
