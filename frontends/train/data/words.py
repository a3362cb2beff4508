"""Tokens that are whole words: for small vocabularies, and with no library."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DataError
from graphc.frontends.train.data.dataset import Array
from graphc.frontends.train.data.tokenizers import SPECIALS, UNKNOWN, checked_codes

_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(sentence: str) -> list[str]:
    """Lower-case words and signs.

    >>> words_of("Ein Mann, der liest.")
    ['ein', 'mann', ',', 'der', 'liest', '.']
    """
    return _WORD.findall(sentence.lower())


class WordTokenizer:
    """A code for each lower-case word or sign, after the special ones; others are UNKNOWN.

    `decode` puts a space between words, so that it does not give back every text.

    >>> words = WordTokenizer.train(["a man reads", "a woman reads"])
    >>> words.encode("A man sings").tolist(), words.decode([4, 6, 5])
    ([4, 6, 3], 'a man reads')
    """

    specials = SPECIALS

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._codes = {word: code for code, word in enumerate(self.words, SPECIALS)}
        if len(self._codes) != len(self.words) or not self.words:
            raise ArgumentError(f"WordTokenizer: {len(self.words)} words are no different words")

    @classmethod
    def train(cls, lines: Iterable[str], size: int = 8000) -> WordTokenizer:
        """The most frequent words, ties by the alphabet, `size` codes with the 4 special ones.

        Raises DataError where there are no words.
        """
        counts = Counter(word for line in lines for word in words_of(line))
        if not counts:
            raise DataError("there are no words to make a vocabulary of")
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ordered[: max(1, size - SPECIALS)])

    def __len__(self) -> int:
        return SPECIALS + len(self.words)

    def encode(self, text: str) -> Array:
        return np.array([self._codes.get(word, UNKNOWN) for word in words_of(text)], np.int32)

    def decode(self, codes: Any) -> str:
        found = checked_codes(codes, len(self))
        return " ".join(self.words[code - SPECIALS] for code in found.tolist() if code >= SPECIALS)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "words", "words": list(self.words)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> WordTokenizer:
        return cls([str(word) for word in fields["words"]])
