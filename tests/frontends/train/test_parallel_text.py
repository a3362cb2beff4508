"""Parallel text: pairs as they are published, their codes, and padded batches of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from graphc import data
from graphc.errors import ArgumentError, DataError
from graphc.frontends.train.data.buckets import BucketLoader

PAIRS = [("a man reads", "ein mann liest"), ("a dog", "ein hund")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    english, german = zip(*PAIRS, strict=True)
    (tmp_path / "train.en").write_text("\n".join(english) + "\n")
    (tmp_path / "train.de.gz").write_bytes(gzip.compress(("\r\n".join(german)).encode()))
    return tmp_path


def test_pairs_of_plain_and_packed_files(folder: Path) -> None:
    assert data.multi30k(folder) == PAIRS
    assert data.multi30k(str(folder), languages=("de", "en")) == [(b, a) for a, b in PAIRS]
    assert data.parallel(folder / "train.en", folder / "train.de.gz") == PAIRS


def test_an_empty_line_is_a_sentence(folder: Path) -> None:
    (folder / "val.en").write_text("one\n\nthree\n")
    (folder / "val.de").write_text("eins\nzwei\u2028zwei\ndrei\n")
    assert data.multi30k(folder, "val") == [
        ("one", "eins"),
        ("", "zwei\u2028zwei"),
        ("three", "drei"),
    ]


def test_an_empty_file_has_no_sentence(folder: Path) -> None:
    for language in ("en", "de"):
        (folder / f"val.{language}").write_text("")
    assert data.multi30k(folder, "val") == []


def test_bad_folders_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no val\.en and no val\.en\.gz"):
        data.multi30k(folder, "val")
    (folder / "train.de.gz").write_bytes(b"\x1f\x8bnot gzip")
    with pytest.raises(DataError, match=r"train\.de\.gz"):
        data.multi30k(folder)
    (folder / "train.de").write_text("eins\n")
    with pytest.raises(DataError, match=r"train\.en has 2 lines, .*train\.de has 1"):
        data.multi30k(folder)
    with pytest.raises(DataError, match="nowhere"):
        data.multi30k(folder / "nowhere")


def test_translations_begin_and_end() -> None:
    source, target = (data.WordTokenizer.train(lines) for lines in zip(*PAIRS, strict=True))
    examples = data.translations(PAIRS, source, target)
    first, begun, following = examples[1]
    assert source.decode(first) == "a dog" and first[-1] == 2
    assert begun[0] == 1 and following[-1] == 2
    np.testing.assert_array_equal(begun[1:], following[:-1])
    loader = BucketLoader(examples, 1, buckets=[(3, 3, 3), (5, 5, 5)], shuffle=False, lengths=False)
    shapes = [[part.shape for part in batch] for batch in loader]
    assert shapes == [[(1, 3)] * 3, [(1, 5)] * 3]


def test_words_that_are_rare_or_too_many() -> None:
    words = data.WordTokenizer.train(["b b a", "C"], size=6)
    assert words.words == ("b", "a") and len(words) == 6
    assert words.encode("B c a").tolist() == [4, 3, 5]
    restored = data.tokenizer_from_json(words.to_json())
    assert isinstance(restored, data.WordTokenizer) and restored.words == words.words
    with pytest.raises(DataError, match="no words"):
        data.WordTokenizer.train(["", " "])
    with pytest.raises(ArgumentError, match="different"):
        data.WordTokenizer(["a", "a"])
