"""Test accuracy of a ready model on a data set, over several seeds, or within a time.

    python bench/accuracy.py cifar-cnn --data PATH --epochs 10 --batch-size 64 --seeds 0 1 2
    python bench/accuracy.py resnet20 --data PATH --minutes 30

A seed decides the first weights and the order and augmentation of the data. With --minutes the
number of epochs is the one that fits, by the time of the first steps; a schedule of the rate then
ends with the last epoch. The curves are written to --out as JSON, one file a run.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import statistics
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from graphc.frontends.train.metrics import accuracy
from graphc.frontends.train.trainer import Trainer
from graphc.models.registry import find

PROBE_STEPS = 20  # timed after as many that warm up
MARGIN = 0.95  # of the time is planned for


def make(options: argparse.Namespace, seed: int, epochs: int) -> tuple[Any, Any, Any]:
    """(step, training loader, test loader) with everything set that follows from the options."""
    build = import_module(find(options.model).home).make
    given = {"batch_size": options.batch_size, "epochs": epochs}
    known = inspect.signature(build).parameters
    chosen = {key: value for key, value in given.items() if value is not None and key in known}
    step, train, test = build(options.data, **chosen)
    step.seed, step.threads = seed, options.threads
    train.seed = seed
    return step, train, test


def epochs_that_fit(options: argparse.Namespace) -> int:
    """How many epochs, with an evaluation after each, take options.minutes by the clock."""
    step, train, test = make(options, options.seeds[0], 1)
    batches = itertools.cycle(train)
    for _ in range(PROBE_STEPS):
        step(*next(batches))
    step_seconds = timed(lambda: [step(*next(batches)) for _ in range(PROBE_STEPS)]) / PROBE_STEPS
    trainer = Trainer(step, metrics=(accuracy,))
    trainer.evaluate(test)  # compiles
    epoch_seconds = step_seconds * len(train) + timed(lambda: trainer.evaluate(test))
    return max(1, int(MARGIN * 60 * options.minutes / epoch_seconds))


def timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def train_once(options: argparse.Namespace, seed: int, epochs: int) -> float:
    """The test accuracy after the last epoch; the curve goes to a file."""
    start, processor_start = time.perf_counter(), time.process_time()
    step, train, test = make(options, seed, epochs)
    history = Trainer(step, metrics=(accuracy,)).fit(train, epochs, test, progress=False)
    minutes = (time.perf_counter() - start) / 60
    processor_minutes = (time.process_time() - processor_start) / 60
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"model": options.model, "seed": seed, "batch_size": train.batch_size}
    record |= {"threads": options.threads, "history": history}
    record |= {"minutes": round(minutes, 2), "processor_minutes": round(processor_minutes, 2)}
    (options.out / f"{options.model}-seed{seed}.json").write_text(json.dumps(record) + "\n")
    final = float(history[-1]["validation_accuracy"])
    spent = f"{minutes:.1f} minutes, {processor_minutes:.1f} of processor time"
    print(f"seed {seed}: test accuracy {final:.4f} after {epochs} epochs, {spent}")
    return final


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=int)
    length.add_argument("--minutes", type=float)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    options = parser.parse_args()
    epochs = options.epochs or epochs_that_fit(options)
    found = [train_once(options, seed, epochs) for seed in options.seeds]
    print(f"mean of {len(found)} seeds: test accuracy {statistics.mean(found):.4f}")


if __name__ == "__main__":
    main()
