"""Tokenizers: text comes back as it was, files of them are refused where they are bad."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc import data
from graphc.errors import ArgumentError, DataError

LINES = ["the cat sat on the mat", "Der Hund sieht die Katze.", "two  blanks, three   blanks"] * 4


@pytest.fixture(scope="module")
def byte_pairs() -> data.BytePairTokenizer:
    pytest.importorskip("sentencepiece")
    return data.BytePairTokenizer.train(LINES, 330)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581")))
def test_byte_pairs_give_back_any_text(byte_pairs: data.BytePairTokenizer, text: str) -> None:
    codes = byte_pairs.encode(text)
    assert codes.dtype == np.int32 and np.all(codes >= 4) and np.all(codes < len(byte_pairs))
    assert byte_pairs.decode(codes) == text


def test_frequent_words_become_one_piece(byte_pairs: data.BytePairTokenizer) -> None:
    assert len(byte_pairs) <= 330
    assert byte_pairs.pieces("the cat") == ["\u2581the", "\u2581cat"]
    assert len(byte_pairs.encode("q")) > 1  # a space and a byte
    again = data.BytePairTokenizer.train(LINES, 330)
    assert again.model == byte_pairs.model


def test_lower_case_is_part_of_the_tokenizer() -> None:
    pytest.importorskip("sentencepiece")
    tokenizer = data.BytePairTokenizer.train(LINES, 330, lower=True)
    restored = data.tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert restored.decode(restored.encode("The CAT")) == "the cat"


def test_special_codes_have_no_text(byte_pairs: data.BytePairTokenizer) -> None:
    for tokenizer in (byte_pairs, data.CharacterTokenizer("ca")):
        codes = [1, *tokenizer.encode("ca"), 2, 0, 3]
        assert tokenizer.decode(codes) == "ca"
        with pytest.raises(DataError, match="code -1"):
            tokenizer.decode([4, -1])
        with pytest.raises(DataError, match="codes are float64; expected whole"):
            tokenizer.decode([4.5])
        with pytest.raises(DataError, match=f"code {len(tokenizer)} "):
            tokenizer.decode(np.array([len(tokenizer)]))


def test_characters() -> None:
    found = data.CharacterTokenizer.train(["ba", "äc"])
    assert (found.characters, len(found)) == ("abcä", 8)
    assert found.encode("äbx").tolist() == [7, 5, 3]
    bare = data.CharacterTokenizer("ba", specials=False)
    assert bare.encode("ab").tolist() == [1, 0] and bare.decode([0, 1]) == "ba"
    with pytest.raises(DataError, match="'x' at position 1"):
        bare.encode("ax")
    with pytest.raises(ArgumentError, match="different"):
        data.CharacterTokenizer("aa")
    with pytest.raises(DataError, match="no characters"):
        data.CharacterTokenizer.train([""])


def test_both_kinds_are_files(tmp_path: Path, byte_pairs: data.BytePairTokenizer) -> None:
    for tokenizer in (byte_pairs, data.CharacterTokenizer("ca", specials=False)):
        assert isinstance(tokenizer, data.Tokenizer)
        path = tmp_path / "deep" / "tokenizer.json"
        data.save_tokenizer(tokenizer, path)
        found = data.load_tokenizer(path)
        assert found.to_json() == tokenizer.to_json()
        np.testing.assert_array_equal(found.encode("ca"), tokenizer.encode("ca"))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", '{"kind": "pickle"}', '{"kind": ["a"]}', '{"kind": "characters"}',
        '{"kind": "words", "words": 5}',
        '{"kind": "characters", "characters": "aa", "specials": true}',
        '{"kind": "byte pairs", "lower": false, "model": "%%%"}',
        '{"kind": "byte pairs", "lower": false, "model": "AAAA"}',
    ],
)  # fmt: skip
def test_bad_files_are_refused_by_name(tmp_path: Path, text: str) -> None:
    pytest.importorskip("sentencepiece")
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        data.load_tokenizer(tmp_path / "tokenizer.json")


def test_what_cannot_be_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentencepiece")
    for lines in ([], [""], ["a" * (1 << 20) + "a"]):
        with pytest.raises(DataError, match="longest"):
            data.BytePairTokenizer.train(lines)
    with pytest.raises(ArgumentError, match="at least 261"):
        data.BytePairTokenizer.train(LINES, 100)
    with pytest.raises(DataError, match="UTF-8"):
        data.BytePairTokenizer.train(LINES, 300).encode("\ud800")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ArgumentError, match=r"graphc\[text\]"):
        data.BytePairTokenizer.train(LINES)


def test_a_text_data_set_takes_any_tokenizer(
    tmp_path: Path, byte_pairs: data.BytePairTokenizer
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat\n" * 9)
    windows: Any = data.text(path, 8, fraction=1.0, tokenizer=byte_pairs)
    codes, following = windows[0]
    assert windows.decode(codes).startswith("the cat sat") and len(codes) == 8
    np.testing.assert_array_equal(codes[1:], following[:-1])
    with pytest.raises(ArgumentError, match="no characters"):
        _ = windows.vocabulary
    with pytest.raises(ArgumentError, match="both"):
        data.text(path, 8, vocabulary="abc", tokenizer=byte_pairs)
    with pytest.raises(DataError, match=r"text\.txt: character 't' at position 0"):
        data.text(path, 8, tokenizer=data.CharacterTokenizer("abc", specials=False))
