"""seq2seq: its data, that it learns in small, and what its sizes refuse."""

from __future__ import annotations

import gzip
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc import data
from graphc.errors import ArgumentError
from graphc.models import phrases, seq2seq

TINY = seq2seq.Sizes(length=16, width=32, heads=2, feed_forward=64, layers=1, dropout=0.0)


def losses(step: Any, loader: Any, count: int) -> list[float]:
    found: list[float] = []
    while len(found) < count:
        found += [float(step(*batch)) for batch in islice(loader, count - len(found))]
    return found


def test_it_learns_phrases() -> None:
    step, train, test = seq2seq.make(batch_size=8, epochs=1, sizes=TINY, rate=3e-3)
    found = losses(step, train, 80)
    assert np.mean(found[-5:]) < 0.75 * found[0]
    assert len(test.dataset) == 400 and len(step.buckets) == 2


def test_padding_changes_nothing() -> None:
    model = seq2seq.Seq2Seq(replace(TINY, source_vocabulary=9, target_vocabulary=9))
    model.make_state(1)
    source, target = np.array([[1, 4, 5, 2]], np.int32), np.array([[1, 6, 7]], np.int32)
    longer = np.pad(source, ((0, 0), (0, 4)))
    np.testing.assert_allclose(model(source, target), model(longer, target), rtol=1e-5, atol=1e-6)


def test_the_loss_leaves_padding_out_and_is_smoothed_in_training() -> None:
    model = seq2seq.Seq2Seq(replace(TINY, source_vocabulary=9, target_vocabulary=9))
    model.make_state(1)
    batch = [np.array([row], np.int32) for row in ([4, 2, 0], [1, 6, 0], [6, 2, 0])]
    shorter = [part[:, :2] for part in batch]
    for mode in (model.eval, model.train):
        mode()
        long, short = (float(seq2seq.translation_loss(model, *x)) for x in (batch, shorter))
        assert long == pytest.approx(short, rel=1e-5)
    scores = np.asarray(model.eval()(*shorter[:2]), np.float64)[0]
    shares = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    plain = -shares[[0, 1], [6, 2]].mean()
    assert float(seq2seq.translation_loss(model, *shorter)) == pytest.approx(plain, rel=1e-5)
    smoothed = 0.9 * plain - 0.1 * shares.mean()
    found = float(seq2seq.translation_loss(model.train(), *shorter))
    assert found == pytest.approx(smoothed, rel=1e-5)


def test_one_vocabulary_has_one_table() -> None:
    model = seq2seq.Seq2Seq(replace(TINY, source_vocabulary=9, target_vocabulary=9, shared=True))
    names = [name for name, _ in model.named_parameters()]
    assert "source.weight" in names
    assert not {"target.weight", "head.weight"} & set(names)
    with pytest.raises(ArgumentError, match="shared"):
        seq2seq.Seq2Seq(replace(TINY, source_vocabulary=9, target_vocabulary=8, shared=True))
    letters = data.CharacterTokenizer("ab")
    with pytest.raises(ArgumentError, match=r"tokenizers of \(6, 6\) codes"):
        seq2seq.Seq2Seq(replace(TINY, source_vocabulary=9, target_vocabulary=9), (letters, letters))


def test_a_batch_of_none_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="batch_size is 0"):
        seq2seq.make(batch_size=0)


def test_multi30k_as_it_is_published(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    for part, count in (("train", 40), ("val", 10)):
        english, german = zip(*phrases.pairs(count, seed=3), strict=True)
        (tmp_path / f"{part}.en").write_text("\n".join(english) + "\n")
        with gzip.open(tmp_path / f"{part}.de.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(german) + "\n")
    step, train, _ = seq2seq.make(str(tmp_path), 2, sizes=replace(TINY, length=48))
    source, target, following = next(iter(train))
    assert source.shape == target.shape and source.shape[1] in seq2seq.BUCKETS
    assert np.all(target[:, 0] == 1) and np.all((source == 2).sum(1) == 1)
    for begun, follows in zip(target, following, strict=True):
        count = int(np.argmax(follows == 2))
        np.testing.assert_array_equal(begun[1 : count + 1], follows[:count])
        assert not begun[count + 1 :].any() and not follows[count + 1 :].any()
    assert step.model.sizes.shared and step.model.tokenizers[0] is step.model.tokenizers[1]
    restored = seq2seq.restore(step.model.run_description())
    assert restored.sizes == step.model.sizes
    assert restored.tokenizers is not None
    assert restored.tokenizers[0].decode(source[0]) in {pair[0] for pair in phrases.pairs(40, 3)}


def test_a_model_with_no_tokenizers_is_described() -> None:
    model = seq2seq.Seq2Seq(replace(TINY, source_vocabulary=9, target_vocabulary=9))
    restored = seq2seq.restore(model.run_description())
    assert restored.sizes == model.sizes and restored.tokenizers is None
