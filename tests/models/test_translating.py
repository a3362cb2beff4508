"""A small seq2seq learns a few sentences by heart; it is then used from its run's folder."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc import Trainer, TrainStep, data, optim
from graphc.cli.main import main
from graphc.errors import ArgumentError, DataError
from graphc.models import phrases, saved, seq2seq
from graphc.models.translating import Translator

PAIRS = phrases.pairs(6, seed=7)
ENGLISH = [english for english, _ in PAIRS]
GERMAN = [german for _, german in PAIRS]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    words = data.WordTokenizer.train(ENGLISH), data.WordTokenizer.train(GERMAN)
    sizes = seq2seq.Sizes(
        len(words[0]), len(words[1]), 14, width=32, heads=2, feed_forward=32, layers=1, dropout=0.0
    )
    loader = data.BucketLoader(
        data.translations(PAIRS, *words), 6, [(14, 14, 14)], lengths=False, padding=0
    )
    model, optimizer = seq2seq.Seq2Seq(sizes, words), optim.Adam(lr=1e-2)
    step = TrainStep(model, seq2seq.translation_loss, optimizer, buckets=loader.specs)
    folder = tmp_path_factory.mktemp("runs") / "run"
    Trainer(step, folder).fit(loader, 100, progress=False, verbose=False, keep=1)
    return folder


@pytest.fixture(scope="module")
def model(run: Path) -> Any:
    return saved.load_run(run).model


def greedy(model: Any, sentence: str) -> str:
    """The likeliest code after the likeliest, by the whole forward each time."""
    source, target = model.tokenizers
    codes, found = [*source.encode(sentence), 2], [1]
    while found[-1] != 2 and len(found) < 14:
        scores = np.asarray(model(np.array([codes], np.int32), np.array([found], np.int32)))
        found.append(int(scores[0, -1].argmax()))
    return str(target.decode(found))


def test_sentences_in_their_order(model: Any) -> None:
    translator = Translator(model, batch_size=4)
    assert translator.translate([*ENGLISH, "", " "]) == [*GERMAN, "", ""]
    assert translator.translate([]) == []
    assert translator.translate(ENGLISH[:1]) == GERMAN[:1]


def test_a_beam_of_one_is_greedy(model: Any) -> None:
    sentences = [*ENGLISH, "a man", "the dog sees unknown things ."]
    found = Translator(model, beam=1, batch_size=3).translate(sentences)
    assert found == [greedy(model, sentence) for sentence in sentences]


def test_programs_are_kept(model: Any) -> None:
    translator = Translator(model, beam=2, batch_size=4)
    translator.translate(ENGLISH)
    decoders = dict(translator._decoders)
    translator.translate(ENGLISH[::-1])
    assert translator._decoders == decoders
    assert {sentences for sentences, _ in decoders} <= {1, 4}


def test_what_cannot_be_translated(model: Any) -> None:
    with pytest.raises(DataError, match="sentence 2 has 15 codes with its end; the model takes 14"):
        Translator(model).translate(["a", "a " * 14])
    for options in ({"beam": 0}, {"batch_size": 0}, {"length_penalty": float("nan")}):
        with pytest.raises(ArgumentError, match="expected at least"):
            Translator(model, **options)
    with pytest.raises(ArgumentError, match="no tokenizers"):
        Translator(seq2seq.Seq2Seq(model.sizes))


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_the_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["translate", "--from", str(run), "--threads", "1"]
    assert main([*command, *ENGLISH[:2]]) == 0
    assert capsys.readouterr().out.splitlines() == GERMAN[:2]
    (tmp_path / "lines.txt").write_text("\n".join(ENGLISH[:3]) + "\n")
    assert main([*command, "--beam", "1", str(tmp_path / "lines.txt")]) == 0
    assert capsys.readouterr().out.splitlines() == GERMAN[:3]
    pipe(monkeypatch, f"{ENGLISH[4]}\n\n{ENGLISH[5]}".encode())
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [GERMAN[4], "", GERMAN[5]]


def test_text_in_another_encoding_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["translate", "--from", str(run), "--threads", "1"]
    pipe(monkeypatch, "a man\na mün\n".encode("latin-1"))
    assert main(command) == 2
    assert "standard input: byte 9 is not UTF-8 text (invalid" in capsys.readouterr().err
    pipe(monkeypatch, b"a man\na m\xfcn\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert main(command) == 2
    found = capsys.readouterr()
    assert found.out.count("\n") == 1, "the line before was translated"
    assert "standard input, line 2: byte 3 is not UTF-8" in found.err
    assert main([*command, "a man", os.fsdecode(b"a m\xfcn")]) == 2
    assert "sentence 2: byte 3 is not UTF-8 text" in capsys.readouterr().err


def test_mistakes_at_the_command_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lines.txt").write_text("a man\n")
    mistakes = {
        "one file": ["--from", str(run), str(tmp_path / "lines.txt"), "a man"],
        "model.json": ["--from", str(tmp_path), "a man"],
        "beam is 0": ["--from", str(run), "--beam", "0", "a man"],
        "1 checkpoints, 2 to average": ["--from", str(run), "--average", "2", "a man"],
    }
    for text, options in mistakes.items():
        assert main(["translate", *options]) == 2
        assert text in capsys.readouterr().err
