"""Beam search: the likeliest target sequences of an encoder-decoder, by its cached steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.compile import CompiledFunction
from graphc.frontends.decoding.decoder import Decoder
from graphc.frontends.nn.cache import select_rows
from graphc.frontends.tracing import Spec
from graphc.frontends.tracing import functional as F

Array = np.ndarray[Any, Any]
BLOCK = 32  # tokens of which first the greatest is looked at
_SCALAR = Spec((), "int32")


@dataclass(frozen=True)
class Hypothesis:
    """A target sequence without its start and end tokens.

    log_probability   of the tokens and of the end
    score             that over the length penalty, by which hypotheses are ordered
    is_finished       whether the end was reached within the length
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    is_finished: bool = True


def length_penalty(length: Any, alpha: float) -> Any:
    """((5 + length) / 6)^alpha: Wu et al., arXiv:1609.08144, equation 14.

    >>> float(length_penalty(1, 0.6)), round(float(length_penalty(7, 1.0)), 3)
    (1.0, 2.0)
    """
    return ((5 + np.asarray(length, np.float64)) / 6) ** alpha


class BeamDecoder(Decoder):
    """`width` target sequences for each of `sentences` source sentences of `source` tokens.

    The model has

        make_cache(rows, sentences, source) -> Module     for rows = sentences width; also takes
                                                          `length` where one is given
        start(source i32[sentences, source], cache)       which encodes and fills the cache
        step(tokens i32[rows, 1], cache, position) -> scores[rows, 1, vocabulary]

    Rows n width … n width + width - 1 belong to sentence n. What is computed from the source is
    kept once a sentence. `length` is how many target positions the cache has, by default as many
    as the model takes; fewer are faster. Options are Decoder's.
    """

    def __init__(
        self,
        model: Any,
        sentences: int,
        source: int,
        width: int = 4,
        length: int | None = None,
        **options: Any,
    ) -> None:
        if min(sentences, source, width) < 1:
            raise ArgumentError(
                f"BeamDecoder: {width} beams for {sentences} sentences of {source} tokens; "
                "expected at least 1 of each"
            )
        for name in ("make_cache", "start", "step"):
            if not hasattr(model, name):
                raise ArgumentError(
                    f"{type(model).__name__} has no {name}: beam search calls make_cache(rows, "
                    "sentences, source), start(source, cache) and step(tokens, cache, position)"
                )
        self.sentences, self.source, self.width = sentences, source, width
        rows = sentences * width
        limit = {} if length is None else {"length": length}
        cache = model.make_cache(rows, sentences, source, **limit)
        super().__init__(model, rows, 1, cache=cache, **options)

    def start(self, source: Any) -> None:
        """Take up source[sentences, source] and begin at position 0."""
        given = np.asarray(source)
        if given.shape != (self.sentences, self.source) or given.dtype.kind not in "iu":
            raise ShapeError(
                f"BeamDecoder: source is {given.dtype}{list(given.shape)}; "
                f"expected integers [{self.sentences}, {self.source}]"
            )
        self.starting()(given.astype(np.int32))
        self.position = 0

    def advance(self, tokens: Any, origins: Any) -> Array:
        """Take up tokens[rows] after the sequences of the rows `origins`[rows]; logarithms of the
        probabilities [rows, vocabulary] of what follows."""
        given = self._fitted(np.asarray(tokens)[:, None])
        program = self.advancing(reorders=self.position > 0 and self.width > 1)
        rows = (np.asarray(origins, np.int32),) if self.position and self.width > 1 else ()
        found: Array = program(given, np.int32(self.position), *rows)
        self.position += 1
        return found

    def starting(self) -> CompiledFunction:
        """The program that encodes."""

        def start(source: Any) -> None:
            self.model.start(source, self.cache)

        return self._program("start", start, Spec((self.sentences, self.source), "int32"))

    def advancing(self, reorders: bool) -> CompiledFunction:
        """The program of one position; where it `reorders`, after rows changed places."""

        def advance(tokens: Any, position: Any, *origins: Any) -> Any:
            for rows in origins:
                select_rows(self.cache, rows)
            return F.log_softmax(self._step(tokens, position)[:, -1], dim=-1)

        specs = (self._tokens(1), _SCALAR, *([Spec((self.rows,), "int32")] if reorders else []))
        return self._program(("advance", reorders), advance, *specs)


def beam_search(
    model: Any,
    source: Any,
    *,
    start: int,
    end: int,
    width: int = 4,
    length: int | None = None,
    alpha: float = 0.6,
    **options: Any,
) -> list[list[Hypothesis]]:
    """For each sentence of source i32[N, S] up to `width` hypotheses, the best first.

    model    an encoder-decoder, or a BeamDecoder for N sentences of S tokens, which is used again
    start    the token that the target begins with; `end` ends it
    length   the most target tokens, the end included; by default as many as the cache holds
    alpha    of the length penalty; 0 compares plain probabilities
    options  of a BeamDecoder that is made

    A sentence is done when no sequence that goes on can come before its last hypothesis.
    """
    given = np.asarray(source)
    if given.ndim != 2:
        raise ShapeError(f"beam_search: source has shape {list(given.shape)}; expected [N, S]")
    sentences, size = given.shape
    is_made = isinstance(model, BeamDecoder)
    decoder = model if is_made else BeamDecoder(model, sentences, size, width, **options)
    most = decoder.length if length is None else length
    if not 1 <= most <= decoder.length or not alpha >= 0:
        raise ArgumentError(
            f"beam_search: length {most}, alpha {alpha}; expected 1 to {decoder.length} tokens and "
            "an alpha of 0 or more"
        )
    decoder.start(given)
    search = _Search(decoder.sentences, decoder.width, end, most, alpha)
    tokens, origins = np.full(decoder.rows, start), np.arange(decoder.rows)
    while not search.is_done:
        tokens, origins = search.take(decoder.advance(tokens, origins))
    return search.results()


def _block_maxima(x: Array) -> Array:
    """The greatest of every BLOCK neighbours in a row, and of what is left at its end."""
    whole = x.shape[1] // BLOCK * BLOCK
    tops = x[:, :whole].reshape(x.shape[0], -1, BLOCK).max(2)
    if whole == x.shape[1]:
        return np.asarray(tops)
    return np.concatenate([tops, x[:, whole:].max(1, keepdims=True)], axis=1)


def _greatest(x: Array, count: int, extent: int) -> tuple[Array, Array]:
    """Where the `count` greatest of x[N, M, extent] are in the last two dimensions, the greatest
    first; equal ones in their order."""
    flat = x.reshape(x.shape[0], -1)
    best = np.argpartition(-flat, count - 1, axis=1)[:, :count]
    best.sort(axis=1)
    order = np.argsort(-np.take_along_axis(flat, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    return best // extent, best % extent


@dataclass
class _Search:
    """The beams of all sentences: logarithms of probabilities, tokens so far, what is finished."""

    sentences: int
    width: int
    end: int
    most: int
    alpha: float
    steps: int = 0
    finished: list[list[Hypothesis]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.finished = [[] for _ in range(self.sentences)]
        # All beams are equal at first: only one of each sentence counts.
        self.totals = np.full((self.sentences, self.width), -math.inf)
        self.totals[:, 0] = 0.0
        self.tokens = np.zeros((self.sentences, self.width, self.most), np.int32)
        self.done = np.zeros(self.sentences, bool)

    @property
    def is_done(self) -> bool:
        return self.steps == self.most or bool(self.done.all())

    def take(self, log_probs: Array) -> tuple[Array, Array]:
        """Tokens and rows that go on, from log_probs[rows, vocabulary]."""
        totals, origins, tokens = self._candidates(log_probs)
        self.steps += 1
        ends = tokens == self.end
        self._finish(totals, origins, ends)
        # The first `width` of the 2 width candidates that do not end: there are as many.
        order = np.argsort(ends, axis=1, kind="stable")[:, : self.width]
        self.totals, origins, tokens = (
            np.take_along_axis(part, order, axis=1) for part in (totals, origins, tokens)
        )
        self.totals = np.where(np.take_along_axis(ends, order, axis=1), -math.inf, self.totals)
        self.tokens = np.take_along_axis(self.tokens, origins[:, :, None], axis=1)
        self.tokens[:, :, self.steps - 1] = tokens
        self._close()
        rows = np.arange(self.sentences)[:, None] * self.width + origins
        return tokens.ravel(), rows.ravel()

    def _candidates(self, log_probs: Array) -> tuple[Array, Array, Array]:
        """(log-probability, beam, token), each [sentences, 2 width], the likeliest first.

        They are looked for in the blocks of tokens whose greatest are among the greatest.
        """
        vocabulary = log_probs.shape[-1]
        tops = _block_maxima(log_probs)
        blocks = tops.shape[-1]
        grown = self.totals[:, :, None] + tops.reshape(self.sentences, self.width, blocks)
        beams, chosen = _greatest(grown, min(2 * self.width, self.width * blocks), blocks)
        tokens = chosen[:, :, None] * BLOCK + np.arange(BLOCK)
        is_token, tokens = tokens < vocabulary, np.minimum(tokens, vocabulary - 1)
        rows = np.arange(self.sentences)[:, None] * self.width + beams
        found = log_probs[rows[:, :, None], tokens]
        totals = np.take_along_axis(self.totals, beams, axis=1)[:, :, None] + found
        totals = np.where(is_token, totals, -math.inf)
        count = min(2 * self.width, self.width * vocabulary)
        places, within = _greatest(totals, count, BLOCK)
        number = np.arange(self.sentences)[:, None]
        return (
            totals[number, places, within],
            beams[number, places],
            tokens[number, places, within],
        )

    def _finish(self, totals: Array, origins: Array, ends: Array) -> None:
        """Enter the candidates among the first `width` that end."""
        penalty = float(length_penalty(self.steps, self.alpha))
        for sentence, place in zip(*np.nonzero(ends[:, : self.width]), strict=True):
            total = float(totals[sentence, place])
            if self.done[sentence] or total == -math.inf:
                continue
            tokens = self.tokens[sentence, origins[sentence, place], : self.steps - 1]
            found = Hypothesis(tuple(tokens.tolist()), total, total / penalty)
            self.finished[sentence].append(found)

    def _close(self) -> None:
        """Mark the sentences whose beams can do no better than what is finished."""
        longest = float(length_penalty(self.most, self.alpha))
        for sentence, found in enumerate(self.finished):
            found.sort(key=lambda item: -item.score)
            del found[self.width :]
            if len(found) == self.width:
                bound = float(self.totals[sentence].max()) / longest
                self.done[sentence] |= bound <= found[-1].score

    def results(self) -> list[list[Hypothesis]]:
        """What is finished; a sentence with nothing finished gives its beams as they are."""
        return [found or self._unfinished(n) for n, found in enumerate(self.finished)]

    def _unfinished(self, sentence: int) -> list[Hypothesis]:
        penalty = float(length_penalty(self.steps, self.alpha))
        return [
            Hypothesis(
                tuple(tokens[: self.steps].tolist()), float(total), float(total) / penalty, False
            )
            for total, tokens in zip(self.totals[sentence], self.tokens[sentence], strict=True)
            if total > -math.inf
        ]
