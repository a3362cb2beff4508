"""gpt and seq2seq: their data, that they learn in small, and their command lines' models."""

from __future__ import annotations

import gzip
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc import TrainStep, optim
from graphc.errors import DataError
from graphc.models import gpt, phrases, registry, seq2seq

SMALL = gpt.Sizes(context=32, layers=2, heads=2, width=32)


def losses(step: Any, loader: Any, count: int) -> list[float]:
    found: list[float] = []
    while len(found) < count:
        found += [float(step(*batch)) for batch in islice(loader, count - len(found))]
    return found


def test_gpt_learns_the_embedded_text() -> None:
    step, train, test = gpt.make(batch_size=8, sizes=SMALL)
    found = losses(step, train, 60)
    assert found[0] == pytest.approx(np.log(65), abs=0.2)
    assert np.mean(found[-5:]) < 0.9 * found[0]
    assert len(test) > 0


def test_gpt_takes_a_text_and_its_characters(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("äbcde " * 300)
    step, train, _ = gpt.make(str(tmp_path / "text.txt"), 4, sizes=SMALL)
    assert train.dataset.vocabulary == " bcdeä"
    assert step.model.sizes.vocabulary == 65
    many = "".join(map(chr, range(500, 700)))
    (tmp_path / "many.txt").write_text(many * 9)
    assert gpt.make(str(tmp_path / "many.txt"), 4, sizes=SMALL)[0].model.sizes.vocabulary == 200


def test_gpt_ties_its_head_and_leaves_dropout_to_training() -> None:
    model = gpt.GPT(replace(SMALL, dropout=0.5)).eval()
    names = [name for name, _ in model.named_parameters()]
    assert "transformer.wte.weight" in names and "lm_head.weight" not in names
    text = np.arange(20, dtype=np.int32).reshape(2, 10)
    model.make_state(1)
    np.testing.assert_array_equal(model(text), model(text))


def test_seq2seq_learns_phrases() -> None:
    step, train, _ = seq2seq.make(batch_size=8)
    sizes = replace(step.model.sizes, width=32, heads=2, feed_forward=64, layers=1)
    small = seq2seq.Seq2Seq(sizes)
    again = TrainStep(small, step.loss, optim.AdamW(lr=3e-3), *step.batch_specs)
    found = losses(again, train, 60)
    assert np.mean(found[-5:]) < 0.75 * found[0]


def test_padding_changes_nothing() -> None:
    sizes = seq2seq.Sizes(9, 9, 8, 16, 2, 16, 1, dropout=0.0)
    model = seq2seq.Seq2Seq(sizes)
    model.make_state(1)
    source, target = np.array([[1, 4, 5, 2]], np.int32), np.array([[1, 6, 7]], np.int32)
    longer = np.pad(source, ((0, 0), (0, 4)))
    np.testing.assert_allclose(model(source, target), model(longer, target), rtol=1e-5, atol=1e-6)


def test_multi30k_as_it_is_published(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("val", 3)):
        english, german = zip(*phrases.pairs(count, seed=3), strict=True)
        (tmp_path / f"{part}.en").write_text("\n".join(english) + "\n")
        with gzip.open(tmp_path / f"{part}.de.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(german) + "\n")
    assert seq2seq.read_pairs(str(tmp_path), "train") == phrases.pairs(6, seed=3)
    step, train, _ = seq2seq.make(str(tmp_path), 2)
    source, target, following = next(iter(train))
    assert source.shape == (2, 64) and np.all(target[:, 0] == seq2seq.START)
    np.testing.assert_array_equal(target[:, 1:], following[:, :-1])
    assert step.model.sizes.length == 64


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no train\.en"):
        seq2seq.read_pairs(str(tmp_path), "train")
    (tmp_path / "train.en").write_text("one\ntwo\n")
    (tmp_path / "train.de.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match=r"train\.de\.gz"):
        seq2seq.read_pairs(str(tmp_path), "train")
    (tmp_path / "train.de").write_text("eins\n")
    with pytest.raises(DataError, match="2 lines"):
        seq2seq.read_pairs(str(tmp_path), "train")


def test_words_that_are_rare_or_too_many() -> None:
    words = seq2seq.vocabulary(["b b a", "c"], most=6)
    assert words.words[4:] == ("b", "a")
    assert words.encode("b c a a a", 5).tolist() == [1, 4, 3, 5, 2]


def test_they_are_ready_models() -> None:
    assert {"gpt", "seq2seq"} <= set(registry.MODELS)
