"""Spoken digits written down: log-mel frames, a bidirectional LSTM, and CTC.

A. Graves et al., "Connectionist temporal classification", 2006. Three frames are taken as one step
(H. Sak et al., "Fast and accurate recurrent neural network acoustic models", 2015).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import graphc.functional as F
from graphc import data as datasets
from graphc import nn, optim
from graphc.decoding import ctc_beam_search
from graphc.errors import DataError
from graphc.frontends.compile import compile
from graphc.frontends.tracing import Spec
from graphc.frontends.train.data.wav import Sound, sounds_in
from graphc.frontends.train.step import TrainStep
from graphc.metrics import ctc_error_rate
from graphc.models.made_digits import made_digits
from graphc.models.prediction import Prediction
from graphc.models.saved import SavedRun

EPOCHS = 20
CHARACTERS = "0123456789"
MOST_DIGITS = 7
BLANK = 0  # the digit d is label d + 1

Array = np.ndarray[Any, Any]
Split = tuple[datasets.SpokenDigits, datasets.SpokenDigits]


@dataclass(frozen=True)
class Sizes:
    """What the model is made of, and the sounds that it takes."""

    rate: int = 8000
    filters: int = 40
    stack: int = 3  # frames a step
    hidden: int = 128  # of each direction
    layers: int = 2
    dropout: float = 0.2

    @property
    def features(self) -> datasets.LogMel:
        return datasets.LogMel(self.rate, self.filters)

    def frames_of(self, samples: Array) -> Array:
        """The normalised log-mel frames [T, filters] of samples [n]."""
        return datasets.normalised(self.features(samples))

    def whole_steps(self, frames: int) -> int:
        """The number of frames, or the next that is a whole number of steps."""
        return -(-frames // self.stack) * self.stack


class LstmCTC(nn.Module):
    """frames x[N, T, filters], of which lengths[N] count, to the logarithms of the labels'
    probabilities [N, T / stack, labels] and how many of those steps count, [N].

    T is a multiple of `stack`. Label 0 is the blank.
    """

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.sizes = sizes
        self.rnn = nn.LSTM(
            sizes.stack * sizes.filters,
            sizes.hidden,
            sizes.layers,
            dropout=sizes.dropout if sizes.layers > 1 else 0.0,
            bidirectional=True,
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.head = nn.Linear(2 * sizes.hidden, 1 + len(CHARACTERS))

    def forward(self, x: Any, lengths: Any) -> Any:
        count, frames, filters = x.shape
        stack = self.sizes.stack
        steps = (lengths + (stack - 1)) // stack
        x = x.reshape((count, frames // stack, stack * filters)).transpose((1, 0, 2))
        outputs, _ = self.rnn(x, lengths=steps)
        scores = self.head(self.dropout(outputs))
        return F.log_softmax(scores, dim=-1).transpose((1, 0, 2)), steps

    def run_description(self) -> dict[str, Any]:
        return {"model": "lstm-ctc", **asdict(self.sizes)}

    metrics = (ctc_error_rate(lambda model, x, lengths, labels, counts: model(x, lengths)),)


def ctc(model: Any, x: Any, lengths: Any, labels: Any, counts: Any) -> Any:
    """-log of the probability of each utterance's labels, over their number; the mean."""
    log_probs, steps = model(x, lengths)
    return F.ctc_loss(log_probs.transpose((1, 0, 2)), labels, steps, counts, BLANK)


def restore(description: Mapping[str, Any]) -> LstmCTC:
    """The model of a run's description, without its weights."""
    names = Sizes.__dataclass_fields__
    return LstmCTC(Sizes(**{name: description[name] for name in names}))


# Training


@dataclass(frozen=True)
class Plan:
    """How it is trained: utterances joined from recordings and played faster by a factor from
    `speeds`, and the lengths of their buckets.
    """

    utterances: int = 4000
    tests: int = 500
    buckets: tuple[int, ...] = (240, 300, 360)  # frames; one more holds the longest
    rate: float = 3e-3
    speeds: tuple[float, float] = (1.0, 1.0)


SMALL = Sizes(hidden=48, layers=1, dropout=0.1)
SMALL_PLAN = Plan(utterances=1200, tests=100, buckets=(240,), rate=1e-2)


def make(
    data: str | None = None, batch_size: int = 32, epochs: int = EPOCHS
) -> tuple[TrainStep, Any, Any]:
    """(step, training loader, test loader) on digits of made voices, or on FSDD at `data`."""
    if data is None:
        return make_from(made_digits().official_split(), batch_size, epochs, SMALL, SMALL_PLAN)
    return make_from(datasets.fsdd(data).official_split(), batch_size, epochs)


def make_from(
    split: Split,
    batch_size: int = 32,
    epochs: int = EPOCHS,
    sizes: Sizes | None = None,
    plan: Plan | None = None,
) -> tuple[TrainStep, Any, Any]:
    """`make` with recordings to train on and to test by."""
    plan = plan or Plan()
    sizes = sizes or Sizes(rate=split[0].rate)
    training = utterances(split[0], plan.utterances, 1, sizes, plan.speeds)
    test = utterances(split[1], plan.tests, 2, sizes)
    longest = max(int(part.lengths[:, 0].max()) for part in (training, test))
    lengths = [*plan.buckets, sizes.whole_steps(max(longest, plan.buckets[-1] + 1))]
    buckets = [(length, MOST_DIGITS) for length in lengths]
    masks = datasets.SpecAugment()
    train_loader = datasets.BucketLoader(training, batch_size, buckets, transform=masks)
    test_loader = datasets.BucketLoader(test, batch_size, buckets, shuffle=False)
    steps = max(1, epochs * len(train_loader))
    rate = optim.schedules.cosine(plan.rate, steps, warmup_steps=steps // 20, minimum=1e-5)
    optimizer = optim.Adam(lr=rate, clip_norm=1.0)
    step = TrainStep(LstmCTC(sizes), ctc, optimizer, buckets=train_loader.specs)
    return step, train_loader, test_loader


def utterances(
    spoken: datasets.SpokenDigits,
    count: int,
    seed: int,
    sizes: Sizes,
    speeds: tuple[float, float] = (1.0, 1.0),
) -> datasets.SequenceDataset:
    """Connected digits as (frames [T, filters], labels [k])."""
    joined = datasets.connected_digits(spoken, count, seed, most=MOST_DIGITS, speeds=speeds)
    pairs = [joined[index] for index in range(len(joined))]
    return datasets.sequences(
        [sizes.frames_of(samples) for samples, _ in pairs], [digits + 1 for _, digits in pairs]
    )


# Use


def predict(saved: SavedRun, paths: Sequence[str]) -> Iterator[Prediction]:
    """The digits that are said in each wav file, or each one of a folder or zip file.

    They are those of the likeliest labels over all alignments, by prefix beam search. Raises
    DataError for a file that is no wav file, or of another rate than the training's.
    """
    sizes: Sizes = saved.model.sizes
    sounds = [sound for path in paths for sound in sounds_in(path)]
    frames = [(name, _frames(name, sound, sizes)) for name, sound in sounds]
    size = sizes.whole_steps(max(len(part) for _, part in frames))
    program = compile(saved.model, Spec((1, size, sizes.filters)), Spec((1,), "i32"))
    for name, part in frames:
        padded = np.zeros((1, size, sizes.filters), np.float32)
        padded[0, : len(part)] = part
        yield _heard(name, *program(padded, np.array([len(part)], np.int32)))


def _frames(name: str, sound: Sound, sizes: Sizes) -> Array:
    if sound.rate != sizes.rate:
        raise DataError(
            f"{name}: has {sound.rate} samples a second; the model was trained on {sizes.rate}"
        )
    return sizes.frames_of(sound.samples)


def _heard(name: str, log_probs: Array, steps: Array) -> Prediction:
    ((labels, likelihood),) = ctc_beam_search(log_probs.transpose(1, 0, 2), steps, BLANK)
    digits = "".join(CHARACTERS[label - 1] for label in labels)
    share = float(np.exp(likelihood))
    return Prediction(name, f"{digits}  {share:.4f}", {"digits": digits, "probability": share})
