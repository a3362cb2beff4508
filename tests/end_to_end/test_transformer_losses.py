"""Twenty training steps of a small gpt and seq2seq follow torch's losses.

The reference is written by bench/transformer_reference.py.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc import Spec, TrainStep, optim
from graphc.models import gpt, seq2seq
from tests.end_to_end.transformers_given import (
    GPT,
    RATE,
    SEQ2SEQ,
    gpt_batches,
    seq2seq_batches,
    weights,
)

REFERENCE = json.loads((Path(__file__).parent / "transformer_reference.json").read_text())
CASES: dict[str, tuple[Any, Any, Any]] = {
    "gpt": (partial(gpt.GPT, gpt.Sizes(**GPT)), gpt.next_character, gpt_batches),
    "seq2seq": (
        partial(seq2seq.Seq2Seq, seq2seq.Sizes(**SEQ2SEQ, dropout=0.0)),
        seq2seq.translation_loss,
        seq2seq_batches,
    ),
}


def losses(name: str, dtype: str, **options: Any) -> np.ndarray[Any, Any]:
    make, loss, batches = CASES[name]
    model = make().to(dtype)
    # Not strict: tied weights have a second name.
    given_weights = weights({n: p.shape for n, p in model.named_parameters()})
    model.load_state_dict(given_weights, strict=False)
    given = batches()
    specs = [Spec(x.shape, "int32") for x in given[0]]
    step = TrainStep(model, loss, optim.AdamW(lr=RATE), *specs, **options)
    return np.array([float(step(*batch)) for batch in given])


def off(name: str, found: Any) -> np.ndarray[Any, Any]:
    exact = np.array(REFERENCE[name]["float64"])
    return np.asarray(np.abs(np.asarray(found) - exact) / np.abs(exact))


@pytest.mark.parametrize("name", CASES)
def test_the_reference_learns(name: str) -> None:
    start, *_, end = REFERENCE[name]["float64"]
    assert end < 0.9 * start


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("fuse", [True, False])
def test_float64_follows_torch(name: str, fuse: bool) -> None:
    found = off(name, losses(name, "float64", fuse=fuse, threads=2))
    assert max(found) < 1e-10, found


@pytest.mark.parametrize("name", CASES)
def test_float32_follows_torch_as_closely_as_torch_itself(name: str) -> None:
    found = off(name, losses(name, "float32", threads=1))
    assert max(found[:10]) < 1e-5, found
    assert max(found) <= 5 * max(off(name, REFERENCE[name]["float32"])), found


@pytest.mark.parametrize("name", CASES)
def test_the_bits_do_not_depend_on_threads(name: str) -> None:
    one, two = (losses(name, "float32", threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
