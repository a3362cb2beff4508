"""Tokenizers: text to int32 codes and back, and their JSON form.

All have one face (`Tokenizer`): a `CharacterTokenizer` here, a `WordTokenizer` in `words.py`, a
`BytePairTokenizer` in `bytepairs.py`. Where a tokenizer has special codes they are the first four.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from graphc.errors import ArgumentError, DataError
from graphc.frontends.train.data.dataset import Array
from graphc.frontends.train.data.files import existing, read_text
from graphc.frontends.train.durable import make_folder, replace_file

PADDING, START, END, UNKNOWN = range(4)
SPECIALS = 4


@runtime_checkable
class Tokenizer(Protocol):
    """Text to codes and back.

    `specials` is 4 where the codes PADDING, START, END and UNKNOWN come first, else 0. `encode`
    never gives padding, start or end; `decode` leaves special codes out.
    """

    @property
    def specials(self) -> int: ...

    def __len__(self) -> int:
        """How many codes there are."""

    def encode(self, text: str) -> Array:
        """The codes of a text, i32[n]."""

    def decode(self, codes: Any) -> str:
        """The text of codes [n]."""

    def to_json(self) -> dict[str, Any]:
        """What `tokenizer_from_json` makes an equal tokenizer of."""


class CharacterTokenizer:
    """A code for each character of `characters`, after the special codes where there are any.

    >>> letters = CharacterTokenizer("abc", specials=False)
    >>> letters.encode("cab").tolist(), letters.decode([2, 0, 1])
    ([2, 0, 1], 'cab')
    """

    def __init__(self, characters: str, specials: bool = True) -> None:
        if len(set(characters)) != len(characters) or not characters:
            raise ArgumentError(f"CharacterTokenizer: {characters!r} are no different characters")
        self.characters = characters
        self.specials = SPECIALS if specials else 0
        points = _code_points(characters)
        self._order = np.argsort(points, kind="stable")
        self._sorted = points[self._order]

    @classmethod
    def train(cls, lines: Iterable[str], specials: bool = True) -> CharacterTokenizer:
        """All characters that occur, in order. Raises DataError where there are none."""
        found: set[str] = set()
        for line in lines:
            found.update(line)
        if not found:
            raise DataError("there are no characters to make a vocabulary of")
        return cls("".join(sorted(found)), specials)

    def __len__(self) -> int:
        return self.specials + len(self.characters)

    def encode(self, text: str, name: str = "the text given") -> Array:
        """i32[n]. An unknown character is UNKNOWN, and without special codes a DataError."""
        points = _code_points(text)
        place = np.minimum(np.searchsorted(self._sorted, points), len(self._sorted) - 1)
        codes = self._order[place] + self.specials
        unknown = np.flatnonzero(self._sorted[place] != points)
        if unknown.size and not self.specials:
            raise DataError(
                f"{name}: character {text[unknown[0]]!r} at position {unknown[0]} is not in the "
                "vocabulary"
            )
        codes[unknown] = UNKNOWN
        return codes.astype(np.int32)

    def decode(self, codes: Any) -> str:
        return "".join(
            self.characters[code - self.specials]
            for code in checked_codes(codes, len(self)).tolist()
            if code >= self.specials
        )

    def to_json(self) -> dict[str, Any]:
        return {"kind": "characters", "characters": self.characters, "specials": self.specials > 0}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> CharacterTokenizer:
        return cls(str(fields["characters"]), bool(fields["specials"]))


def checked_codes(codes: Any, size: int) -> Array:
    """Codes [n] as an array. Raises DataError for one outside 0 … size - 1 or no whole number."""
    given = np.asarray(codes).reshape(-1)
    if given.size and given.dtype.kind not in "iu":
        raise DataError(f"codes are {given.dtype}; expected whole numbers")
    found = given.astype(np.int64)
    wrong = found[(found < 0) | (found >= size)]
    if wrong.size:
        raise DataError(f"code {wrong[0]} is not one of the tokenizer's {size}")
    return found


def tokenizer_from_json(fields: Any, name: str = "the tokenizer given") -> Tokenizer:
    """The tokenizer of a `to_json`. Raises DataError, which begins with `name`, for others."""
    from graphc.frontends.train.data.bytepairs import BytePairTokenizer
    from graphc.frontends.train.data.words import WordTokenizer

    kinds: dict[str, Any] = {
        "characters": CharacterTokenizer,
        "words": WordTokenizer,
        "byte pairs": BytePairTokenizer,
    }
    kind = str(fields.get("kind")) if isinstance(fields, Mapping) else ""
    if kind not in kinds:
        raise DataError(f"{name}: is no tokenizer of {' or '.join(kinds)}")
    try:
        made: Tokenizer = kinds[kind].from_json(fields)
    except (KeyError, TypeError, ValueError, ArgumentError) as error:
        raise DataError(f"{name}: is no tokenizer of {kind}: {error}") from None
    return made


def save_tokenizer(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write a tokenizer as a JSON file, whole or not at all. Raises DataError where it cannot."""
    target = Path(path).expanduser()
    try:
        make_folder(target.parent)
        replace_file(target, [json.dumps(tokenizer.to_json()).encode()])
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror or error}") from error


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer that `save_tokenizer` wrote. Nothing in the file is run."""
    source = existing(path)
    try:
        fields = json.loads(read_text(source))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source}: is no JSON: {error}") from None
    return tokenizer_from_json(fields, str(source))


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
