"""`graphc bench` and `graphc devices`, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphc.cli.main import main

MODEL = '''
import graphc
import graphc.functional as F
from graphc import nn, optim


def make():
    """A linear classifier."""
    return graphc.TrainStep(
        nn.Linear(8, 4),
        lambda model, x, y: F.cross_entropy(model(x), y),
        optim.SGD(lr=0.1),
        graphc.Spec((16, 8)),
        graphc.Spec((16,), "int32"),
    )
'''
FAST = ["--threads", "1", "--seconds", "0.01"]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(MODEL)
    return "small.py:make"


def test_a_step_is_timed(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", model, *FAST]) == 0
    assert "ms a step" in capsys.readouterr().out
    assert main(["bench", model, *FAST, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["median_seconds"] >= found["least_seconds"] > 0 and found["threads"] == 1


def test_a_profile_names_launches_lines_and_peaks(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", model, *FAST, "--profile", "--trace", "trace.json"]) == 0
    text = capsys.readouterr().out
    assert "matmul" in text and "small.py:" in text and "measured peak of 1 thread" in text
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert any("matmul" in event["name"] for event in events)
    assert main(["bench", model, *FAST, "--profile", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["launches"]
    assert all(row["seconds"] > 0 and row["roof"] for row in rows)


def test_fused_is_proved_equal_and_timed(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", model, *FAST, "--fused-vs-unfused"]) == 0
    text = capsys.readouterr().out
    assert "gradient of weight" in text and "agree" in text
    assert "all: all fusions together" in text and "fuse updates" in text
    assert main(["bench", model, *FAST, "--fused-vs-unfused", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(row["agrees"] for row in found["differences"])
    assert found["without"][0]["speedup"] > 0


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "nan"], "--seconds"),
        (["--seconds", "inf"], "--seconds"),
        (["--trace", "f"], "--profile"),
        (["--profile", "--trace", "nowhere/f.json"], "nowhere"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    model: str, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", model, *arguments]) == 2
    assert told in capsys.readouterr().err


def test_devices_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("cpu ") and "caches" in text and "processors" in text
    assert "cuda" in text
