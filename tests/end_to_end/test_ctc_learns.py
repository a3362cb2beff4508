"""An LSTM learns to write down spoken symbols of unknown times, by CTC, and reads new ones."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.decoding import character_error_rate, ctc_beam_search, ctc_greedy

STEPS, ROWS, FEATURES, SYMBOLS = 40, 16, 6, 4


class Listener(nn.Module):
    """x[T, N, 6] -> log-probabilities [T, N, 1 + 4], the blank first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, 24, bidirectional=True)
        self.head = nn.Linear(48, 1 + SYMBOLS)

    def forward(self, x: Any, lengths: Any) -> Any:
        return F.log_softmax(self.head(self.rnn(x, lengths=lengths)[0]), -1)


def spoken(random: np.random.Generator) -> tuple[np.ndarray[Any, Any], ...]:
    """Each row says 2 to 5 symbols, each for 2 to 5 steps, with pauses, in noise."""
    shapes = np.random.default_rng(0).normal(size=(1 + SYMBOLS, FEATURES))
    x = 0.5 * random.normal(size=(STEPS, ROWS, FEATURES))
    targets = np.zeros((ROWS, 5), np.int32)
    lengths, counts = np.zeros(ROWS, np.int32), random.integers(2, 6, ROWS).astype(np.int32)
    for row, count in enumerate(counts):
        targets[row, :count] = random.integers(1, 1 + SYMBOLS, count)
        for symbol in targets[row, :count]:
            pause, spell = random.integers(1, 3), random.integers(2, 6)
            start = lengths[row] + pause
            x[start : start + spell, row] += shapes[symbol]
            lengths[row] = start + spell
    return x.astype(np.float32), targets, lengths, counts


def test_an_lstm_learns_by_ctc() -> None:
    random = np.random.default_rng(1)
    batch = spoken(random)
    specs = [graphc.Spec(array.shape, str(array.dtype)) for array in batch]
    model = Listener()

    def loss(model: Any, x: Any, targets: Any, lengths: Any, counts: Any) -> Any:
        return F.ctc_loss(model(x, lengths), targets, lengths, counts)

    step = graphc.TrainStep(model, loss, optim.Adam(lr=1e-2), *specs, threads=1)
    losses = [float(step(*spoken(random))) for _ in range(150)]
    assert losses[-1] < 0.1 * losses[0]
    x, targets, lengths, counts = spoken(random)
    scores = graphc.compile(model, specs[0], specs[2], threads=1)(x, lengths)
    meant = [row[:count].tolist() for row, count in zip(targets, counts, strict=True)]
    best = [labels for labels, _ in ctc_beam_search(scores, lengths, width=8)]
    greedy = character_error_rate(ctc_greedy(scores, lengths), meant)
    beam = character_error_rate(best, meant)
    assert greedy < 0.1 and beam < 0.1, (greedy, beam)
