"""A training run in a process of its own: run_fake.py OUT FINAL SECONDS.

Trains or resumes in OUT, SECONDS a step, and writes the final weights to FINAL. Prints a line
before the first step.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from fake_step import Step, cross_entropy, problem

from graphc import data
from graphc.frontends.train.callbacks import Callback, EarlyStopping
from graphc.frontends.train.trainer import Trainer

EPOCHS = 5


class Ready(Callback):
    def on_fit_begin(self, trainer: Trainer) -> None:
        print(f"ready at step {trainer.state.step}", flush=True)


def augment(x: Any, y: Any, generator: np.random.Generator) -> Any:
    return x + generator.normal(scale=0.1, size=x.shape).astype(np.float32), y


def make(out: Path, seconds: float) -> tuple[Trainer, data.Loader, data.Loader]:
    step = Step(6, 3, 8, seconds=seconds)
    callbacks = [Ready(), EarlyStopping("loss", patience=100)]
    coach = Trainer(step, out, callbacks=callbacks)
    loader = data.Loader(data.arrays(*problem(100)), 8, seed=5, transform=augment)
    validation = data.Loader(data.arrays(*problem(20, seed=1)), 8, shuffle=False)
    return coach, loader, validation


def weights(step: Step) -> bytes:
    assert step.loss is cross_entropy
    return b"".join(value.tobytes() for value in step.state_dict().values())


if __name__ == "__main__":
    out, final, seconds = sys.argv[1:]
    coach, loader, validation = make(Path(out), float(seconds))
    coach.fit(loader, EPOCHS, validation, resume=True, save_every=3)
    Path(final).write_bytes(weights(coach.step))  # type: ignore[arg-type]  # it is the fake one
