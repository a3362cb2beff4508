"""The command line as a user runs it."""

from __future__ import annotations

import re

import pytest

from graphc.cli.main import main


def test_train_prints_epochs_memory_and_accuracy_and_saves(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "mlp", "--epochs", "2", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "memory  peak" in text and "epoch 2/2" in text
    accuracy = re.search(r"^test accuracy (\d\.\d{4})$", text, re.MULTILINE)
    assert accuracy is not None and float(accuracy[1]) > 0.7
    assert list(out.rglob("*.safetensors"))


def test_a_run_is_never_overwritten_and_resume_goes_on(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["train", "mlp", "--epochs", "1", "--out", out]) == 0
    assert main(["train", "mlp", "--epochs", "1", "--out", out]) == 2
    assert "resume" in capsys.readouterr().err
    assert main(["train", "mlp", "--epochs", "2", "--out", out, "--resume"]) == 0
    assert "epoch 2/2" in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["traced", "differentiated", "optimized", "fused", "scheduled"])
def test_dump_prints_every_stage(stage, capsys):
    assert main(["dump", "mlp", "--stage", stage]) == 0
    assert "matmul" in capsys.readouterr().out or stage == "traced"


def test_memory_names_the_peak_and_refuses_a_small_limit(capsys):
    assert main(["memory", "mlp", "--max-memory", "1000"]) == 2
    assert "the limit is 1000" in capsys.readouterr().err


def test_models_are_listed_and_unknown_ones_refused(capsys):
    assert main(["models"]) == 0
    assert "cifar-cnn" in capsys.readouterr().out
    assert main(["train", "nothing"]) == 2
    assert "no model 'nothing'" in capsys.readouterr().err


def test_a_model_in_a_file(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "import graphc\nfrom graphc import nn, optim\n"
        "def make():\n"
        "    return graphc.TrainStep(nn.Linear(3, 1), lambda m, x: (m(x) ** 2).mean(),\n"
        "                            optim.SGD(lr=0.1), graphc.Spec((4, 3)))\n"
    )
    assert main(["dump", f"{path}:make", "--stage", "fused"]) == 0
    assert "matmul" in capsys.readouterr().out


def test_kernels_print_as_cuda(tmp_path, capsys):
    command = ["dump", "mlp", "--backend", "cuda", "--stage", "kernels", "--format", "cuda"]
    assert main(command) == 0
    assert "__global__" in capsys.readouterr().out
    out = str(tmp_path / "run")
    assert main(["train", "mlp", "--backend", "cuda", "--epochs", "1", "--out", out]) == 2
    assert "not there yet" in capsys.readouterr().err


def test_the_seed_reaches_weights_and_the_order_of_the_data(tmp_path, capsys):
    losses = []
    for seed in ("1", "2", "1"):
        out = tmp_path / f"run-{len(losses)}"
        arguments = ["train", "mlp", "--epochs", "1", "--seed", seed, "--out", str(out)]
        assert main(arguments) == 0
        losses.append(capsys.readouterr().out.splitlines()[-1])
    assert losses[0] == losses[2] != losses[1]
