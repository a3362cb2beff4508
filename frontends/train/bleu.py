"""BLEU of translations by the sacrebleu library: the extra `bleu`.

Papineni et al., BLEU: a method for automatic evaluation of machine translation, 2002; Post, A call
for clarity in reporting BLEU scores, 2018, whose signature says how a score was taken.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphc.errors import ArgumentError


@dataclass(frozen=True)
class Bleu:
    """A score from 0 to 100, and the library's signature of how it was taken."""

    score: float
    signature: str

    def __str__(self) -> str:
        return f"{self.score:.2f} ({self.signature})"


def bleu(found: Sequence[str], meant: Sequence[str], lowercase: bool = False) -> Bleu:
    """Corpus BLEU of `found` sentences, one reference each, over the library's own tokens (13a).

    With `lowercase` capitals make no difference. Raises ArgumentError without the library, for no
    sentences and for different numbers of them.
    """
    if len(found) != len(meant) or not found:
        raise ArgumentError(f"bleu: {len(found)} sentences for {len(meant)} references")
    metric = _library().BLEU(lowercase=lowercase)
    score = float(metric.corpus_score(list(found), [list(meant)]).score)
    return Bleu(score, str(metric.get_signature()))


def _library() -> Any:
    try:
        return importlib.import_module("sacrebleu.metrics")
    except ImportError:
        raise ArgumentError(
            "BLEU needs the sacrebleu package: pip install 'graphc[bleu]'"
        ) from None
