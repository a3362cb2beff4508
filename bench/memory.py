"""Memory of whole training steps: the plan, what a budget reaches at what cost, and the process.

    python -m bench.memory plan [ROW...]                     the plan of each row
    python -m bench.memory budget [ROW...]                   arenas of 80, 60 and 40 %: the time
    python -m bench.memory process --torch PYTHON [ROW...]   resident memory beside torch's

Resident memory is the largest that the process has had (VmHWM), less what it had once its
libraries were imported; both are given. A process runs 5 steps of a row on the given threads, after
compiling it in another process, as a user's second run would; with --cold it compiles by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

STEPS = 5
SHARES = (80, 60, 40)  # percent of the arena that a budget leaves
MIB = 2**20


def table(rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; the first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join((lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]))


def mib(count: float) -> str:
    return f"{count / MIB:.2f}"


def show_plans(names: list[str], threads: int) -> None:
    from bench.models import ROWS

    rows: list[tuple[str, ...]] = [("row", "peak MiB", "state", "arena", "lower bound", "ratio")]
    for name in names:
        memory = ROWS[name].step(threads).program.memory
        rows.append(
            (
                name,
                mib(memory.peak_bytes),
                mib(memory.resident_bytes["state"]),
                mib(memory.arena_bytes),
                mib(memory.lower_bound_bytes),
                f"{memory.arena_bytes / memory.lower_bound_bytes:.6f}",
            )
        )
    print(table(rows))


def show_budgets(names: list[str], threads: int, rounds: int) -> None:
    from bench.models import ROWS
    from graphc.errors import MemoryBudgetError

    rows: list[tuple[str, ...]] = [
        ("row", "budget", "peak MiB", "arena MiB", "% of arena", "flops", "launches", "step time")
    ]
    for name in names:
        row = ROWS[name]
        memory = row.step(threads).program.memory
        arrays = row.arrays()
        for share in SHARES:
            whole, tight = row.step(threads), row.step(threads)
            tight.memory_budget = memory.peak_bytes - memory.arena_bytes * (100 - share) // 100
            try:
                found = tight.program.memory
            except MemoryBudgetError as error:
                rows.append((name, f"{share} % of the arena", str(error).split("; ")[0], *[""] * 5))
                continue
            one, other = interleaved(whole, tight, arrays, rounds)
            rows.append(
                (
                    name,
                    f"{share} % of the arena",
                    f"{mib(memory.peak_bytes)} to {mib(found.peak_bytes)}",
                    f"{mib(memory.arena_bytes)} to {mib(found.arena_bytes)}",
                    f"{100 * found.arena_bytes / memory.arena_bytes:.1f}",
                    f"{operations(tight) / operations(whole):.3f} times",
                    f"{len(whole.program.launches)} to {len(tight.program.launches)}",
                    f"{one * 1e3:.2f} to {other * 1e3:.2f} ms",
                )
            )
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))


def operations(step: Any) -> int:
    return sum(launch.flops for launch in step.program.launches)


def interleaved(one: Any, other: Any, arrays: Any, rounds: int) -> tuple[float, float]:
    """Median seconds of a step of each, in turn; the losses of both must be the same."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        losses = []
        for step, found in zip((one, other), times, strict=True):
            start = time.perf_counter()
            losses.append(float(step(*arrays)))
            found.append(time.perf_counter() - start)
        if losses[0] != losses[1]:
            raise SystemExit(f"losses differ: {losses}")
    return median(times[0][1:]), median(times[1][1:])


# Processes


def run_graphc(name: str, threads: int) -> dict[str, int]:
    """In a process of its own: (resident memory after the imports, the most after the steps)."""
    from bench.models import ROWS

    row = ROWS[name]
    arrays = row.arrays()
    start = most_bytes()
    step = row.step(threads)
    for _ in range(STEPS):
        float(step(*arrays))
    return {"start": start, "most": most_bytes(), "peak": step.program.memory.peak_bytes}


def run_torch(twin: str, arrays_path: str, threads: int) -> dict[str, int]:
    import numpy as np
    import torch

    from bench.peers.torch_models import MODELS

    torch.set_num_threads(threads)
    with np.load(arrays_path) as stored:
        batch = [torch.from_numpy(stored[key]) for key in stored.files]
    batch = [part.long() if part.dtype == torch.int32 else part for part in batch]
    start = most_bytes()
    module, loss, optimizer_of = MODELS[twin]()
    module.train()
    optimizer = optimizer_of(module.parameters())
    for _ in range(STEPS):
        optimizer.zero_grad()
        value = loss(module, *batch)
        value.backward()
        optimizer.step()
        value.item()
    return {"start": start, "most": most_bytes()}


def most_bytes() -> int:
    """The most resident memory so far: of this program alone, unlike ru_maxrss, which starts from
    what the process had been before it ran this program."""
    with open("/proc/self/status") as status:
        kibibytes = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(kibibytes) * 1024


def show_processes(names: list[str], threads: int, torch_python: str | None, cold: bool) -> None:
    import tempfile

    import numpy as np

    from bench.models import ROWS

    head = (
        "row",
        "planned peak",
        "graphc: imports, whole",
        "step",
        "torch: imports, whole",
        "step",
    )
    rows: list[tuple[str, ...]] = [(*head, "whole / torch's", "step / torch's")]
    for name in names:
        if not cold:
            ROWS[name].step(threads).compile()  # into the cache
        kept = {"GRAPHC_CACHE": "off"} if cold else {}
        ours = in_process([sys.executable, "-m", "bench.memory", "one", name], threads, kept)
        cells = [name, mib(ours["peak"]), *sizes(ours)]
        if torch_python:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "batch.npz")
                arrays = {f"a{n}": array for n, array in enumerate(ROWS[name].arrays())}
                np.savez(path, allow_pickle=False, **arrays)
                command = [torch_python, "-m", "bench.memory", "one-torch", name]
                command += ["--twin", ROWS[name].twin, "--arrays", path]
                theirs = in_process(command, threads)
            ratios = ours["most"] / theirs["most"], step_bytes(ours) / step_bytes(theirs)
            cells += [*sizes(theirs), *(f"{ratio:.2f}" for ratio in ratios)]
        rows.append((*cells, *[""] * (len(rows[0]) - len(cells))))
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))


def sizes(found: dict[str, int]) -> tuple[str, str]:
    return f"{mib(found['start'])}, {mib(found['most'])}", mib(step_bytes(found))


def step_bytes(found: dict[str, int]) -> int:
    return found["most"] - found["start"]


def in_process(
    command: list[str], threads: int, environment: Mapping[str, str] | None = None
) -> dict[str, int]:
    done = subprocess.run(
        [*command, "--threads", str(threads)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("plan", "budget", "process", "one", "one-torch"))
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch", help="the Python that has torch")
    parser.add_argument("--cold", action="store_true", help="graphc compiles in the process")
    parser.add_argument("--twin")
    parser.add_argument("--arrays")
    options = parser.parse_intermixed_args()
    if options.what == "one-torch":
        print(json.dumps(run_torch(options.twin, options.arrays, options.threads)))
        return
    from bench.models import ROWS

    names = options.rows or list(ROWS)
    if options.what == "plan":
        show_plans(names, options.threads)
    elif options.what == "budget":
        show_budgets(names, options.threads, options.rounds)
    elif options.what == "process":
        show_processes(names, options.threads, options.torch, options.cold)
    else:
        print(json.dumps(run_graphc(names[0], options.threads)))


if __name__ == "__main__":
    main()
