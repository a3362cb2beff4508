"""Sliding windows of a text, for a language model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graphc.errors import ArgumentError, DataError
from graphc.frontends.train.data.dataset import Array, Arrays, Indexes
from graphc.frontends.train.data.files import existing, read_text
from graphc.frontends.train.data.tokenizers import CharacterTokenizer, Tokenizer


class TextDataset:
    """Windows of a text: (codes [length], the codes that follow [length]), int32.

    Example i begins at code ``i * stride``.
    """

    def __init__(self, codes: Array, tokenizer: Tokenizer, length: int, stride: int) -> None:
        self.codes = codes
        self.tokenizer = tokenizer
        self.length = length
        self.stride = stride

    @property
    def vocabulary(self) -> str:
        """The characters that have codes. Raises ArgumentError where codes are no characters."""
        if not isinstance(self.tokenizer, CharacterTokenizer):
            raise ArgumentError(f"the codes of a {type(self.tokenizer).__name__} are no characters")
        return self.tokenizer.characters

    def __len__(self) -> int:
        return (len(self.codes) - self.length - 1) // self.stride + 1

    def __getitem__(self, index: int) -> Arrays:
        text, following = self.batch(np.asarray([range(len(self))[index]]))
        return text[0], following[0]

    def batch(self, indexes: Indexes) -> Arrays:
        positions = np.asarray(indexes)[:, None] * self.stride + np.arange(self.length)
        return self.codes[positions], self.codes[positions + 1]

    def encode(self, text: str) -> Array:
        """The int32 codes of a text; raises DataError for a character without one."""
        return self.tokenizer.encode(text)

    def decode(self, codes: Array) -> str:
        """The text of codes [n]."""
        return self.tokenizer.decode(codes)


def text(
    path: str | Path,
    length: int = 64,
    train: bool = True,
    fraction: float = 0.9,
    stride: int = 1,
    vocabulary: str | None = None,
    tokenizer: Tokenizer | None = None,
) -> TextDataset:
    """A UTF-8 text file (plain or gzip) as windows of `length` codes.

    The codes are a tokenizer's; without one those of the characters, in the order of `vocabulary`
    or, without that, all of the whole text's in sorted order. The first `fraction` of the codes is
    for training, the rest for testing.

    Raises DataError for bytes that are no UTF-8, a part shorter than a window and its follower,
    and a character that is not in the vocabulary, each with its position.
    """
    if length < 1 or stride < 1 or not 0 <= fraction <= 1:
        raise ArgumentError(
            f"text: length {length} and stride {stride} must be at least 1, fraction {fraction} "
            "within 0...1"
        )
    if vocabulary is not None and tokenizer is not None:
        raise ArgumentError("text: both a vocabulary and a tokenizer are given, expected one")
    found = existing(path)
    codes, known = _encoded(found, vocabulary, tokenizer)
    border = int(len(codes) * fraction)
    part = codes[:border] if train else codes[border:]
    if len(part) < length + 1:
        raise DataError(
            f"{found}: its {'training' if train else 'test'} part has {len(part)} codes, "
            f"expected at least {length + 1} for windows of length {length}"
        )
    return TextDataset(part, known, length, stride)


def _encoded(
    path: Path, vocabulary: str | None, tokenizer: Tokenizer | None
) -> tuple[Array, Tokenizer]:
    """The codes of a file, and the tokenizer whose they are."""
    whole = read_text(path)
    if isinstance(tokenizer, CharacterTokenizer):
        return tokenizer.encode(whole, str(path)), tokenizer
    if tokenizer is not None:
        return tokenizer.encode(whole), tokenizer
    characters = "".join(sorted(set(whole))) if vocabulary is None else vocabulary
    if not characters:
        raise DataError(f"{path}: has no characters to make a vocabulary of")
    known = CharacterTokenizer(characters, specials=False)
    return known.encode(whole, str(path)), known
