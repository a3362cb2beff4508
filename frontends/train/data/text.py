"""Text as characters: a vocabulary and sliding windows for a language model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graphc.errors import ArgumentError, DataError
from graphc.frontends.train.data.dataset import Array, Arrays, Indexes
from graphc.frontends.train.data.files import existing, read_text


class TextDataset:
    """Windows of a text: (characters [length], the characters that follow [length]), int32 codes.

    Example i begins at character ``i * stride``; the code of a character is its position in
    `vocabulary`.
    """

    def __init__(self, codes: Array, vocabulary: str, length: int, stride: int) -> None:
        self.codes = codes
        self.vocabulary = vocabulary
        self.length = length
        self.stride = stride

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
        return encode(text, self.vocabulary, "the text given")

    def decode(self, codes: Array) -> str:
        """The text of codes [n]."""
        return "".join(self.vocabulary[int(code)] for code in codes)


def text(
    path: str | Path,
    length: int = 64,
    train: bool = True,
    fraction: float = 0.9,
    stride: int = 1,
    vocabulary: str | None = None,
) -> TextDataset:
    """The characters of a UTF-8 text file (plain or gzip), as windows of `length`.

    The first `fraction` of the text is for training, the rest for testing; both share the
    vocabulary, which is that of the whole text in sorted order unless one is given.

    Raises DataError for bytes that are no UTF-8, a part shorter than a window and its follower,
    and a character that is not in the vocabulary, each with its position.
    """
    if length < 1 or stride < 1 or not 0 <= fraction <= 1:
        raise ArgumentError(
            f"text: length {length} and stride {stride} must be at least 1, fraction {fraction} "
            "within 0...1"
        )
    found = existing(path)
    whole = read_text(found)
    known = "".join(sorted(set(whole))) if vocabulary is None else vocabulary
    codes = encode(whole, known, str(found))
    border = int(len(codes) * fraction)
    part = codes[:border] if train else codes[border:]
    if len(part) < length + 1:
        raise DataError(
            f"{found}: its {'training' if train else 'test'} part has {len(part)} characters, "
            f"expected at least {length + 1} for windows of length {length}"
        )
    return TextDataset(part, known, length, stride)


def encode(text: str, vocabulary: str, name: str) -> Array:
    """The position of every character in `vocabulary`, int32; `name` begins the DataError."""
    points = _code_points(text)
    known = _code_points(vocabulary)
    order = np.argsort(known, kind="stable")
    if not known.size:
        raise DataError(f"{name}: has no characters to make a vocabulary of")
    place = np.minimum(np.searchsorted(known, points, sorter=order), len(known) - 1)
    codes = order[place]
    unknown = np.flatnonzero(known[codes] != points)
    if unknown.size:
        raise DataError(
            f"{name}: character {text[unknown[0]]!r} at position {unknown[0]} is not in the "
            "vocabulary"
        )
    return codes.astype(np.int32)


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
