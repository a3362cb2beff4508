"""BLEU by sacrebleu, and what it says where the library is missing."""

from __future__ import annotations

import math
import sys

import pytest

from graphc.errors import ArgumentError
from graphc.metrics import bleu


def test_scores_and_how_they_were_taken() -> None:
    pytest.importorskip("sacrebleu")
    meant = ["ein Mann liest ein altes Buch .", "die Katze sieht den Hund ."]
    assert bleu(meant, meant).score == pytest.approx(100.0)
    capital = [meant[0].replace("Mann", "mann"), meant[1]]
    assert bleu(capital, meant).score < 90
    lowered = bleu(capital, meant, lowercase=True)
    assert lowered.score == pytest.approx(100.0)
    assert "case:lc" in lowered.signature and "tok:13a" in str(lowered)


def test_a_score_by_its_definition() -> None:
    pytest.importorskip("sacrebleu")
    # 7 of 8 words, 5 of 7 pairs, 3 of 6 triples, 2 of 5 fours; as long as the reference.
    found, meant = ["a b c d e x g h"], ["a b c d e f g h"]
    expected = math.exp(sum(math.log(p) for p in (7 / 8, 5 / 7, 3 / 6, 2 / 5)) / 4)
    assert bleu(found, meant).score == pytest.approx(100 * expected, abs=1e-6)


def test_what_cannot_be_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="1 sentences for 0"):
        bleu(["a"], [])
    with pytest.raises(ArgumentError, match="0 sentences"):
        bleu([], [])
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(ArgumentError, match=r"graphc\[bleu\]"):
        bleu(["a"], ["a"])
