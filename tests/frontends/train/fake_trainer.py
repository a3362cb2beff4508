"""A trainer of the step in NumPy, its data, and a training that prints nothing."""

from __future__ import annotations

from typing import Any

from fake_step import Step, accuracy, problem

from graphc import data
from graphc.frontends.train.trainer import Trainer


def loader(count: int = 70, batch_size: int = 8, **options: Any) -> data.Loader:
    return data.Loader(data.arrays(*problem(count)), batch_size, **options)


def held_out(count: int = 45) -> data.Loader:
    return data.Loader(data.arrays(*problem(count, seed=1)), 8, shuffle=False)


def trainer(**options: Any) -> Trainer:
    return Trainer(Step(6, 3, 8), **{"metrics": (accuracy,), **options})


def quiet(coach: Trainer, epochs: int, **options: Any) -> list[dict[str, float]]:
    batches = options.pop("loader", None) or loader()
    return coach.fit(batches, epochs, verbose=False, progress=False, **options)
