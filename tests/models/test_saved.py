"""Models come back from the folders of their runs; folders that are no such run are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc import Spec, Trainer, TrainStep, checkpoint, data, nn, optim
from graphc.errors import ArgumentError, CheckpointError
from graphc.frontends.train.data.buckets import BucketLoader
from graphc.frontends.train.description import write_description
from graphc.models import phrases, saved, seq2seq

PAIRS = phrases.pairs(8, seed=4)
LENGTH = 12


def tokenizers() -> tuple[data.WordTokenizer, data.WordTokenizer]:
    english, german = zip(*PAIRS, strict=True)
    return data.WordTokenizer.train(english), data.WordTokenizer.train(german)


def tiny_step() -> TrainStep:
    words = tokenizers()
    sizes = seq2seq.Sizes(len(words[0]), len(words[1]), LENGTH, 8, 2, 8, 1)
    batch = Spec((4, LENGTH), "i32")
    model = seq2seq.Seq2Seq(sizes, words)
    return TrainStep(model, seq2seq.translation_loss, optim.Adam(), batch, batch, batch)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs."""
    step = tiny_step()
    loader = BucketLoader(
        data.translations(PAIRS, *tokenizers()), 4, [(LENGTH,) * 3], lengths=False
    )
    folder = tmp_path_factory.mktemp("runs") / "run"
    Trainer(step, folder).fit(loader, 2, progress=False, verbose=False)
    return folder


def final_weights(run: Path) -> dict[str, Any]:
    (newest, *_) = sorted((run / "checkpoints").iterdir(), reverse=True)
    return checkpoint.load(newest)[0]


def test_a_run_alone_is_enough(run: Path) -> None:
    found = saved.load_run(run, expected=["seq2seq"])
    assert not found.model.training and found.step == 4
    for name, array in found.model.state_dict().items():
        if name != "head.weight":  # shares the target embedding's
            np.testing.assert_array_equal(array, final_weights(run)[f"model.{name}"])
    source, target = found.model.tokenizers
    assert source.words == tokenizers()[0].words and target.words == tokenizers()[1].words
    codes = source.encode("a man sees the dog")[None]
    assert np.asarray(found.model(codes, codes)).shape == (1, 5, len(target))


def test_the_mean_of_the_last_checkpoints(run: Path) -> None:
    files = sorted((run / "checkpoints").iterdir())
    name = "encoder.layers.0.linear1.weight"
    parts = [checkpoint.load(file)[0][f"model.{name}"].astype(np.float64) for file in files]
    found = saved.load_run(run, average=2).model.state_dict()[name]
    np.testing.assert_array_equal(found, np.mean(parts, axis=0).astype(np.float32))
    with pytest.raises(ArgumentError, match="2 checkpoints, 3 to average"):
        saved.load_run(run, average=3)
    with pytest.raises(ArgumentError, match="average is 0"):
        saved.load_run(run, average=0)


def test_folders_that_are_no_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no run .* model\.json"):
        saved.load_run(tmp_path)
    with pytest.raises(CheckpointError, match=r"a run of 'seq2seq', expected gpt or lstm-ctc"):
        saved.load_run(run, expected=["gpt", "lstm-ctc"])
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"model\.json: is no JSON"):
        saved.load_run(tmp_path)
    (tmp_path / "model.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no description"):
        saved.load_run(tmp_path)
    (tmp_path / "model.json").write_bytes((run / "model.json").read_bytes())
    with pytest.raises(CheckpointError, match="no checkpoint"):
        saved.load_run(tmp_path)


@pytest.mark.parametrize(
    "name, value",
    [("sizes", {}), ("source", {"kind": "?"}), ("sizes", 3), ("adapters", 3), ("adapters", [1])],
)
def test_descriptions_that_are_no_models(run: Path, tmp_path: Path, name: str, value: Any) -> None:
    fields = {**json.loads((run / "model.json").read_text()), name: value}
    (tmp_path / "model.json").write_text(json.dumps(fields))
    (tmp_path / "checkpoints").symlink_to(run / "checkpoints")
    with pytest.raises(CheckpointError, match="description of the model"):
        saved.load_run(tmp_path)


def test_weights_that_do_not_fit() -> None:
    model = tiny_step().model
    arrays = model.state_dict()
    del arrays["head.weight"]  # the target embedding's, under its other name
    saved.load_weights(model, arrays, "weights")
    with pytest.raises(CheckpointError, match=r"weights: .*unexpected more"):
        saved.load_weights(model, {**arrays, "more": np.zeros(1)}, "weights")
    del arrays["encoder.norm.weight"]
    with pytest.raises(CheckpointError, match=r"missing encoder\.norm\.weight"):
        saved.load_weights(model, arrays, "weights")
    wrong = {"target.weight": np.zeros((1, 1), np.float32)}
    with pytest.raises(CheckpointError, match="weights do not fit"):
        saved.load_weights(model, wrong, "weights")


def test_a_description_that_is_no_json(tmp_path: Path) -> None:
    class Described(nn.Module):
        def run_description(self) -> dict[str, Any]:
            return {"path": tmp_path}

    with pytest.raises(CheckpointError, match="no JSON"):
        write_description(tmp_path, Described())
    write_description(tmp_path, object())
    assert not list(tmp_path.iterdir())
