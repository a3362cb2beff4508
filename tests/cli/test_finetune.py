"""`graphc finetune`: what it loads, trains, prints and leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import checkpoint, nn
from graphc.cli.main import main
from graphc.models import gpt
from graphc.models.saved import load_run

SMALL = """
import numpy as np

import graphc
import graphc.functional as F
from graphc import data, nn, optim


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(F.relu(self.trunk(x)))


def make(classes, batch_size):
    x = np.random.default_rng(classes).normal(size=(64, 4)).astype(np.float32)
    y = (np.abs(x).argmax(axis=1) % classes).astype(np.int32)
    specs = graphc.Spec((batch_size, 4)), graphc.Spec((batch_size,), "int32")
    loss = lambda model, x, y: F.cross_entropy(model(x), y)
    rate = optim.schedules.cosine(0.02, total_steps=40)
    step = graphc.TrainStep(Net(classes), loss, optim.Adam(lr=rate), *specs)
    pairs = data.arrays(x, y)
    return step, data.Loader(pairs, batch_size), data.Loader(pairs, batch_size, shuffle=False)


def four(batch_size=8):
    return make(4, batch_size)


def two(batch_size=8):
    return make(2, batch_size)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one, with a trained model of four classes in runs/small-1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(SMALL)
    assert main(["train", "small.py:four", "--epochs", "2", "--threads", "1"]) == 0
    return tmp_path


def finetune(*arguments: str) -> int:
    return main(["finetune", *arguments, "--threads", "1"])


def weights(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return checkpoint.read_weights(path)


def test_a_new_head_on_a_frozen_trunk(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["small.py:two", "--from", "runs/small-1", "--freeze", "trunk.*", "--epochs", "3"]
    assert finetune(*command) == 0
    printed = capsys.readouterr().out
    assert "4 tensors loaded, 2 of another shape" in printed
    assert "trained 18 of 130 parameters" in printed
    assert printed.splitlines()[-1].startswith("test accuracy ")
    before, after = weights(folder / "runs/small-1"), weights(folder / "runs/small-2")
    assert after["head.weight"].shape == (2, 8)
    for name in ("trunk.0.weight", "trunk.0.bias", "trunk.2.weight", "trunk.2.bias"):
        np.testing.assert_array_equal(after[name], before[name])


def test_lora_leaves_adapters_and_merged_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["small.py:four", "--from", "runs/small-1", "--lora", "trunk.?", "--rank", "2"]
    assert finetune(*command, "--epochs", "2", "--out", "tuned", "--unfreeze", "head.bias") == 0
    assert "lora(rank=2, alpha=16" in capsys.readouterr().out
    base, merged = weights(folder / "runs/small-1"), weights(folder / "tuned/merged.safetensors")
    assert set(merged) == set(base)
    changed = {name for name in base if not np.array_equal(base[name], merged[name])}
    assert changed == {"trunk.0.weight", "trunk.2.weight", "head.bias"}
    arrays, metadata = checkpoint.load(folder / "tuned/adapters.safetensors")
    assert len(arrays) == 5 and metadata["adapters"][0]["layers"] == ["trunk.0", "trunk.2"]
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
    trunk = {name.removeprefix("trunk."): x for name, x in merged.items() if "trunk" in name}
    change = np.asarray(trunk["0.weight"] - base["trunk.0.weight"])
    assert np.linalg.matrix_rank(change.astype(np.float64), tol=1e-5) == 2
    assert model.load_state_dict(trunk).missing_keys == []


def test_a_model_in_a_file_predicts_with_its_adapters(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same from the run and from its merged weights."""
    (folder / "rows.csv").write_text("1,0,0,0\n0,1,0,-2\n")
    command = ["small.py:four", "--from", "runs/small-1", "--epochs", "2", "--lr", "0.1"]
    parts = ["--lora", "trunk.?", "--rank", "2", "--bottleneck", "head", "--width", "2"]
    assert finetune(*command, *parts, "--out", "tuned") == 0
    said = []
    for source in ("tuned", "tuned/merged.safetensors", "runs/small-1"):
        capsys.readouterr()
        assert main(["predict", "small.py:four", "--from", source, "rows.csv"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]
    assert main(["generate", "--from", "tuned"]) == 2
    assert "tuned: is no run of a ready model" in capsys.readouterr().err


def test_rates_layer_by_layer_and_resume(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["small.py:four", "--from", "runs/small-1", "--layer-decay", "1e-6"]
    command += ["--layers", "trunk.?", "--lr", "0.01", "--out", "tuned"]
    assert finetune(*command, "--epochs", "1") == 0
    assert finetune(*command, "--epochs", "2", "--resume") == 0
    assert "resumed" in capsys.readouterr().out
    base, tuned = weights(folder / "runs/small-1"), weights(folder / "tuned")
    moved = {name: float(np.abs(tuned[name] - base[name]).max()) for name in base}
    assert moved["head.weight"] > 1e-3 > 1e-6 > moved["trunk.0.weight"]


def test_names_may_be_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = weights(folder / "runs/small-1")
    checkpoint.save(folder / "theirs.safetensors", {f"module.{n}": x for n, x in arrays.items()})
    command = ["small.py:four", "--from", "theirs.safetensors", "--epochs", "0"]
    assert finetune(*command) == 2
    assert "nothing was loaded" in capsys.readouterr().err
    assert finetune(*command, "--rename", "module.=", "--skip", "head.*") == 0
    assert "4 tensors loaded, 2 skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, message",
    [
        (["--lora", "nothing"], "nn.lora: no layer matches 'nothing'"),
        (["--prefix", "*"], "nn.PrefixedAttention can carry one"),
        (["--layers", "trunk"], "--layer-decay and --layers are given together"),
        (["--rename", "module"], "--rename takes OLD=NEW"),
        (["--freeze", "*"], "Net.train: the loss reads no trainable parameter"),
        (["--lr", "-1"], "inverse_time_decay: lr is -1.0, expected 0 or more"),
        (["--lr", "nan"], "lr is nan, expected 0 or more"),
        (["--skip", "haed.*"], "load_into: no tensor of the model matches skip 'haed.*'"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune("small.py:four", "--from", "runs/small-1", *options) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune("small.py:four", "--from", "runs/none") == 2
    assert "none: cannot be read" in capsys.readouterr().err


def test_a_text_keeps_the_codes_and_sizes_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second text with fewer characters is read by the first one's tokenizer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first.txt").write_text("abcdef " * 200)
    (tmp_path / "second.txt").write_text("fed " * 300)
    sizes = gpt.Sizes(context=16, layers=1, heads=2, width=16)
    step, training, _ = gpt.make("first.txt", 4, 1, sizes)
    graphc.Trainer(step, "runs/gpt-1").fit(training, 1, progress=False)
    command = ["gpt", "--from", "runs/gpt-1", "--data", "second.txt", "--epochs", "1"]
    assert finetune(*command, "--batch-size", "4", "--lora", "*.c_attn", "--rank", "1") == 0
    assert "of another shape" not in capsys.readouterr().out
    saved = load_run("runs/gpt-2")  # with its adapters, as `graphc generate` takes it
    assert saved.model.tokenizer.decode([1, 2, 3]) == "abc"
    text = np.arange(7, dtype=np.int32).reshape(1, 7)
    merged = gpt.restore(saved.description).eval()
    checkpoint.load_into(merged, "runs/gpt-2/merged.safetensors", strict=True)
    np.testing.assert_allclose(merged(text), saved.model(text), rtol=1e-4, atol=1e-5)
    file = load_run("runs/gpt-2/merged.safetensors")
    np.testing.assert_array_equal(file.model(text), merged(text))
    assert finetune(*command, "--batch-size", "4", "--prefix", "*.attn", "--length", "2") == 0
    assert "prefix(length=2): 64 parameters on 1 layers" in capsys.readouterr().out
    prefixed = load_run("runs/gpt-3")
    assert not np.array_equal(prefixed.model(text), load_run("runs/gpt-1").model(text))
    assert main(["generate", "--from", "runs/gpt-3", "--prompt", "fe", "--length", "20"]) == 0
