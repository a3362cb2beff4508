"""Whole training steps of graphc beside torch's and jax's, from the same weights and batch.

    python -m bench.peers --torch PYTHON [--jax PYTHON] [--rows lstm,gru] [--threads 1,2]

For each row and thread count every framework runs in a process of its own. The losses of the
first steps are compared before anything is timed; then rounds go through the processes in turn,
while the others wait. Medians and minima of single steps in ms. The share of the
FMA peak is the products' nominal floating-point operations over the median and the rate of fused
multiply-adds measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.models import ROWS, Row
from bench.peers.processes import IMAGES, Variant, Worker, variants

_LOSSES = 3
_TOLERANCE = 2e-3  # of a loss after a few float32 steps, relative


def main() -> None:
    options = _options()
    chosen = options.rows.split(",") if options.rows else list(ROWS)
    unknown = [name for name in chosen if name not in ROWS]
    if unknown:
        sys.exit(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    found = []
    for name in chosen:
        for threads in options.threads:
            result = measure(ROWS[name], threads, options)
            found.append(result)
            print(report(result), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    print(summary(found))


def _options() -> argparse.Namespace:
    about = str(__doc__).splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=about)
    parser.add_argument("--torch", type=_python, help="a Python that has torch")
    parser.add_argument("--jax", type=_python, help="a Python that has jax")
    parser.add_argument("--rows", help=f"of {', '.join(ROWS)}; all where not given")
    parser.add_argument("--threads", type=_counts, default="1,2", help="default 1,2")
    parser.add_argument("--rounds", type=_count, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each process in a round")
    parser.add_argument("--json", type=_new_file, help="a file for all figures")
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _python(text: str) -> str:
    if shutil.which(text) is None:
        raise argparse.ArgumentTypeError(f"there is no program {text}")
    return text


def _new_file(text: str) -> str:
    if not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {Path(text).parent}")
    return text


def measure(row: Row, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """All variants of one row: {name: {median, minimum, …} in seconds}, and what failed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "start.npz"
        _save(row, file)
        result: dict[str, Any] = {"row": row.name, "threads": threads, "failed": {}}
        workers = _start(row, threads, file, options, result)
        try:
            _time(workers, options)
            result["gigaflops"] = workers[0].ask("roof")
            result["variants"] = {worker.variant.name: _figures(worker) for worker in workers}
        finally:
            for worker in workers:
                worker.close()
    result["gflop"] = row.gflop
    result["load"] = os.getloadavg()[0]
    return result


def _save(row: Row, file: Path) -> None:
    weights: dict[str, Any] = row.model().state_dict()
    arrays = weights | {f"batch.{n}": array for n, array in enumerate(row.arrays())}
    np.savez(file, **arrays)


def _start(
    row: Row, threads: int, file: Path, options: argparse.Namespace, result: dict[str, Any]
) -> list[Worker]:
    """The processes whose first losses are graphc's, graphc first."""
    workers: list[Worker] = []
    expected: list[float] = []
    for variant in variants(options.torch, options.jax):
        if variant.images_only and row.twin not in IMAGES:
            continue
        worker = _open(variant, row, threads, file)
        try:
            worker.answer()
            losses = worker.ask(f"losses {_LOSSES}")
        except RuntimeError as error:
            worker.close()
            if not workers and variant.name == "graphc":
                sys.exit(f"{row.name}, threads {threads}: graphc failed: {error}")
            result["failed"][variant.name] = str(error)
            continue
        if not np.allclose(losses, expected or losses, rtol=_TOLERANCE):
            result["failed"][variant.name] = f"its losses {losses} are not graphc's {expected}"
            worker.close()
            continue
        expected = expected or losses
        workers.append(worker)
    return workers


def _open(variant: Variant, row: Row, threads: int, file: Path) -> Worker:
    name = row.name if variant.module == "graphc_worker" else row.twin
    return Worker(variant, name, threads, file)


def _time(workers: list[Worker], options: argparse.Namespace) -> None:
    for number in range(options.rounds):
        order = workers if number % 2 == 0 else workers[::-1]
        for worker in order:
            worker.times += worker.ask(f"time {options.seconds}")


def _figures(worker: Worker) -> dict[str, float]:
    times = worker.times
    return {
        "median": statistics.median(times),
        "minimum": min(times),
        "steps": len(times),
        "peak_bytes": worker.ask("peak"),
    }


def best_peer(result: dict[str, Any]) -> tuple[str, float] | None:
    """The peer with the least median."""
    peers = {k: v["median"] for k, v in result["variants"].items() if k != "graphc"}
    if not peers:
        return None
    name = min(peers, key=lambda peer: peers[peer])
    return name, peers[name]


def report(result: dict[str, Any]) -> str:
    """A few lines about one row."""
    ours = result["variants"]["graphc"]["median"]
    share = result["gflop"] / ours / result["gigaflops"]
    lines = [f"{result['row']}, threads {result['threads']}, load {result['load']:.1f}"]
    for name, figures in result["variants"].items():
        median, minimum = 1e3 * figures["median"], 1e3 * figures["minimum"]
        ratio = "" if name == "graphc" else f"  {figures['median'] / ours:.2f} times graphc's"
        lines.append(f"  {name:20} {median:9.3f} ms  least {minimum:9.3f}{ratio}")
    peak = f"{result['gigaflops']:.0f} GFLOP/s"
    lines.append(f"  {100 * share:.0f} % of the FMA peak, {peak}")
    lines += [f"  {name}: {reason}" for name, reason in result["failed"].items()]
    return "\n".join(lines)


def summary(results: list[dict[str, Any]]) -> str:
    """How many times faster than each row's best peer, and the geometric mean."""
    ratios = []
    lines = ["", "row                  threads  graphc ms  best peer ms  times"]
    for result in results:
        best = best_peer(result)
        if best is None:
            continue
        ours = result["variants"]["graphc"]["median"]
        ratios.append(best[1] / ours)
        figures = f"{1e3 * ours:9.3f}  {1e3 * best[1]:12.3f}  {best[1] / ours:5.2f}"
        lines.append(f"{result['row']:20} {result['threads']:7}  {figures}  ({best[0]})")
    if ratios:
        lines.append(f"geometric mean {statistics.geometric_mean(ratios):.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
