"""Twenty training steps of recurrent taggers follow torch's losses, padded sequences too.

The reference is written by bench/recurrent_losses.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc.functional as F
from graphc import Spec, TrainStep, nn, optim
from tests.end_to_end import recurrent_given as given

REFERENCE = json.loads((Path(__file__).parent / "recurrent_losses.json").read_text())
cases = pytest.mark.parametrize(("kind", "name"), given.CASES)


class Tagger(nn.Module):
    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(given.FEATURES, given.HIDDEN, **options)
        directions = 2 if options.get("bidirectional") else 1
        self.head = nn.Linear(directions * given.HIDDEN, given.CLASSES)

    def forward(self, x: Any, lengths: Any) -> Any:
        return self.head(self.rnn(x, lengths=lengths)[0])


def tag(model: Any, x: Any, y: Any, lengths: Any = None) -> Any:
    scores = model(x, lengths).reshape((-1, given.CLASSES))
    return F.cross_entropy(scores, y.reshape((-1,)))


def losses(kind: str, name: str, dtype: str, **options: Any) -> np.ndarray[Any, Any]:
    model = Tagger(kind, given.LAYERS[name]).to(dtype)
    model.load_state_dict(given.weights({n: p.shape for n, p in model.named_parameters()}))
    masks = [given.lengths(name, step) for step in range(given.STEPS)]
    found = []
    step: TrainStep | None = None
    for batch, mask in zip(given.batches(), masks, strict=True):
        arrays = [batch[0].astype(dtype), batch[1], *([] if mask is None else [mask])]
        if step is None:
            specs = [Spec(array.shape, str(array.dtype)) for array in arrays]
            step = TrainStep(model, tag, optim.Adam(), *specs, **options)
        found.append(float(step(*arrays)))
    return np.array(found)


def off(case: str, found: Any) -> np.ndarray[Any, Any]:
    exact = np.array(REFERENCE[case]["float64"])
    return np.asarray(np.abs(np.asarray(found) - exact) / np.abs(exact))


@cases
def test_float64_follows_torch(kind: str, name: str) -> None:
    found = off(f"{kind}.{name}", losses(kind, name, "float64", threads=2))
    assert max(found) < 1e-10, found


@cases
def test_float32_follows_torch_as_closely_as_torch_itself(kind: str, name: str) -> None:
    case = f"{kind}.{name}"
    found = off(case, losses(kind, name, "float32", threads=1))
    assert max(found[:10]) < 1e-5, found
    assert max(found) <= 5 * max(off(case, REFERENCE[case]["float32"])), found


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_fused_or_not_and_by_any_threads(kind: str) -> None:
    one, two = (losses(kind, "deep", "float32", threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
    unfused = off(f"{kind}.deep", losses(kind, "deep", "float64", threads=2, fuse=False))
    assert max(unfused) < 1e-10, unfused
