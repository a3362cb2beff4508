"""A folder imports only from the floors below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphc

ROOT = Path(graphc.__file__).parent

# The number of each floor; a room may use its own floor, unless the two are strangers.
FLOORS = {
    "errors": 1, "dtypes": 1, "settings": 1, "target": 1, "lexing": 1,
    "ir": 2, "loops": 2,
    "ops": 3,
    "passes": 4, "lowering": 4, "planning": 4, "runtime": 4, "backend": 4,
    "budget": 5, "compiler": 5, "tools": 5, "inspect": 5,
    "frontends": 6, "backends": 6,
    "cli": 7, "models": 7,
}  # fmt: skip
STRANGERS = {("ir", "loops"), ("loops", "ir"), ("frontends", "backends"), ("backends", "frontends")}
DOORS = {
    "", "__main__", "nn", "optim", "functional", "data", "decoding", "checkpoint", "callbacks",
    "metrics",
}  # fmt: skip  # they only re-export


def room(module: str) -> str:
    """The part of graphc that a dotted name lies in: graphc.ops.define is in ops."""
    return [*module.split("."), ""][1]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of whatever a file takes from graphc, wherever in it that stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level == 1:
                continue  # its own folder
            assert node.level == 0, f"line {node.lineno} imports from a folder above by dots"
            module = node.module or ""
            names = [f"graphc.{name.name}" for name in node.names]
            yield from ((node.lineno, name) for name in (names if module == "graphc" else [module]))


def sources(name: str) -> list[Path]:
    """The files of a room; `resolve` because rglob does not enter folders that are links."""
    folder = (ROOT / name).resolve()
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [ROOT / f"{name}.py"]


def offences(name: str, path: Path) -> Iterator[str]:
    for line, module in imported(ast.parse(path.read_text())):
        other = room(module)
        if module.split(".")[0] != "graphc" or other in {name, "", "__version__"}:
            continue
        known = other in FLOORS or (other in DOORS and FLOORS[name] == 7)
        above = FLOORS.get(other, 0) > FLOORS[name]
        if not known or above or (name, other) in STRANGERS:
            yield f"{path}:{line} imports {module}"


@pytest.mark.parametrize("name", FLOORS)
def test_a_room_imports_only_from_below(name: str) -> None:
    files = sources(name)
    assert files
    assert [found for path in files for found in offences(name, path)] == []


def test_every_part_of_graphc_has_a_floor() -> None:
    parts = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__init__", "__pycache__"} - DOORS == set(FLOORS)


def test_an_offence_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text("def f():\n    from graphc.ops.define import Op\n    import graphc.loops\n")
    assert [text.split(" ", 1)[1] for text in offences("ir", file)] == [
        "imports graphc.ops.define",
        "imports graphc.loops",
    ]
    assert list(offences("passes", file)) == []
