"""Opt: passes over text, from a file or the standard input."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from graphc.tools.opt import main

TEXT = """graph @f(%x: f32[4]) {
  %1: f32[4] = exp(%x)   # net.py:3
  %2: f32[4] = exp(%x)   # net.py:4
  %3: f32[4] = add(%1, %2)   # net.py:5
  return %3
}
"""


def test_passes_run_over_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.graph"
    file.write_text(TEXT)
    assert main([str(file), "--passes", "cse,dce"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("exp(%x)") == 1
    assert "add(%1, %1)" in printed


def test_text_comes_from_the_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(TEXT))
    assert main(["-"]) == 0
    assert capsys.readouterr().out == TEXT


@pytest.mark.parametrize(
    ("text", "passes", "told"),
    [
        (TEXT, "cse,dcf", "no pass 'dcf'"),
        ("graph @f(", "", "line 1"),
        (TEXT.replace("add(%1, %2)", "add(%1, %9)"), "", "%9"),
        (TEXT.replace("%3: f32[4]", "%3: f32[5]"), "", "add"),
    ],
)
def test_errors_are_one_line(
    text: str, passes: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.graph"
    file.write_text(text)
    assert main([str(file), "--passes", passes]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith(f"opt: {file}: ")
    assert len(error.splitlines()) == 1


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere.graph"]) == 2
    assert "nowhere.graph: cannot be read" in capsys.readouterr().err
