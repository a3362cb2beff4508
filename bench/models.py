"""The training steps that are measured against other frameworks: one row each.

A row's model has the parameter names of its torch twin in bench/peers/torch_models.py, so that
all frameworks start from the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import graphc.functional as F
from graphc import Spec, TrainStep, nn, optim
from graphc.models.cifar_cnn import CifarCNN
from graphc.models.gpt import GPT, next_character
from graphc.models.losses import classify
from graphc.models.resnet20 import ResNet20
from graphc.models.seq2seq import Seq2Seq, Sizes, translation_loss

Arrays = tuple[np.ndarray[Any, Any], ...]


@dataclass(frozen=True)
class Row:
    """One workload.

    twin    its name in the peers' tables of models
    batch   the arrays of one step, from a generator
    gflop   of the products of one step, 1e9 floating-point operations, padding counted
    """

    name: str
    twin: str
    model: Callable[[], nn.Module]
    loss: Callable[..., Any]
    optimizer: Callable[[], Any]
    batch: Callable[[np.random.Generator], Arrays]
    gflop: float

    def arrays(self) -> Arrays:
        """The same batch on every call."""
        return self.batch(np.random.default_rng(0))

    def step(self, threads: int | None = None, model: nn.Module | None = None) -> TrainStep:
        specs = [Spec(array.shape, str(array.dtype)) for array in self.arrays()]
        chosen = self.model() if model is None else model
        return TrainStep(chosen, self.loss, self.optimizer(), *specs, threads=threads)


def mlp(*widths: int) -> nn.Module:
    """Linear layers with relu between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Tagger(nn.Module):
    """x[T, N, 40] -> scores[T, N, 11]: one recurrent layer and a linear head at each step."""

    def __init__(self, kind: str, features: int = 40, hidden: int = 128, classes: int = 11) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(features, hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x)[0])


def tag(model: Any, x: Any, y: Any) -> Any:
    """Mean cross entropy of every step of every sequence."""
    scores = model(x)
    return F.cross_entropy(scores.reshape((-1, scores.shape[-1])), y.reshape((-1,)))


def images(count: int) -> Callable[[np.random.Generator], Arrays]:
    """Images[N, 3, 32, 32] and classes of 10."""

    def batch(random: np.random.Generator) -> Arrays:
        x = random.normal(size=(count, 3, 32, 32)).astype(np.float32)
        return x, random.integers(0, 10, count).astype(np.int32)

    return batch


def vectors(count: int, features: int = 784) -> Callable[[np.random.Generator], Arrays]:
    """Rows of numbers and classes of 10."""

    def batch(random: np.random.Generator) -> Arrays:
        x = random.normal(size=(count, features)).astype(np.float32)
        return x, random.integers(0, 10, count).astype(np.int32)

    return batch


def sequences(steps: int = 100, rows: int = 32) -> Callable[[np.random.Generator], Arrays]:
    """Sequences[T, N, 40] and classes of 11 at each step."""

    def batch(random: np.random.Generator) -> Arrays:
        x = random.normal(size=(steps, rows, 40)).astype(np.float32)
        return x, random.integers(0, 11, (steps, rows)).astype(np.int32)

    return batch


def texts(
    count: int = 8, length: int = 256, characters: int = 65
) -> Callable[[np.random.Generator], Arrays]:
    """Texts[N, T] and the characters that follow."""

    def batch(random: np.random.Generator) -> Arrays:
        codes = random.integers(0, characters, (count, length + 1)).astype(np.int32)
        return codes[:, :-1].copy(), codes[:, 1:].copy()

    return batch


def translations(
    count: int = 16, length: int = 64, words: int = 8000
) -> Callable[[np.random.Generator], Arrays]:
    """Sources[N, S] of several lengths, padded with 0; targets[N, T] and what follows in them."""

    def batch(random: np.random.Generator) -> Arrays:
        source, target = random.integers(4, words, (2, count, length + 1)).astype(np.int32)
        for row in range(count):
            source[row, length - row :] = 0
            target[row, length + 1 - row :] = 0
        return source[:, :-1].copy(), target[:, :-1].copy(), target[:, 1:].copy()

    return batch


def momentum() -> Any:
    return optim.SGD(lr=0.1, momentum=0.9, weight_decay=1e-4)


def _row(name: str, twin: str, model: Any, batch: Any, gflop: float, **changes: Any) -> Row:
    chosen: dict[str, Any] = {"loss": classify, "optimizer": optim.Adam} | changes
    return Row(name=name, twin=twin, model=model, batch=batch, gflop=gflop, **chosen)


_ROWS = (
    _row("cifar-cnn 64", "cifar-cnn", CifarCNN, images(64), 1.65),
    _row("cifar-cnn 256", "cifar-cnn", CifarCNN, images(256), 6.59),
    _row("mlp 128", "mlp", lambda: mlp(784, 512, 512, 10), vectors(128), 0.41),
    _row("mlp-small 32", "mlp-small", lambda: mlp(784, 128, 10), vectors(32), 0.013),
    _row("resnet20 32", "resnet20", ResNet20, images(32), 7.81, optimizer=momentum),
    _row("lstm", "lstm", lambda: Tagger("LSTM"), sequences(), 1.55, loss=tag),
    _row("gru", "gru", lambda: Tagger("GRU"), sequences(), 1.17, loss=tag),
    _row("gpt", "gpt", GPT, texts(), 145, loss=next_character, optimizer=optim.AdamW),
    _row(
        "seq2seq",
        "seq2seq",
        lambda: Seq2Seq(Sizes(dropout=0.0)),
        translations(),
        48,
        loss=translation_loss,
        optimizer=optim.AdamW,
    ),
)

ROWS: dict[str, Row] = {row.name: row for row in _ROWS}


def lstm() -> TrainStep:
    """For `graphc bench bench/models.py:lstm`."""
    return ROWS["lstm"].step()


def gru() -> TrainStep:
    """For `graphc bench bench/models.py:gru`."""
    return ROWS["gru"].step()
