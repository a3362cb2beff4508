"""The command line, from its arguments to what it prints and leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import graphc
from graphc.cli.main import main

TINY = '''
import numpy as np

import graphc
import graphc.functional as F
from graphc import data, nn, optim


def tiny(batch_size=8):
    """Two classes that one number tells apart."""
    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(64, 1)
    pairs = data.arrays(x, (x[:, 0] > 0).astype(np.int32))
    step = graphc.TrainStep(
        nn.Linear(1, 2),
        lambda model, x, y: F.cross_entropy(model(x), y),
        optim.SGD(lr=1.0),
        graphc.Spec((batch_size, 1)),
        graphc.Spec((batch_size,), "int32"),
    )
    return step, data.Loader(pairs, batch_size), data.Loader(pairs, batch_size, shuffle=False)


def bare():
    return tiny()[0]
'''


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model in a file, in an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(TINY)
    return "small.py:tiny"


def test_train_ends_with_the_result_and_saves(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", model, "--epochs", "3", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    name, metric, value = lines[-1].split()
    assert (name, metric) == ("test", "accuracy")
    assert float(value) > 0.9
    assert len(value) == 6
    assert any("peak" in line for line in lines)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["small-1"]
    assert list((tmp_path / "runs" / "small-1").rglob("*.safetensors"))


def test_a_second_run_has_a_folder_of_its_own(model: str, tmp_path: Path) -> None:
    for _ in range(2):
        assert main(["train", model, "--epochs", "1", "--threads", "1"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["small-1", "small-2"]


def test_resume_goes_on_where_a_run_ended(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", model, "--threads", "1", "--epochs"]
    assert main([*train, "1"]) == 0
    assert main([*train, "3", "--resume"]) == 0
    resumed = capsys.readouterr().out.splitlines()[-1]
    assert main([*train, "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == resumed
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["small-1", "small-2"]


def test_an_out_with_a_run_in_it_is_not_overwritten(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", model, "--epochs", "1", "--threads", "1", "--out", "here"]
    assert main(train) == 0
    assert main(train) == 2
    assert "here" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["traced", "differentiated", "optimized", "fused", "scheduled"])
def test_dump_prints_a_stage(model: str, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", model, "--stage", stage]) == 0
    assert "weight" in capsys.readouterr().out


def test_dump_writes_a_file(model: str, tmp_path: Path) -> None:
    assert main(["dump", model, "--stage", "kernels", "--format", "llvm", "-o", "k.ll"]) == 0
    assert "define void" in (tmp_path / "k.ll").read_text()


def test_memory_prints_the_peak(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", model]) == 0
    assert capsys.readouterr().out.startswith("peak")
    assert main(["memory", model, "--max-memory", "1"]) == 2


def test_batch_size_reaches_the_function(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", model, "--stage", "traced", "--batch-size", "4"]) == 0
    assert "f32[4,1]" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["train", "nope"], "no model 'nope'"),
        (["train", "missing.py:f"], "missing.py"),
        (["train", "small.py:absent"], "absent"),
        (["train", "small.py:bare"], "no data"),
        (["train", "small.py"], "small.py:FUNCTION"),
        (["train", "small.py:graphc"], "module, no function"),
        (["memory", "small.py:tiny", "--batch-size", "0"], "--batch-size is 0"),
        (["dump", "small.py:tiny", "--stage", "nope"], "nope"),
        (["dump", "small.py:bare", "--batch-size", "4"], "--batch-size"),
        (["train", "mlp", "--data", "nowhere"], "nowhere"),
        (["train", "small.py:tiny", "--seed", "-1"], "--seed is -1, expected 0 to 2^64 - 1"),
        (["train", "gpt", "--batch-size", "0"], "--batch-size is 0, expected at least 1"),
        (["train", "small.py:tiny", "--epochs", "-1"], "fit: epochs is -1, expected 0 or more"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    model: str, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("graphc: ")
    assert len(error.splitlines()) == 1


def test_models_and_the_cache_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path))
    assert main(["models"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} >= {
        "mlp",
        "cifar-cnn",
        "resnet20",
    }
    assert main(["cache"]) == 0
    assert str(tmp_path) in capsys.readouterr().out


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m graphc dump mlp --stage scheduled | head -1"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert run.stdout.startswith("schedule @MLP.train")
    assert run.stderr == ""


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"graphc {graphc.__version__}\n"


def test_python_m_graphc_is_the_command_line() -> None:
    run = subprocess.run([sys.executable, "-m", "graphc", "models"], capture_output=True, text=True)
    assert run.returncode == 0
    assert "cifar-cnn" in run.stdout


OTHERS = '''
import numpy as np

import graphc
from graphc import data, nn, optim

x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(32, 1)


def regression(epochs=3):
    """A line through points: no classes, so no accuracy."""
    rate = optim.schedules.cosine(0.5, total_steps=epochs * 4)
    step = graphc.TrainStep(
        nn.Linear(1, 1),
        lambda model, x, y: ((model(x)[:, 0] - y) ** 2).mean(),
        optim.SGD(rate),
        graphc.Spec((8, 1)),
        graphc.Spec((8,)),
    )
    assert epochs == 2
    points = data.arrays(x, 3 * x[:, 0] - 1)
    return step, data.Loader(points, 8), data.Loader(points, 8, shuffle=False)


def untested():
    step, train, _ = regression(2)
    return step, train


def wrong():
    return "a step"
'''


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "others.py").write_text(OTHERS)


def test_a_regression_ends_with_its_test_loss(
    others: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "others.py:regression", "--epochs", "2", "--threads", "1"]) == 0
    name, metric, value = capsys.readouterr().out.splitlines()[-1].split()
    assert (name, metric) == ("test", "loss")
    assert float(value) < 1


def test_a_model_without_a_test_set_ends_with_its_train_loss(
    others: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "others.py:untested", "--epochs", "1", "--threads", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("train loss ")


def test_resume_without_a_run_starts_one(others: None, tmp_path: Path) -> None:
    arguments = ["train", "others.py:untested", "--epochs", "1", "--threads", "1", "--resume"]
    assert main(arguments) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["others-1"]


def test_a_function_of_something_else_is_refused(
    others: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["memory", "others.py:wrong"]) == 2
    assert "others.py:wrong gives str; expected a TrainStep" in capsys.readouterr().err


def test_bisect_tells_what_it_has_checked(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bisect", model, "--threads", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [
        "passes",
        "lowering",
        "kernels",
        "plan",
        "threads",
    ]
    assert lines[-1] == "no difference"
