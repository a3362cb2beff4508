"""Golden tests: graphs as text before and after a pipeline, in golden/*.txt.

    // case: what it shows
    // passes: simplify,cse
    graph @f(%x: f32[4]) { … }
    // becomes
    graph @f(%x: f32[4]) { … }

`pytest tests/passes/test_golden.py --rewrite` writes what the passes give now; the diff of the
files is the review.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from graphc.ir.parse import parse_graph
from graphc.ops.verify import verify
from graphc.passes.base import run_pipeline
from graphc.passes.pipeline_text import parse_pipeline

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(FOLDER.glob("*.txt"))

_CASE = re.compile(
    r"// case: (?P<title>[^\n]*)\n// passes: (?P<passes>[^\n]*)\n"
    r"(?P<before>.*?)(?:\n// becomes\n(?P<after>.*?))?\s*(?=\n// case: |\Z)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Case:
    title: str
    passes: str
    before: str
    after: str

    @property
    def result(self) -> str:
        """The text that the passes give for `before`."""
        graph = parse_graph(self.before)
        verify(graph)
        result = run_pipeline(graph, parse_pipeline(self.passes), ())
        verify(result)
        assert parse_graph(str(result)) == result
        return str(result).strip()


def cases_in(path: Path) -> list[Case]:
    found = [Case(**match.groupdict(default="")) for match in _CASE.finditer(path.read_text())]
    assert found, f"{path.name} holds no case"
    return found


def rewrite(path: Path) -> None:
    blocks = [
        f"// case: {case.title}\n// passes: {case.passes}\n{case.before.strip()}\n"
        f"// becomes\n{case.result}\n"
        for case in cases_in(path)
    ]
    path.write_text("\n".join(blocks))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite"):
        rewrite(path)
    for case in cases_in(path):
        assert case.result == case.after.strip(), case.title
