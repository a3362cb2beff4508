"""`graphc finetune`: weights by name from a checkpoint, what is frozen or adapted, then a training.

The run's folder gets, beside what `graphc train` leaves there, `adapters.safetensors` where there
are adapters (a small file, for `checkpoint.load_adapters`), and with LoRA `merged.safetensors`, the
weights of the base model with the changes in them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphc import nn, optim
from graphc.cli.loading import load
from graphc.cli.options import SLOWER
from graphc.cli.training import run_training
from graphc.errors import ArgumentError, CheckpointError
from graphc.frontends.train.checkpoint import save
from graphc.frontends.train.description import read_description
from graphc.frontends.train.pretrained import load_into, save_adapters
from graphc.frontends.train.step import TrainStep

WARMUP = 0.1  # of all steps
LAST = 10  # times smaller than the largest rate is the last one


def described(source: str, model: str) -> Mapping[str, Any] | None:
    """What the run of a checkpoint says of a ready model; None of another, or of a file."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return None
    try:
        found = read_description(folder)
    except CheckpointError:
        return None
    return found if found.get("model") == model else None


def finetune(options: argparse.Namespace) -> None:
    """Load, adapt, train, save and report."""
    loaded = load(options, described(options.source, options.model))
    model = loaded.step.model
    print(load_into(model, options.source, _renaming(options.rename), options.skip))
    _choose_trained(options, model)
    steps = max(1, loaded.epochs * len(loaded.training))
    optimizer = _optimizer(options, loaded.step.optimizer, model, steps)
    out = run_training(options, loaded._replace(step=retraced(loaded.step, optimizer)))
    if _is_adapted(options):
        save_adapters(out / "adapters.safetensors", model, {"model": options.model})
    if options.lora:
        nn.merge_lora(model)
        save(out / "merged.safetensors", model.state_dict(), {"model": options.model})


def retraced(step: TrainStep, optimizer: optim.Optimizer) -> TrainStep:
    """A step as it would have been made now, with the model as it is, and another optimizer."""
    return TrainStep(
        step.model,
        step.loss,
        optimizer,
        buckets=step.buckets,
        backend=step.backend,
        threads=step.threads,
        fuse=step.fuse,
        seed=step.seed,
        passes=step.passes,
        memory_budget=step.memory_budget,
    )


def _renaming(pairs: list[str]) -> dict[str, str] | None:
    for pair in pairs:
        if "=" not in pair:
            raise ArgumentError(f"--rename takes OLD=NEW, not {pair!r}")
    found = (pair.partition("=") for pair in pairs)
    return {old: new for old, _, new in found} or None


def _is_adapted(options: argparse.Namespace) -> bool:
    return bool(options.lora or options.bottleneck or options.prefix)


def _choose_trained(options: argparse.Namespace, model: nn.Module) -> None:
    """Freeze, and put on adapters."""
    if options.lora:
        parts: dict[str, Any] = {"rank": options.rank, "alpha": options.alpha}
        print(nn.lora(model, *options.lora, **parts, dropout=options.dropout))
    if options.bottleneck:
        print(nn.bottleneck(model, *options.bottleneck, width=options.width))
    if options.prefix:
        print(nn.prefix(model, *options.prefix, length=options.length))
    if options.unfreeze:
        model.unfreeze(*options.unfreeze)
    if options.freeze:
        model.freeze(*options.freeze)
    if _is_adapted(options) and not options.unfreeze and not options.freeze:
        return  # the adapters have said it
    sizes = [(parameter.size, parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(size for size, is_trained in sizes if is_trained)
    print(f"trained {trained:,} of {sum(size for size, _ in sizes):,} parameters")


def _optimizer(
    options: argparse.Namespace, own: optim.Optimizer, model: nn.Module, steps: int
) -> optim.Optimizer:
    """The model's own optimizer, but at a small rate that rises first and then falls as 1 / step.

    Groups whose patterns name frozen parameters alone stay; those of --layers come before them.
    """
    rate = options.lr
    if rate is None:
        largest = own.lr.lr if isinstance(own.lr, optim.schedules.Schedule) else own.lr
        rate = largest if _is_adapted(options) else largest / SLOWER
    warmup = int(WARMUP * steps)
    falling = max(1, steps - warmup) / (LAST - 1)
    schedule = optim.schedules.inverse_time_decay(rate, falling, warmup)
    if (options.layer_decay is None) != (not options.layers):
        raise ArgumentError("--layer-decay and --layers are given together or not at all")
    groups = own.groups
    if options.layers:
        groups = optim.layerwise(
            model, schedule, options.layer_decay, *options.layers, groups=groups
        )
    return replace(own, lr=schedule, groups=groups)
