"""gpt: its data, and that it learns in small."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.models import gpt, registry

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
    assert step.model.sizes.vocabulary == 6
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


def test_they_are_ready_models() -> None:
    assert {"gpt", "seq2seq"} <= set(registry.MODELS)
