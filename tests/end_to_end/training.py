"""200 real training steps of a ready model, in this process or one of its own.

    python -m tests.end_to_end.training MODEL OUT FINAL

trains or goes on in the folder OUT with a checkpoint every second step, and writes the final state
to FINAL. It prints a line after its first step, and how long the others took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from graphc import data, optim
from graphc.data import transforms
from graphc.frontends.tracing import Spec
from graphc.frontends.train.callbacks import Callback
from graphc.frontends.train.metrics import accuracy
from graphc.frontends.train.step import TrainStep
from graphc.frontends.train.trainer import Trainer
from graphc.models.cifar_cnn import CifarCNN
from graphc.models.losses import classify
from graphc.models.mlp import MLP
from graphc.passes.base import Pipeline

MODELS = ("mlp", "cifar-cnn")
BATCH_SIZE = 13  # no multiple of any vector or tile
EPOCHS, STEPS = 5, 200
EXAMPLES = BATCH_SIZE * STEPS // EPOCHS


class Clock(Callback):
    """Prints a line after the first step, and at the end how many seconds passed since then."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        self._first = trainer.state.step + 1

    def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
        if trainer.state.step == self._first:
            self._start = time.perf_counter()
            print(f"trains from step {self._first}", flush=True)

    def on_fit_end(self, trainer: Trainer) -> None:
        if trainer.state.step > self._first:
            print(f"trained for {time.perf_counter() - self._start:.4f} s", flush=True)


def make_step(name: str, threads: int | None = None, passes: Pipeline | None = None) -> TrainStep:
    """A ready model's training step at a small batch."""
    flat = name == "mlp"
    model = MLP(64) if flat else CifarCNN()
    x = Spec((BATCH_SIZE, *((64,) if flat else (3, 32, 32))))
    y = Spec((BATCH_SIZE,), "int32")
    optimizer = optim.Adam(clip_norm=1.0)
    options: dict[str, Any] = {"threads": threads, "passes": passes, "seed": 3}
    return TrainStep(model, classify, optimizer, x, y, **options)


def make_loader(name: str, train: bool = True) -> data.Loader:
    """Digits in random order, the images cropped at random places."""
    images, labels = data.digits(train=train, flat=name == "mlp").arrays
    count = EXAMPLES if train else 30
    dataset = data.arrays(images[:count], labels[:count])
    augment = transforms.RandomCrop(padding=2) if train and name != "mlp" else None
    return data.Loader(dataset, BATCH_SIZE, shuffle=train, seed=4, transform=augment)


def fit(
    name: str,
    threads: int | None = None,
    out: Path | None = None,
    passes: Pipeline | None = None,
) -> bytes:
    """All bytes of the final state: parameters, moments, step, random key."""
    trainer = Trainer(make_step(name, threads, passes), out, (accuracy,), (Clock(),))
    validation = make_loader(name, train=False)
    trainer.fit(
        make_loader(name),
        EPOCHS,
        validation,
        resume=out is not None,
        save_every=2,
        progress=False,
        verbose=False,
    )
    assert trainer.state.step == STEPS
    state = trainer.step.state_dict()
    return b"".join(np.asarray(state[key]).tobytes() for key in sorted(state))


if __name__ == "__main__":
    model, out, final = sys.argv[1:]
    Path(final).write_bytes(fit(model, out=Path(out)))
