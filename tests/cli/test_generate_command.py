"""`graphc generate`: text from a run's folder alone."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest

from graphc import decoding
from graphc.cli.generating import pieces
from graphc.cli.main import main
from graphc.frontends.train.data.bytepairs import BytePairTokenizer
from graphc.frontends.train.trainer import Trainer
from graphc.models import gpt
from graphc.models.saved import load_run

SIZES = gpt.Sizes(context=16, layers=1, heads=2, width=16)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt the alphabet."""
    folder = tmp_path_factory.mktemp("letters")
    (folder / "text.txt").write_text(LETTERS * 60)
    step, train, test = gpt.make(str(folder / "text.txt"), 8, 5, SIZES)
    Trainer(step, folder / "run").fit(train, 5, test, progress=False, verbose=False)
    return folder / "run"


def generated(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["generate", *arguments]) == 0
    return capsys.readouterr().out


def test_the_run_alone_goes_on_with_a_text(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = generated(
        capsys, "gpt", "--from", str(run), "--prompt", "hij", "--length", "60", "--temperature", "0"
    )
    assert text == (LETTERS * 4)[7:70] + "\n"
    saved = load_run(run)
    codes = saved.model.tokenizer.encode("hij")
    direct = decoding.generate(saved.model, codes, 60, temperature=0, window=8)
    assert saved.model.tokenizer.decode(np.concatenate([codes, direct])) == text[:-1]


def test_a_seed_and_the_filters_decide_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--from", str(run), "--prompt", "a", "--length", "30", "--temperature", "9"]
    first, again, other = (generated(capsys, *options, "--seed", seed) for seed in ("1", "1", "2"))
    assert first == again != other and len(first) == 32
    best = generated(capsys, *options, "--top-k", "1")
    assert generated(capsys, "--from", str(run), "--length", "3", "--top-k", "1") == "abcd\n"
    assert best == generated(capsys, *options, "--top-p", "1e-6") == (LETTERS * 2)[:31] + "\n"


def test_a_character_of_several_codes_comes_whole() -> None:
    pytest.importorskip("sentencepiece", reason="needs the extra text")
    tokenizer = BytePairTokenizer.train(["a plain text"] * 9, 280)
    prompt, rest = (tokenizer.encode(text).tolist() for text in ("a ", "☃ and ё"))
    assert len(rest) > len("☃ and ё")
    parts = list(pieces(tokenizer, prompt, rest))
    assert "☃" in parts and "ё" in parts and "".join(parts).split() == ["a", "☃", "and", "ё"]


def test_the_prompt_may_come_through_a_pipe(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--from", str(run), "--length", "3", "--top-k", "1", "--prompt"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hij")))
    assert generated(capsys, *options, "-") == "hijklm\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hi\xe9")))
    assert main(["generate", *options, "-"]) == 2
    assert "standard input: byte 2 is not UTF-8 text" in capsys.readouterr().err
    assert main(["generate", *options, os.fsdecode(b"h\xe9")]) == 2
    assert "--prompt: byte 1 is not UTF-8 text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "graphc train gpt"),
        (["mlp", "--from", "RUN"], "mlp is no language model; there are gpt"),
        (["--from", "nowhere"], "nowhere: is no run"),
        (["--from", "RUN", "--prompt", "A"], "character 'A' at position 0"),
        (["--from", "RUN", "--prompt", "abcdefghijklmnopqrst"], "a prompt of 20 tokens"),
        (["--from", "RUN", "--prompt", ""], "a prompt is empty"),
        (["--from", "RUN", "--prompt", "a", "--top-p", "2"], "top_p is 2.0"),
        (["--from", "RUN", "--prompt", "a", "--length", "-1"], "length is -1"),
    ],
)
def test_errors_are_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], error: str
) -> None:
    given = [str(run) if word == "RUN" else word for word in arguments]
    assert main(["generate", *given]) == 2
    text = capsys.readouterr().err
    assert error in text and text.count("\n") == 1
