"""The ready model that hears digits: its data, its padding, its command lines."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import data
from graphc.cli.main import main
from graphc.errors import DataError
from graphc.models.lstm_ctc import LstmCTC, Plan, Sizes, make_from, restore, utterances
from graphc.models.made_digits import made_digits

Array = np.ndarray[Any, Any]
TINY = Sizes(filters=12, hidden=8, layers=2)


@pytest.fixture(scope="module")
def spoken() -> data.SpokenDigits:
    return made_digits()


def test_made_digits_are_sounds_that_differ(spoken: data.SpokenDigits) -> None:
    assert len(spoken) == 600 and len(spoken.speakers) == 4
    assert [len(part) for part in spoken.official_split()] == [400, 200]
    for one in spoken.recordings:
        assert one.samples.dtype == np.float32 and 0.1 < len(one.samples) / 8000 < 0.8
        assert 0.1 < np.abs(one.samples).max() <= 1
    features = [data.LogMel(8000)(one.samples).mean(axis=0) for one in spoken.recordings]
    means = {
        digit: np.mean([x for x, r in zip(features, spoken.recordings, strict=True)
                        if r.digit == digit], axis=0)
        for digit in range(10)
    }  # fmt: skip
    for digit in range(10):
        others = [np.abs(means[digit] - means[other]).max() for other in range(digit)]
        assert all(distance > 0.5 for distance in others)


def test_made_digits_follow_from_the_seed(spoken: data.SpokenDigits) -> None:
    again, other = made_digits(0), made_digits(1)
    assert all(
        np.array_equal(a.samples, b.samples)
        for a, b in zip(spoken.recordings, again.recordings, strict=True)
    )
    assert len(spoken.recordings[0].samples) != len(other.recordings[0].samples)


def test_utterances_are_frames_and_labels(spoken: data.SpokenDigits) -> None:
    said = data.connected_digits(spoken, 4, 9, most=7)
    found = utterances(spoken, 4, 9, TINY)
    for index in range(4):
        (frames, labels), (samples, digits) = found[index], said[index]
        assert frames.shape == (1 + (len(samples) - 200) // 80, 12)
        np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-5)
        assert (labels == digits + 1).all()


def test_padding_does_not_matter() -> None:
    """Frames beyond the length, whatever they hold, and however many they are."""
    model = LstmCTC(TINY).eval()
    random = np.random.default_rng(0)
    frames = random.normal(size=(13, 12)).astype(np.float32)
    found = {}
    for size in (15, 24):
        x = random.normal(size=(2, size, 12)).astype(np.float32)
        x[0, :13], x[0, 13:15] = frames, 0
        program = graphc.compile(model, graphc.Spec(x.shape), graphc.Spec((2,), "i32"))
        log_probs, steps = program(x, np.array([13, size], np.int32))
        assert log_probs.shape == (2, size // 3, 11) and steps.tolist() == [5, size // 3]
        np.testing.assert_allclose(np.exp(log_probs).sum(axis=2), 1, rtol=1e-5)
        found[size] = log_probs[0, :5]
    np.testing.assert_allclose(found[15], found[24], rtol=1e-5, atol=1e-6)


def test_buckets_hold_every_utterance(spoken: data.SpokenDigits) -> None:
    step, training, test = make_from(
        spoken.official_split(), 4, 1, TINY, Plan(30, 8, (150, 201), 1e-3)
    )
    assert len(step.buckets) == 3 and step.buckets == training.specs == test.specs
    longest = step.buckets[-1][0].shape[1]
    assert longest % 3 == 0 and longest > 201
    assert sum(training.counts) == 30 and sum(test.counts) == 8


def test_a_description_makes_the_model_anew() -> None:
    model = LstmCTC(TINY)
    twin = restore(json.loads(json.dumps(model.run_description())))
    assert twin.sizes == TINY
    assert {n: p.shape for n, p in twin.named_parameters()} == {
        n: p.shape for n, p in model.named_parameters()
    }


def write(path: Path, samples: Array, rate: int = 8000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def test_from_training_to_a_file_of_ones_own(
    tmp_path: Path, spoken: data.SpokenDigits, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    assert main(["train", "lstm-ctc", "--epochs", "1", "--threads", "1", "--out", out]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("memory  peak") and "LstmCTC.train.0" in lines[0]
    assert lines[-1].startswith("test character error rate ")
    said = data.connected_digits(spoken, 2, 1)
    files = [str(write(tmp_path / f"{n}.wav", said[n][0])) for n in range(2)]
    assert main(["predict", "lstm-ctc", "--json", "--from", out, *files]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["input"] for one in found] == files
    assert all(set(one["digits"]) <= set("0123456789") for one in found)
    assert all(0 < one["probability"] <= 1 for one in found)
    other = str(write(tmp_path / "fast.wav", said[0][0], rate=16000))
    assert main(["predict", "lstm-ctc", "--from", out, other]) == 2
    assert "16000 samples a second; the model was trained on 8000" in capsys.readouterr().err


def test_data_that_is_no_fsdd(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no recordings"):
        from graphc.models.lstm_ctc import make

        make(str(tmp_path))
