"""What README.md and docs/ show is run: every python block, then every line of every sh block.

A page's blocks make one script. Commands run in an empty folder, `tests/` linked into it; pytest
loads the page's script first, so that an operator or a pass that the page adds is there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"`((?:graphc|frontends|backends|tests|bench|docs)/[\w/.-]*)`")


@dataclass(frozen=True)
class Place:
    """A folder to run a page in."""

    folder: Path

    def run(self, command: list[str]) -> str:
        """What a command prints. Fails the test where it fails."""
        tools = str(self.folder / "bin")
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([tools, str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)]),
            "GRAPHC_CACHE": str(self.folder / "cache"),
            "PYTEST_PLUGINS": "page",
        }
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "bin").mkdir()
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    for name, start in {"graphc": f"{sys.executable} -m graphc", "python": sys.executable}.items():
        tool = tmp_path / "bin" / name
        tool.write_text(f'#!/bin/sh\nexec {start} "$@"\n')
        tool.chmod(0o755)
    return Place(tmp_path)


def blocks(page: Path, kind: str) -> Iterator[str]:
    return (text for found, text in BLOCK.findall(page.read_text()) if found == kind)


def commands(page: Path) -> Iterator[str]:
    lines = "\n".join(blocks(page, "sh")).splitlines()
    return filter(None, (line.partition("  #")[0].strip() for line in lines))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page: Path, place: Place) -> None:
    script = place.folder / "page.py"
    script.write_text("\n\n".join(blocks(page, "python")))
    place.run([sys.executable, str(script)])
    for command in commands(page):
        printed = place.run(["bash", "-e", "-o", "pipefail", "-c", command])
        assert printed or " -o " in command, f"{command} is silent"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    shown = "".join(blocks(page, "python"))
    named = set(LINK.findall(text)) - set(LINK.findall(shown))
    assert [name for name in named if not (ROOT / name).exists() and name not in shown] == []


def test_every_page_is_run() -> None:
    names = {page.stem for page in PAGES}
    assert names >= {
        "README",
        "how-a-program-flows",
        "adding-an-operator",
        "adding-a-pass",
        "writing-a-backend",
        "finding-a-miscompile",
    }
    silent = [page.stem for page in PAGES if not [*blocks(page, "python"), *commands(page)]]
    assert silent == ["results"]  # figures of long runs
