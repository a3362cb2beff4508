"""Byte-pair tokens by the sentencepiece library: the extra `text`.

Sennrich et al., Neural machine translation of rare words with subword units, 2016. The library
trains and encodes; its model, a few hundred kilobytes of plain tables, is kept as base64 in JSON.
"""

from __future__ import annotations

import base64
import importlib
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DataError
from graphc.frontends.train.data.dataset import Array
from graphc.frontends.train.data.tokenizers import (
    END,
    PADDING,
    SPECIALS,
    START,
    UNKNOWN,
    checked_codes,
)

_LONGEST_LINE_BYTES = 1 << 20
_FEWEST = SPECIALS + 256 + 1


class BytePairTokenizer:
    """Frequent pieces of words, longer ones by merging pairs; what is in none is spelled in bytes.

    `decode` gives back what `encode` was given, character for character, but for U+2581 (the sign
    that the library writes for a space) and, with `lower`, capitals. Made by `train`.
    """

    specials = SPECIALS

    def __init__(self, model: bytes, lower: bool = False) -> None:
        """Of a model of the library's. Raises DataError for other bytes."""
        self.model, self.lower = model, lower
        try:
            self._pieces: Any = _library().SentencePieceProcessor(model_proto=model)
        except (RuntimeError, TypeError) as error:
            raise DataError(f"byte pairs: these are no sentencepiece model: {error}") from None
        found = tuple(
            getattr(self._pieces, f"{name}_id")() for name in ("pad", "bos", "eos", "unk")
        )
        if found != (PADDING, START, END, UNKNOWN):
            raise DataError(f"byte pairs: the special codes are {found}, expected (0, 1, 2, 3)")

    @classmethod
    def train(
        cls, lines: Iterable[str], size: int = 8000, lower: bool = False
    ) -> BytePairTokenizer:
        """At most `size` codes, 4 special ones and 256 bytes among them, learned from lines.

        The same lines give the same codes. Raises ArgumentError without the library or for a size
        that leaves no room, DataError where the lines are empty or one is over a megabyte.
        """
        if size < _FEWEST:
            raise ArgumentError(f"byte pairs: size is {size}, expected at least {_FEWEST}")
        found = [line.lower() if lower else line for line in lines]
        longest = max((len(line.encode("utf-8", "replace")) for line in found), default=0)
        if not 0 < longest <= _LONGEST_LINE_BYTES:
            raise DataError(
                f"byte pairs: the longest of {len(found)} lines has {longest} bytes, expected "
                f"1 to {_LONGEST_LINE_BYTES}"
            )
        return cls(_trained(found, size), lower)

    def __len__(self) -> int:
        return int(self._pieces.vocab_size())

    def encode(self, text: str) -> Array:
        """i32[n]. Raises DataError for text that is no Unicode (a lone surrogate)."""
        known = text.lower() if self.lower else text
        try:
            known.encode()  # the library's own error has no name
        except UnicodeEncodeError as error:
            raise DataError(f"the text given has no UTF-8 form: {error}") from None
        return np.array(self._pieces.encode(known), np.int32)

    def decode(self, codes: Any) -> str:
        found = checked_codes(codes, len(self))
        return str(self._pieces.decode(found[found >= SPECIALS].tolist()))

    def pieces(self, text: str) -> list[str]:
        """The parts that a text falls into, spaces as U+2581: to look at."""
        return [str(self._pieces.id_to_piece(code)) for code in self.encode(text).tolist()]

    def to_json(self) -> dict[str, Any]:
        model = base64.b64encode(self.model).decode()
        return {"kind": "byte pairs", "lower": self.lower, "model": model}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> BytePairTokenizer:
        return cls(base64.b64decode(str(fields["model"]), validate=True), bool(fields["lower"]))


def _library() -> Any:
    try:
        return importlib.import_module("sentencepiece")
    except ImportError:
        raise ArgumentError(
            "byte-pair tokens need the sentencepiece package: pip install 'graphc[text]'; "
            "CharacterTokenizer needs none"
        ) from None


def _trained(lines: list[str], size: int) -> bytes:
    """The library's model. Text is taken as it is: no normal form, no space added or removed."""
    model = io.BytesIO()
    try:
        _library().SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            max_sentence_length=_LONGEST_LINE_BYTES,
            pad_id=PADDING,
            bos_id=START,
            eos_id=END,
            unk_id=UNKNOWN,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, UnicodeEncodeError) as error:
        raise DataError(f"byte pairs: cannot be learned from these lines: {error}") from None
    return model.getvalue()
