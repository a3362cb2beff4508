"""Transfer: a CNN learns eight classes of CIFAR-10, then the other two from few images.

    python bench/transfer.py pretrain --data PATH
    python bench/transfer.py tune --data PATH --seeds 0 1 2 3 4 5 6 7 8 9

The network is cifar-cnn; its trunk is everything but the head. `pretrain` saves it in --out. `tune`
takes --each images of either of the two classes, drawn by the seed, and trains four ways: a new
head alone, on the frozen trunk; with it the dense layer below, on frozen convolutions; all of it;
and all of it from first weights. Accuracy is that on all 2,000 test images of the two classes.
Curves and the bytes of the plans are written to --out as JSON, one file a way.

With --choose the accuracy is that on those training images that were not drawn, to choose rates by.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import graphc
from graphc import data, optim
from graphc.data import transforms
from graphc.metrics import accuracy
from graphc.models.cifar_cnn import CifarCNN
from graphc.models.losses import classify

AUGMENT = transforms.Compose(
    [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
)
TUNING_BATCH = 50


@dataclass(frozen=True)
class Way:
    """How the two classes are learned; the rate is lr / (1 + step / decay_steps)."""

    name: str
    is_pretrained: bool
    frozen: tuple[str, ...]
    lr: float
    decay_steps: float = 300


WAYS = (
    Way("head", True, ("conv*", "hidden.*"), 1e-2),
    Way("dense", True, ("conv*",), 1e-3),
    Way("full", True, (), 1e-3),
    Way("scratch", False, (), 1e-3),
)


def make_step(model: Any, optimizer: Any, batch_size: int, options: Any, seed: int) -> Any:
    specs = graphc.Spec((batch_size, 3, 32, 32)), graphc.Spec((batch_size,), "i32")
    threads = options.threads
    return graphc.TrainStep(model, classify, optimizer, *specs, seed=seed, threads=threads)


def loaders(train: Any, test: Any, batch_size: int, seed: int) -> tuple[Any, Any]:
    training = data.Loader(train, batch_size, seed=seed, transform=AUGMENT)
    return training, data.Loader(test, 250, shuffle=False)


def pretrain(options: argparse.Namespace) -> None:
    names = [name for name in options.train.class_names if name not in options.held_out]
    train, test = (part.of_classes(names) for part in (options.train, options.test))
    training, testing = loaders(train, test, 64, seed=0)
    rate = optim.schedules.one_cycle(2e-3, total_steps=options.epochs * len(training))
    step = make_step(CifarCNN(len(names)), optim.Adam(lr=rate), 64, options, seed=0)
    trainer = graphc.Trainer(step, metrics=(accuracy,))
    history = trainer.fit(training, options.epochs, testing, progress=False)
    graphc.checkpoint.save(options.out / "trunk.safetensors", step.model.state_dict())
    curve = [record["validation_accuracy"] for record in history]
    (options.out / "pretrain.json").write_text(json.dumps({"classes": names, "curve": curve}))


def tune(options: argparse.Namespace) -> None:
    for way in WAYS:
        if way.name in options.ways:
            tune_way(way, options)


def tune_way(way: Way, options: argparse.Namespace) -> None:
    """Every seed by one way; its curves go to a file."""
    lr, decay = options.lr or way.lr, options.decay_steps or way.decay_steps
    curves = {}
    for seed in options.seeds:
        model = CifarCNN(2)
        if way.is_pretrained:
            report = graphc.checkpoint.load_into(
                model, options.out / "trunk.safetensors", skip=["head.*"]
            )
        if way.frozen:
            model.freeze(*way.frozen)
        optimizer = optim.Adam(lr=optim.schedules.inverse_time_decay(lr, decay_steps=decay))
        step = make_step(model, optimizer, TUNING_BATCH, options, seed)
        curves[seed] = tuned(step, options, seed)
    if way.is_pretrained:
        print(report)
    finals = [100 * curve[-1][1] for curve in curves.values()]
    spread = statistics.stdev(finals) if len(finals) > 1 else 0.0
    told = f"{statistics.mean(finals):.2f} % (standard deviation {spread:.2f})"
    print(f"{way.name}, lr {lr:g} / (1 + step / {decay:g}): {told}  {memory_of(step)}", flush=True)
    record = {"way": way.name, "lr": lr, "decay_steps": decay, "curves": curves}
    target = options.out / f"{'choose-' if options.choose else ''}{way.name}.json"
    target.write_text(json.dumps(record | memory_of(step)) + "\n")


def tuned(step: Any, options: argparse.Namespace, seed: int) -> list[tuple[int, float]]:
    """(step, accuracy) every --every epochs."""
    train = options.train.of_classes(options.held_out, each=options.each, seed=seed)
    test = options.test.of_classes(options.held_out)
    if options.choose:
        test = not_drawn(options, train)
    training, testing = loaders(train, test, TUNING_BATCH, seed)
    trainer = graphc.Trainer(step, metrics=(accuracy,))
    curve = []
    for epochs in range(options.every, options.tuning_epochs + 1, options.every):
        trainer.fit(training, epochs, progress=False, verbose=False)
        curve.append((trainer.state.step, trainer.evaluate(testing)["accuracy"]))
    return curve


def not_drawn(options: argparse.Namespace, drawn: Any) -> Any:
    """The training images of the two classes that are not among those drawn."""
    whole = options.train.of_classes(options.held_out)
    taken = {image.tobytes() for image in drawn.arrays[0]}
    images = whole.arrays[0]
    return whole.subset(np.array([n for n, x in enumerate(images) if x.tobytes() not in taken]))


def memory_of(step: Any) -> dict[str, int]:
    """What the plan of one thread says, and how many elements are trained."""
    memory = step.program.memory.with_threads(1)
    return {
        "trained": sum(p.size for p in step.model.parameters() if p.requires_grad),
        "peak_bytes": memory.peak_bytes,
        "arena_bytes": memory.arena_bytes,
        "state_bytes": memory.resident_bytes["state"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("pretrain", "tune"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--held-out", nargs=2, default=["deer", "horse"])
    parser.add_argument("--epochs", type=int, default=30, help="of pretrain")
    parser.add_argument("--each", type=int, default=250, help="images of either class")
    parser.add_argument("--tuning-epochs", type=int, default=100)
    parser.add_argument("--every", type=int, default=10, help="epochs between evaluations")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="+", default=[way.name for way in WAYS])
    parser.add_argument("--lr", type=float)
    parser.add_argument("--decay-steps", type=float)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.train, options.test = (data.cifar10(options.data, part) for part in (True, False))
    (pretrain if options.command == "pretrain" else tune)(options)


if __name__ == "__main__":
    main()
