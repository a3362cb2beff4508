"""The commands that docs/ shows are run, but those on a data set or a run of the reader's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graphc.cli.main import main

DOCS = Path(__file__).parent.parent / "docs"
COMMANDS = [
    (page.stem, command)
    for page in sorted(DOCS.glob("*.md"))
    for command in re.findall(r"^    graphc (.+)$", page.read_text(), re.MULTILINE)
    if not re.search(r"--(data|from) ", command)
]


@pytest.mark.parametrize("page, command", COMMANDS)
def test_a_command_of_a_page_runs(
    page: str,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = command.split("#")[0].split()
    assert main(arguments) == 0
    written = [arguments[n + 1] for n, word in enumerate(arguments) if word in ("-o", "--trace")]
    assert all((tmp_path / name).stat().st_size > 100 for name in written)
    assert capsys.readouterr().out or written
