"""Translations by a trained seq2seq: sentences in, sentences out, many at once.

Sentences of like lengths are put together, padded to one of a few lengths; each length has a
decoder with programs of its own, kept for the next call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DataError
from graphc.frontends.decoding.beams import BeamDecoder, Hypothesis, beam_search
from graphc.frontends.train.data.buckets import BucketLoader, sequences
from graphc.frontends.train.data.parallel import ended
from graphc.frontends.train.data.tokenizers import END, PADDING, START
from graphc.models.seq2seq import Seq2Seq

Array = np.ndarray[Any, Any]

LENGTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128)  # what sources are padded to, their end included
BATCHES = (1, 8)  # how many sentences a program takes, beside the batch size


class Translator:
    """A seq2seq with its tokenizers, in evaluation mode.

    beam            how many hypotheses go on at every step; 1 takes the likeliest code
    length_penalty  alpha of ((5 + codes) / 6)^alpha, which their log-probabilities are divided by
    batch_size      how many sentences are translated at once at most
    options         threads, backend: `graphc.compile`'s

    Raises ArgumentError for a model without tokenizers and for options out of their meaning.
    """

    def __init__(
        self,
        model: Seq2Seq,
        beam: int = 5,
        length_penalty: float = 1.0,
        batch_size: int = 32,
        **options: Any,
    ) -> None:
        if model.tokenizers is None:
            raise ArgumentError("Translator: the model has no tokenizers")
        if beam < 1 or batch_size < 1 or not length_penalty >= 0:
            raise ArgumentError(
                f"Translator: beam is {beam}, batch_size {batch_size}, length_penalty "
                f"{length_penalty}; expected at least 1, 1 and 0"
            )
        self.model, self.beam, self.length_penalty = model, beam, length_penalty
        self.source, self.target = model.tokenizers
        self.batch_size, self._options = batch_size, options
        self._decoders: dict[tuple[int, int], BeamDecoder] = {}

    def translate(self, sentences: Sequence[str]) -> list[str]:
        """A translation of each sentence; an empty one for one without words.

        Raises DataError for a sentence of more codes than the model takes.
        """
        codes = self._encoded(sentences)
        found = [""] * len(sentences)
        wordy = [number for number, row in enumerate(codes) if len(row) > 1]
        if wordy:
            for place, text in self._translated([codes[number] for number in wordy]):
                found[wordy[place]] = text
        return found

    def _encoded(self, sentences: Sequence[str]) -> list[Array]:
        """Codes of each sentence, END included."""
        most = self.model.sizes.length
        codes = [ended(self.source.encode(sentence.strip())) for sentence in sentences]
        for number, row in enumerate(codes, 1):
            if len(row) > most:
                raise DataError(
                    f"sentence {number} has {len(row)} codes with its end; the model takes {most}"
                )
        return codes

    def _translated(self, codes: Sequence[Array]) -> Iterator[tuple[int, str]]:
        """(which, its translation), lengths together."""
        most = self.model.sizes.length
        lengths = [*(length for length in LENGTHS if length < most), most]
        loader = BucketLoader(
            sequences(codes), self.batch_size, lengths, shuffle=False, padding=PADDING,
            lengths=False,
        )  # fmt: skip
        for indexes, (batch,) in loader.indexed():
            for index, hypothesis in zip(indexes, self._search(batch), strict=True):
                yield int(index), self.target.decode(np.array(hypothesis.tokens, np.int32))

    def _search(self, batch: Array) -> list[Hypothesis]:
        """The best hypothesis for each source of a padded batch [n, S]."""
        count, length = batch.shape
        decoder = self._decoder(_at_least(count, self.batch_size), length)
        # What fills the batch up is looked for as well: nothing is shorter than a copy.
        filled = np.concatenate([batch, np.repeat(batch[-1:], decoder.sentences - count, axis=0)])
        found = beam_search(
            decoder,
            filled,
            start=START,
            end=END,
            width=self.beam,
            alpha=self.length_penalty,
        )
        return [hypotheses[0] for hypotheses in found[:count]]

    def _decoder(self, sentences: int, length: int) -> BeamDecoder:
        key = sentences, length
        if key not in self._decoders:
            most = min(self.model.sizes.length, 2 * length + 8)  # a translation's, its end included
            self._decoders[key] = BeamDecoder(
                self.model, sentences, length, self.beam, most, **self._options
            )
        return self._decoders[key]


def _at_least(count: int, batch_size: int) -> int:
    """The smallest batch that holds `count` sentences."""
    return min(size for size in (*BATCHES, batch_size) if count <= size <= batch_size)
