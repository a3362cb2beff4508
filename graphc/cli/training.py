"""`graphc train`: a run in a folder of its own, epochs as they pass, the test result at the end."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from graphc.cli.loading import Loaded, load
from graphc.errors import ArgumentError, GraphcError
from graphc.frontends.tracing import trace
from graphc.frontends.train.metrics import Metric, accuracy
from graphc.frontends.train.trainer import Trainer


def train(options: argparse.Namespace) -> None:
    run_training(options, load(options))


def run_training(options: argparse.Namespace, loaded: Loaded) -> Path:
    """Train, save and report; the folder of the run."""
    step, training, test, epochs = loaded
    if training is None:
        raise ArgumentError(f"{options.model} gives no data to train on")
    out = _folder(options)
    for program in step.programs:
        memory = program.memory
        name = f"  {program.graph.name}" if len(step.programs) > 1 else ""
        print(f"memory  peak {memory.peak_bytes} bytes, arena {memory.arena_bytes} bytes{name}")
    trainer = Trainer(step, out, _metrics(step, test))
    history = trainer.fit(training, epochs, validation=test, resume=options.resume)
    print(f"saved   {out}")
    print(_final(history, trainer, test))
    return out


def _final(history: Any, trainer: Any, test: Any) -> str:
    if test is None:
        return f"train loss {history[-1]['loss']:.4f}" if history else "train loss nan"
    result = trainer.evaluate(test)
    name = next(iter(trainer.metrics), "loss")
    return f"test {name.replace('_', ' ')} {result[name]:.4f}"


def _metrics(step: Any, test: Any) -> tuple[Metric, ...]:
    """The model's own `metrics` where it has any; accuracy where it gives scores [N, C] for batches
    of (x, classes [N]).
    """
    if test is None:
        return ()
    own = tuple(getattr(step.model, "metrics", ()))
    return own or ((accuracy,) if classifies(step) else ())


def classifies(step: Any) -> bool:
    if len(step.batch_specs) != 2:
        return False
    x, y = step.batch_specs
    if len(y.shape) != 1 or not y.dtype.is_integer:
        return False
    try:
        outputs = trace(lambda x: step.model(x), x).outputs
    except GraphcError:  # a model that is called in another way
        return False
    return len(outputs) == 1 and len(outputs[0].shape) == 2 and outputs[0].shape[1] > 1


def _folder(options: argparse.Namespace) -> Path:
    """The run's folder: --out, the newest one for --resume (the first where there is none), or the
    next free number.
    """
    if options.out:
        return Path(options.out)
    name = Path(options.model.rpartition(":")[0] or options.model).stem
    root = Path("runs")
    numbers = [_number(path.name, name) for path in root.glob(f"{name}-*")]
    newest = max(numbers, default=0)
    if options.resume:
        return root / f"{name}-{max(1, newest)}"
    return root / f"{name}-{newest + 1}"


def _number(folder: str, name: str) -> int:
    digits = folder.removeprefix(f"{name}-")
    return int(digits) if digits.isdigit() else 0
