"""A Transformer that translates: pre-norm encoder and decoder, sinusoidal positions.

Vaswani et al., Attention is all you need, 2017. The head shares the target embedding's weights,
and so does the source embedding where both languages have one vocabulary (`shared`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

import graphc.functional as F
from graphc import data as datasets
from graphc import nn, optim
from graphc.errors import ArgumentError
from graphc.frontends.nn.transformer import glorot_uniform
from graphc.frontends.train.data.buckets import BucketLoader
from graphc.frontends.train.data.tokenizers import PADDING, Tokenizer, tokenizer_from_json
from graphc.frontends.train.step import TrainStep
from graphc.models.phrases import pairs

EPOCHS = 6
VOCABULARY = 8000  # of byte pairs, shared by both languages
# Lengths that batches are padded to, end or start of the sentence included.
BUCKETS = (12, 16, 20, 24, 32, 48)
PHRASE_BUCKETS = (12, 16)

Pair = tuple[str, str]
Tokenizers = tuple[Tokenizer, Tokenizer]


@dataclass(frozen=True)
class Sizes:
    """What a seq2seq is made of. `length` is the most codes of a sentence, its end included."""

    source_vocabulary: int = 8000
    target_vocabulary: int = 8000
    length: int = 64
    width: int = 256
    heads: int = 4
    feed_forward: int = 1024
    layers: int = 3
    dropout: float = 0.1
    shared: bool = False


class Seq2Seq(nn.Module):
    """source i32[N, S], target i32[N, T] -> scores[N, T, target words] of what follows in target.

    Padding of the source is not looked at; a target position looks at those up to itself.
    """

    def __init__(self, sizes: Sizes | None = None, tokenizers: Tokenizers | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        _check_sizes(sizes, tokenizers)
        self.sizes = sizes
        self.tokenizers = tokenizers
        drawn = nn.init.normal(0.0, 1 / math.sqrt(sizes.width))
        self.source = nn.Embedding(sizes.source_vocabulary, sizes.width)
        self.target = nn.Embedding(sizes.target_vocabulary, sizes.width)
        for table in (self.source, self.target):
            table.weight = nn.Parameter(table.weight.shape, drawn)
        if sizes.shared:
            self.source.weight = self.target.weight
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

    # Step by step: see `graphc.decoding.beam_search`

    def make_cache(
        self, rows: int, sentences: int, source: int, length: int | None = None
    ) -> Seq2SeqCache:
        """For `rows` targets of up to `length` codes, of `sentences` sources of `source` codes."""
        most = self.sizes.length if length is None else length
        layers = self.decoder.make_cache(rows, most, sentences, source)
        return Seq2SeqCache(layers, sentences, source)

    def start(self, source: Any, cache: Seq2SeqCache) -> None:
        """Encode source i32[sentences, source] into the cache."""
        self.decoder.remember(self.encode(source), cache.layers)
        cache.padding = source == PADDING

    def step(self, target: Any, cache: Seq2SeqCache, position: Any) -> Any:
        """Scores[rows, L, target words] of target i32[rows, L] from `position` on."""
        x = self.decoder(
            self._embedded(self.target, target, position),
            None,
            memory_key_padding_mask=cache.padding,
            cache=cache.layers,
            position=position,
        )
        return self.head(x)

    def run_description(self) -> dict[str, Any]:
        """What `restore` makes an equal model of: sizes, and the tokenizers where it has them."""
        source, target = self.tokenizers or (None, None)
        return {
            "model": "seq2seq",
            "sizes": asdict(self.sizes),
            "source": None if source is None else source.to_json(),
            "target": None if target is None or target is source else target.to_json(),
        }

    def _embedded(self, table: nn.Embedding, words: Any, position: Any = 0) -> Any:
        return self.dropout(self.positions(table(words) * math.sqrt(self.sizes.width), position))


class Seq2SeqCache(nn.Module):
    """The decoder layers' caches, and which codes of the sources are padding."""

    def __init__(self, layers: nn.ModuleList, sentences: int, source: int) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("padding", np.zeros((sentences, source), bool), persistent=False)


def translation_loss(model: Any, source: Any, target: Any, following: Any) -> Any:
    """Mean cross entropy of the words that follow, padding left out, smoothed in training."""
    scores = model(source, target)
    return F.cross_entropy(
        scores.reshape((-1, scores.shape[-1])),
        following.reshape((-1,)),
        ignore_index=PADDING,
        label_smoothing=0.1 if model.training else 0.0,
    )


def _check_sizes(sizes: Sizes, tokenizers: Tokenizers | None) -> None:
    """Raises ArgumentError for vocabularies that do not fit each other."""
    vocabularies = sizes.source_vocabulary, sizes.target_vocabulary
    if sizes.shared and vocabularies[0] != vocabularies[1]:
        raise ArgumentError(f"Seq2Seq: shared embeddings of vocabularies of {vocabularies} words")
    if tokenizers is not None and (len(tokenizers[0]), len(tokenizers[1])) != vocabularies:
        found = len(tokenizers[0]), len(tokenizers[1])
        raise ArgumentError(f"Seq2Seq: tokenizers of {found} codes for {vocabularies}")


def restore(description: Mapping[str, Any]) -> Seq2Seq:
    """The model, with first weights, of a `run_description`."""
    known = {field.name for field in fields(Sizes)}
    sizes = Sizes(**{name: description["sizes"][name] for name in known})
    if description["source"] is None:
        return Seq2Seq(sizes)
    source = tokenizer_from_json(description["source"], "the source tokenizer")
    other = description["target"]
    target = source if other is None else tokenizer_from_json(other, "the target tokenizer")
    return Seq2Seq(sizes, (source, target))


def make(
    data: str | None = None,
    batch_size: int | None = None,
    epochs: int = EPOCHS,
    sizes: Sizes | None = None,
    rate: float = 1e-3,
) -> tuple[TrainStep, Any, Any]:
    """(step, training loader, validation loader) on made phrases, or Multi30k en-de at `data`.

    `sizes` says what the model is made of, but for vocabularies and `shared`, which follow from
    the data.
    """
    parts = _of_phrases() if data is None else _of_multi30k(data)
    train, test, tokenizers, buckets = parts
    size = (16 if data is None else 64) if batch_size is None else batch_size
    loaders = tuple(_loaders((train, test), tokenizers, buckets, size))
    model = Seq2Seq(_fitting(sizes or _default(data), tokenizers), tokenizers)
    steps = max(1, epochs * len(loaders[0]))
    step = TrainStep(model, translation_loss, optimizer(steps, rate), buckets=loaders[0].specs)
    return step, loaders[0], loaders[1]


def optimizer(steps: int, rate: float) -> optim.AdamW:
    """AdamW whose rate rises for up to 1,000 steps and falls along a cosine."""
    warmup = min(1000, steps // 10)
    schedule = optim.schedules.cosine(rate, steps, warmup_steps=warmup, minimum=rate / 100)
    return optim.AdamW(lr=schedule, betas=(0.9, 0.98), eps=1e-9, clip_norm=1.0)


def _default(data: str | None) -> Sizes:
    """Small phrases need no regularisation; 29,000 sentences need much."""
    if data is None:
        return Sizes(length=32, width=128, feed_forward=256, layers=2)
    return Sizes(length=128, feed_forward=512, dropout=0.2)


def _fitting(sizes: Sizes, tokenizers: Tokenizers) -> Sizes:
    source, target = tokenizers
    return replace(
        sizes,
        source_vocabulary=len(source),
        target_vocabulary=len(target),
        shared=source is target,
    )


Parts = tuple[Sequence[Pair], Sequence[Pair], Tokenizers, tuple[int, ...]]


def _of_phrases() -> Parts:
    """(training pairs, test pairs, tokenizers, buckets) of made phrases: a code a word."""
    train = pairs(4000, seed=1)
    english, german = zip(*train, strict=True)
    words = datasets.WordTokenizer.train(english), datasets.WordTokenizer.train(german)
    return train, pairs(400, seed=2), words, PHRASE_BUCKETS


def _of_multi30k(data: str) -> Parts:
    """Of a folder of the published files: byte pairs of both languages together."""
    train, validation = datasets.multi30k(data, "train"), datasets.multi30k(data, "val")
    lines = [sentence for pair in train for sentence in pair]
    pieces = datasets.BytePairTokenizer.train(lines, VOCABULARY)
    return train, validation, (pieces, pieces), BUCKETS


def _loaders(
    parts: tuple[Sequence[Pair], Sequence[Pair]],
    tokenizers: Tokenizers,
    buckets: tuple[int, ...],
    batch_size: int,
) -> Iterator[BucketLoader]:
    """For training, without sentences beyond the last bucket, and for validation."""
    for number, found in enumerate(parts):
        yield BucketLoader(
            datasets.translations(found, *tokenizers),
            batch_size,
            buckets=[(length,) * 3 for length in buckets],
            shuffle=number == 0,
            padding=PADDING,
            lengths=False,
            too_long="drop",
        )
