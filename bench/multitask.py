"""Multi-task: one trunk, two heads, trained together in one compiled step, beside each task alone.

    python bench/multitask.py disjoint --data PATH --seeds 0 1 2
    python bench/multitask.py shared --data PATH --seeds 0 1 2

The trunk is cifar-cnn's. `disjoint`: two sets of images with labels of their own, CIFAR-10's six
animals and its four vehicles; a step takes 60 of the ones and 40 of the others, so that both sets
are seen once an epoch. `shared`: two labels of the same image, its class and whether it is an
animal. Either task alone takes as many steps with the same batches. Test accuracies over epochs are
written to --out as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import graphc
import graphc.functional as F
from graphc import data, nn, optim
from graphc.data import transforms
from graphc.models.cifar_cnn import CifarCNN

ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
VEHICLES = ("airplane", "automobile", "ship", "truck")
AUGMENT = transforms.Compose(
    [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
)


@dataclass(frozen=True)
class Task:
    """A head: how many classes it tells apart, on which images, how many of them in a step."""

    name: str
    classes: int
    train: Any
    test: Any
    batch_size: int
    weight: float = 1.0  # of its loss


class Heads(nn.Module):
    """images [N, 3, 32, 32] of every task -> scores [N, classes] of every task.

    With `shared` images there is one array for all of them.
    """

    def __init__(self, tasks: Sequence[Task], shared: bool) -> None:
        super().__init__()
        self.shared = shared
        self.weights = tuple(task.weight for task in tasks)
        self.trunk = CifarCNN()
        self.trunk.head = nn.Identity()
        self.heads = nn.ModuleDict({task.name: nn.Linear(64, task.classes) for task in tasks})

    def forward(self, *images: Any) -> tuple[Any, ...]:
        heads = list(self.heads.values())
        if self.shared:
            features = [self.trunk(images[0])] * len(heads)
        else:  # the trunk runs once, over the images of all tasks
            ends = np.cumsum([len(part) for part in images])[:-1].tolist()
            features = F.split(self.trunk(F.concatenate(images)), ends)
        return tuple(head(part) for head, part in zip(heads, features, strict=True))


def loss(model: Heads, *batch: Any) -> Any:
    """The weighted sum of the tasks' mean cross entropies; a batch is images, then labels."""
    images, labels = (batch[:1], batch[1:]) if model.shared else (batch[::2], batch[1::2])
    parts = map(F.cross_entropy, model(*images), labels)
    return sum(weight * part for weight, part in zip(model.weights, parts, strict=True))


class Together:
    """An epoch of several loaders at once: the arrays of a batch of each."""

    def __init__(self, loaders: Sequence[Any], shared: bool) -> None:
        self.loaders = loaders
        self.shared = shared

    def __len__(self) -> int:
        return min(map(len, self.loaders))

    def __iter__(self) -> Iterator[Any]:
        for batches in zip(*self.loaders, strict=False):
            if self.shared:  # equal images, since seed and order are
                yield (batches[0][0], *(labels for _, labels in batches))
            else:
                yield tuple(array for batch in batches for array in batch)


def trained(
    tasks: Sequence[Task], shared: bool, seed: int, options: argparse.Namespace
) -> dict[str, list[float]]:
    """{task: test accuracy after every epoch}."""
    loaders = [
        data.Loader(task.train, task.batch_size, seed=seed, transform=AUGMENT) for task in tasks
    ]
    together = Together(loaders, shared)
    rate = optim.schedules.one_cycle(2e-3, total_steps=options.epochs * len(together))
    step = graphc.TrainStep(
        Heads(tasks, shared),
        loss,
        optim.Adam(lr=rate),
        *specs(tasks, shared),
        seed=seed,
        threads=options.threads,
    )
    trainer = graphc.Trainer(step)
    curves: dict[str, list[float]] = {task.name: [] for task in tasks}
    for epoch in range(options.epochs):
        trainer.fit(together, epoch + 1, progress=False, verbose=False)
        for task in tasks:
            curves[task.name].append(accuracy(step, task))
    return curves


def specs(tasks: Sequence[Task], shared: bool) -> list[Any]:
    images = [graphc.Spec((task.batch_size, 3, 32, 32)) for task in tasks]
    labels = [graphc.Spec((task.batch_size,), "i32") for task in tasks]
    if shared:
        return [images[0], *labels]
    return [spec for pair in zip(images, labels, strict=True) for spec in pair]


def accuracy(step: Any, task: Task) -> float:
    """Of one head, over its test images."""

    def guess(model: Heads, x: Any) -> Any:
        return model.heads[task.name](model.trunk(x)).argmax(axis=-1)

    program = step.evaluation(guess, graphc.Spec((250, 3, 32, 32)))
    testing = data.Loader(task.test, 250, shuffle=False)
    return float(np.mean([program(x) == y for x, y in testing]))


def tasks_of(options: argparse.Namespace) -> tuple[Task, Task]:
    train, test = (data.cifar10(options.data, part) for part in (True, False))
    if options.pair == "disjoint":
        animals, vehicles = (
            Task(name, len(names), train.of_classes(names), test.of_classes(names), size)
            for name, names, size in (("animals", ANIMALS, 60), ("vehicles", VEHICLES, 40))
        )
        return animals, vehicles
    living = np.array([name in ANIMALS for name in train.class_names], np.int32)
    coarse = [part.with_labels(living[part.labels]) for part in (train, test)]
    return Task("class", 10, train, test, 64), Task("animal", 2, *coarse, 64)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pair", choices=("disjoint", "shared"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--weight", type=float, default=1.0, help="of the second task's loss")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/multitask"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tasks, shared = tasks_of(options), options.pair == "shared"
    tasks = tasks[0], replace(tasks[1], weight=options.weight)
    found: dict[str, dict[int, list[float]]] = {}
    for seed in options.seeds:
        for task, curve in trained(tasks, shared, seed, options).items():
            found.setdefault(f"{task} together", {})[seed] = curve
        for task in tasks:
            curve = trained((replace(task, weight=1.0),), shared, seed, options)[task.name]
            found.setdefault(f"{task.name} alone", {})[seed] = curve
        for name in sorted(found):
            print(f"seed {seed}  {name}: {100 * found[name][seed][-1]:.2f} %", flush=True)
    for name in sorted(found):
        finals = [100 * curve[-1] for curve in found[name].values()]
        print(f"{name}: {statistics.mean(finals):.2f} %")
    (options.out / f"{options.pair}.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
