"""Code generated with the help of other processes is the same code, whatever becomes of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphc import target as targets
from graphc.backends.llvm import assembler, helpers
from graphc.backends.llvm.engine import Library, generate
from graphc.backends.llvm.helpers import generate_all
from graphc.errors import CompileError

HOST = targets.host()


def text(number: int) -> str:
    return f"define i64 @f{number}(i64 %x) {{\n  %y = add i64 %x, {number}\n  ret i64 %y\n}}\n"


TEXTS = [text(number) for number in range(70)]


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that help."""
    found: list[subprocess.Popen[bytes]] = []
    start = helpers._start

    def counted() -> subprocess.Popen[bytes]:
        found.append(start())
        return found[-1]

    monkeypatch.setattr(helpers, "_start", counted)
    return found


@pytest.mark.parametrize("count", ["0", "1", "2"])
def test_objects_do_not_depend_on_helpers(
    count: str, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHC_HELPERS", count)
    objects = generate_all(iter(TEXTS), len(TEXTS), HOST)
    assert objects == [generate(text, HOST) for text in TEXTS]
    assert Library(objects, HOST).address("f69")
    assert len(started) == int(count)
    assert all(process.returncode is not None for process in started)


def test_few_modules_start_nobody(started: list[subprocess.Popen[bytes]]) -> None:
    assert len(generate_all(TEXTS[:3], 3, HOST)) == 3
    assert started == []


@pytest.mark.parametrize(
    "program",
    ["raise SystemExit(1)", "import sys, time; sys.stdin.buffer.read(99); sys.stdout.write('x')"],
    ids=["is gone at once", "answers half a message"],
)
def test_a_helper_that_fails_costs_only_time(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(program)
    monkeypatch.setattr(assembler, "__file__", str(tmp_path / "broken.py"))
    monkeypatch.setenv("GRAPHC_HELPERS", "1")
    assert generate_all(TEXTS, len(TEXTS), HOST) == [generate(text, HOST) for text in TEXTS]


@pytest.mark.parametrize("executable", ["", "/no/such/python3", "/usr/bin/some-program"])
def test_without_an_interpreter_nobody_helps(
    executable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setenv("GRAPHC_HELPERS", "1")
    assert len(generate_all(TEXTS, len(TEXTS), HOST)) == len(TEXTS)


def test_a_refused_text_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_HELPERS", "2")
    wrong = [*TEXTS[:9], "define i64 @broken() {\n  ret i32 0\n}\n", *TEXTS[9:]]
    with pytest.raises(CompileError, match="not valid LLVM"):
        generate_all(wrong, len(wrong), HOST)


def test_an_error_among_the_texts_ends_the_helpers(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> Iterator[str]:
        yield from TEXTS[:5]
        raise CompileError("no code for this one")

    monkeypatch.setenv("GRAPHC_HELPERS", "1")
    with pytest.raises(CompileError, match="no code"):
        generate_all(failing(), len(TEXTS), HOST)
    assert [process.returncode is not None for process in started] == [True]
