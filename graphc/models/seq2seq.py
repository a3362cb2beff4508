"""A Transformer that translates: pre-norm encoder and decoder, sinusoidal positions.

Vaswani et al., Attention is all you need, 2017. The head shares the target embedding's weights.
"""

from __future__ import annotations

import gzip
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import graphc.functional as F
from graphc import data as datasets
from graphc import nn, optim
from graphc.errors import DataError
from graphc.frontends.nn.transformer import glorot_uniform
from graphc.frontends.tracing import Spec
from graphc.frontends.train.step import TrainStep
from graphc.models.phrases import pairs

EPOCHS = 6
PADDING, START, END, UNKNOWN = range(4)
_SPECIAL = ("<padding>", "<start>", "<end>", "<unknown>")
_WORD = re.compile(r"\w+|[^\w\s]")

Codes = np.ndarray[Any, Any]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Sizes:
    """What a seq2seq is made of. Lengths include <start> and <end>."""

    source_vocabulary: int = 8000
    target_vocabulary: int = 8000
    length: int = 64
    width: int = 256
    heads: int = 4
    feed_forward: int = 1024
    layers: int = 3
    dropout: float = 0.1


class Seq2Seq(nn.Module):
    """source i32[N, S], target i32[N, T] -> scores[N, T, target words] of what follows in target.

    Padding of the source is not looked at; a target position looks at those up to itself.
    """

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.sizes = sizes
        drawn = nn.init.normal(0.0, 1 / math.sqrt(sizes.width))
        self.source = nn.Embedding(sizes.source_vocabulary, sizes.width)
        self.target = nn.Embedding(sizes.target_vocabulary, sizes.width)
        for table in (self.source, self.target):
            table.weight = nn.Parameter(table.weight.shape, drawn)
        self.positions = nn.SinusoidalPositions(sizes.length, sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)
        options: dict[str, Any] = {"batch_first": True, "norm_first": True}
        layer = (sizes.width, sizes.heads, sizes.feed_forward, sizes.dropout)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*layer, **options), sizes.layers, nn.LayerNorm(sizes.width)
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(*layer, **options), sizes.layers, nn.LayerNorm(sizes.width)
        )
        glorot_uniform(self.encoder)
        glorot_uniform(self.decoder)
        self.head = nn.Linear(sizes.width, sizes.target_vocabulary, bias=False)
        self.head.weight = self.target.weight

    def forward(self, source: Any, target: Any) -> Any:
        return self.decode(self.encode(source), source, target)

    def encode(self, source: Any) -> Any:
        """[N, S, width]."""
        return self.encoder(
            self._embedded(self.source, source), src_key_padding_mask=source == PADDING
        )

    def decode(self, memory: Any, source: Any, target: Any) -> Any:
        """Scores of target, given what `encode` made of source."""
        x = self.decoder(
            self._embedded(self.target, target),
            memory,
            tgt_is_causal=True,
            memory_key_padding_mask=source == PADDING,
        )
        return self.head(x)

    def _embedded(self, table: nn.Embedding, words: Any) -> Any:
        return self.dropout(self.positions(table(words) * math.sqrt(self.sizes.width)))


def translation_loss(model: Any, source: Any, target: Any, following: Any) -> Any:
    """Mean cross entropy of the words that follow, padding left out, smoothed in training."""
    scores = model(source, target)
    return F.cross_entropy(
        scores.reshape((-1, scores.shape[-1])),
        following.reshape((-1,)),
        ignore_index=PADDING,
        label_smoothing=0.1 if model.training else 0.0,
    )


# Data


@dataclass(frozen=True)
class Vocabulary:
    """Words by their codes."""

    words: tuple[str, ...]

    def encode(self, sentence: str, length: int) -> Codes:
        """<start>, words, <end>, padding, i32[length]; words that do not fit are left out."""
        codes = {word: code for code, word in enumerate(self.words)}
        found = [codes.get(word, UNKNOWN) for word in words_of(sentence)][: length - 2]
        line = [START, *found, END]
        return np.array(line + [PADDING] * (length - len(line)), np.int32)


def words_of(sentence: str) -> list[str]:
    """Lower-case words and signs.

    >>> words_of("Ein Mann, der liest.")
    ['ein', 'mann', ',', 'der', 'liest', '.']
    """
    return _WORD.findall(sentence.lower())


def vocabulary(sentences: Iterable[str], most: int) -> Vocabulary:
    """The most frequent words, ties by the alphabet."""
    counts = Counter(word for sentence in sentences for word in words_of(sentence))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return Vocabulary((*_SPECIAL, *ordered[: most - len(_SPECIAL)]))


def read_pairs(folder: str, part: str) -> list[Pair]:
    """(English, German) of PART.en and PART.de, plain or gzip. Raises DataError without them."""
    lines = [_lines(Path(folder), f"{part}.{language}") for language in ("en", "de")]
    if len(lines[0]) != len(lines[1]):
        raise DataError(f"{folder}: {part}.en has {len(lines[0])} lines, .de {len(lines[1])}")
    return list(zip(*lines, strict=True))


def _lines(folder: Path, name: str) -> list[str]:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            data = path.read_bytes()
            try:
                text = gzip.decompress(data) if path.suffix == ".gz" else data
                return text.decode().splitlines()
            except (OSError, EOFError, UnicodeDecodeError) as error:
                raise DataError(f"{path}: {error}") from None
    raise DataError(f"{folder} has no {name} and no {name}.gz")


def arrays(found: Sequence[Pair], words: tuple[Vocabulary, Vocabulary], length: int) -> Any:
    """A data set of (source [S], target [T], what follows in target [T])."""
    source = np.stack([words[0].encode(english, length) for english, _ in found])
    target = np.stack([words[1].encode(german, length + 1) for _, german in found])
    return datasets.arrays(source, target[:, :-1], target[:, 1:])


def make(
    data: str | None = None, batch_size: int = 16, epochs: int = EPOCHS
) -> tuple[TrainStep, Any, Any]:
    """(step, training loader, test loader) on made phrases, or Multi30k en-de at `data`."""
    if data is None:
        train, test, length, most = pairs(4000, seed=1), pairs(400, seed=2), 16, 200
    else:
        train, test, length, most = read_pairs(data, "train"), read_pairs(data, "val"), 64, 8000
    words = tuple(vocabulary((pair[side] for pair in train), most) for side in (0, 1))
    known = words[0], words[1]
    sizes = Sizes(len(known[0].words), len(known[1].words), length)
    batch = Spec((batch_size, length), "i32")
    steps = max(1, epochs * (len(train) // batch_size))
    rate = optim.schedules.cosine(5e-4, steps, warmup_steps=min(1000, steps // 10), minimum=1e-5)
    optimizer = optim.AdamW(lr=rate, betas=(0.9, 0.98), eps=1e-9, clip_norm=1.0)
    step = TrainStep(Seq2Seq(sizes), translation_loss, optimizer, batch, batch, batch)
    loaders = [
        datasets.Loader(arrays(found, known, length), batch_size, shuffle=shuffle)
        for found, shuffle in ((train, True), (test, False))
    ]
    return step, loaders[0], loaders[1]
