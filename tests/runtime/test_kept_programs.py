"""Programs from the cache: the same bits and launches, with the lines of the trace at hand."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import compiler, nn, optim
from graphc import target as targets
from graphc.backends.llvm import code
from graphc.backends.llvm import program as llvm_program
from graphc.errors import IndexFault
from graphc.ir import Graph
from graphc.passes.base import Pass
from graphc.passes.pipelines import DEFAULT, UNFUSED
from graphc.passes.stages import run_stages
from graphc.runtime import kept
from graphc.runtime.kept import PROGRAMS
from graphc.runtime.program import Program

MODEL = """\
import numpy as np
import graphc
import graphc.functional as F
from graphc import nn, optim

TABLE = np.arange({first}, {first} + 64, dtype=np.float32).reshape(16, 4) / 64


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(6, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        h = F.tanh(self.hidden(x)){split} * 2
        return self.head(h) + h @ (F.asarray(TABLE) / 3 + 1)


def make(**options):
    return graphc.TrainStep(
        Net(),
        lambda model, x, y: F.cross_entropy(model(x), y),
        optim.Adam(1e-2, clip_norm=1.0),
        graphc.Spec((8, 6)),
        graphc.Spec((8,), "int32"),
        **options,
    )
"""
NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., ModuleType]:
    """A module of the model's text, in a file of its own."""

    def write(before: str = "", split: str = "", first: int = 0) -> ModuleType:
        path = tmp_path / f"model{next(NUMBERS)}.py"
        path.write_text(before + MODEL.format(split=split, first=first))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return write


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the graphs that went through the passes."""
    found: list[str] = []

    def counted(graph: Graph, *rest: Any) -> Any:
        found.append(graph.name)
        return run_stages(graph, *rest)

    monkeypatch.setattr(compiler, "run_stages", counted)
    return found


def batches() -> list[tuple[Any, Any]]:
    random = np.random.default_rng(0)
    sizes = {"size": (8, 6)}
    return [(random.normal(**sizes).astype(np.float32), random.integers(0, 4, 8)) for _ in range(3)]


def losses(step: graphc.TrainStep) -> list[float]:
    return [float(step(*batch)) for batch in batches()]


def described(program: Program) -> list[tuple[Any, ...]]:
    return [
        (launch.name, launch.kernel.definition, launch.arguments, launch.ops, launch.reason)
        for launch in program.launches
    ]


def forbid_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no pass, lowering, planning or code generation may run."""

    def never(*rest: Any, **options: Any) -> Any:
        raise AssertionError("work that the cache was to save")

    for place, name in (
        (compiler, "run_stages"),
        (compiler, "lower"),
        (compiler, "plan_memory"),
        (code, "emit"),
        (code, "step_text"),
        (code, "place_barriers"),
    ):
        monkeypatch.setattr(place, name, never)


def test_a_hit_does_nothing_again_and_computes_the_same_bits(
    written: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = written()
    fresh = module.make()
    expected = losses(fresh)
    forbid_work(monkeypatch)
    again = module.make()
    assert losses(again) == expected
    for name, array in fresh.state_dict().items():
        np.testing.assert_array_equal(array, again.state_dict()[name], err_msg=name)
    assert again.program.memory == fresh.program.memory
    assert again.program.schedule == fresh.program.schedule
    assert described(again.program) == described(fresh.program)
    made_by_passes = set(again.program.schedule.constants.values()) - set(again.graph.constants)
    assert made_by_passes


def test_stages_come_on_demand(written: Callable[..., ModuleType], compiles: list[str]) -> None:
    module = written()
    fresh, again = module.make().program, module.make().program
    assert len(compiles) == 1
    for stage in ("traced", "differentiated", "optimized", "fused", "scheduled"):
        assert again.dump(stage) == fresh.dump(stage)
    assert len(compiles) == 2
    assert again.dump("kernels", "llvm") == fresh.dump("kernels", "llvm")


def test_lines_are_those_of_the_trace_at_hand(
    written: Callable[..., ModuleType], compiles: list[str]
) -> None:
    old, new = written(), written(before="# A line more.\n\n")
    stale, found = old.make().program, new.make().program
    assert compiles == ["Net.train"]
    want = compile_afresh(new)
    assert [launch.source for launch in found.launches] == [
        launch.source for launch in want.launches
    ]
    assert found.memory == want.memory
    assert {line for launch in found.launches for line in launch.source}.isdisjoint(
        line for launch in stale.launches for line in launch.source if "model" in line
    )


def compile_afresh(module: ModuleType) -> Program:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHC_CACHE", "off")
        program: Program = module.make().program
    return program


def test_a_fault_names_the_line_of_the_trace_at_hand(
    written: Callable[..., ModuleType], compiles: list[str]
) -> None:
    written().make().compile()
    step = written(before="# Moved.\n").make()
    x, y = batches()[0]
    with pytest.raises(IndexFault) as found:
        step(x, y + 4)
    assert len(compiles) == 1
    with pytest.raises(IndexFault) as expected, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHC_CACHE", "off")
        program = step.program
        step._programs = ()
        step(x, y + 4)
    assert program.graph is step.graph
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize(
    "change",
    [{"split": "\n        h = h"}, {"first": 1}],
    ids=["nodes no longer share a line", "a constant"],
)
def test_another_graph_is_another_program(
    written: Callable[..., ModuleType], compiles: list[str], change: dict[str, Any]
) -> None:
    written().make().compile()
    written(**change).make().compile()
    assert len(compiles) == 2


def square(x: Any) -> Any:
    return F.tanh(x) * x


def trace(shape: tuple[int, ...] = (5,), fn: Callable[..., Any] = square) -> Graph:
    graph: Graph = graphc.trace(fn, graphc.Spec(shape))
    return graph


def test_other_options_are_other_programs(compiles: list[str]) -> None:
    compiler.compile_graph(trace())
    compiler.compile_graph(trace(), threads=1)
    assert len(compiles) == 1
    compiler.compile_graph(trace(), passes=UNFUSED)
    compiler.compile_graph(trace((6,)))
    compiler.compile_graph(trace(fn=lambda x: F.tanh(x) + x))
    assert len(compiles) == 4


def test_another_target_is_another_program(
    compiles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler.compile_graph(trace())
    smaller = replace(targets.host(), l2_bytes=targets.host().l2_bytes // 2)
    monkeypatch.setattr(llvm_program, "host", lambda: smaller)
    compiler.compile_graph(trace())
    assert len(compiles) == 2


@pytest.mark.parametrize("part", ["sources_digest", "version"])
def test_another_version_is_another_program(
    compiles: list[str], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    compiler.compile_graph(trace())
    if part == "version":
        monkeypatch.setattr(np, "__version__", "0.1")
    else:
        monkeypatch.setattr(kept, "sources_digest", lambda *places: "other sources")
    compiler.compile_graph(trace())
    assert len(compiles) == 2


def test_a_layout_fixed_before_is_another_program(
    written: Callable[..., ModuleType], compiles: list[str]
) -> None:
    step = written().make()
    step.compile()
    step._programs = ()
    step.compile()
    assert len(compiles) == 2


@dataclass(frozen=True)
class Nothing(Pass):
    """A pass of a user's own: its sources are in no key."""

    name = "nothing"

    def run(self, graph: Graph) -> Graph:
        return graph


def test_programs_of_passes_from_elsewhere_are_not_kept(compiles: list[str]) -> None:
    for _ in range(2):
        compiler.compile_graph(trace(), passes=(Nothing(), *DEFAULT))
    assert len(compiles) == 2
    assert PROGRAMS.entries() == []


def test_programs_with_operators_from_elsewhere_are_not_kept(
    compiles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphc.ops, "OWN", graphc.ops.OWN - {"tanh"})
    for _ in range(2):
        compiler.compile_graph(trace())
        compiler.compile_graph(trace(fn=lambda x: x + x))
    assert compiles == ["square", "lambda", "square"]


def test_the_interpreter_keeps_nothing(compiles: list[str]) -> None:
    for _ in range(2):
        compiler.compile_graph(trace(), backend="interpreter")
    assert len(compiles) == 2


def test_dumps_between_passes_are_written_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiles: list[str]
) -> None:
    compiler.compile_graph(trace())
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path / "dumps"))
    compiler.compile_graph(trace())
    assert list((tmp_path / "dumps").iterdir())


@pytest.mark.parametrize("damage", ["cut", "flipped", "another form"])
def test_a_damaged_program_is_made_again(
    written: Callable[..., ModuleType], compiles: list[str], damage: str
) -> None:
    module = written()
    expected = losses(module.make())
    (entry,) = PROGRAMS.entries()
    data = bytearray(entry.path.read_bytes())
    if damage == "another form":
        PROGRAMS.write(entry.path.name, b"whole, but nothing that a program could be read from")
    else:
        data[len(data) // 2] ^= 1
        entry.path.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    assert losses(module.make()) == expected
    assert len(compiles) == 2
    assert losses(module.make()) == expected
    assert len(compiles) == 2


def test_a_schedule_too_deep_for_the_parser_is_made_again(
    compiles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = compiler.compile_graph(trace())
    again = compiler.compile_graph(trace())
    parse = "graphc.runtime.compiled.parse_schedule"
    monkeypatch.setattr(parse, lambda text: (_ for _ in ()).throw(graphc.errors.ParseError("deep")))
    assert again.schedule == fresh.schedule
    assert len(compiles) == 2


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np
from {name} import make
step = make(threads=1)
random = np.random.default_rng(0)
for _ in range(3):
    x, y = random.normal(size=(8, 6)).astype(np.float32), random.integers(0, 4, 8)
    loss = float(step(x, y))
print(loss.hex())
"""


def test_two_processes_at_once(written: Callable[..., ModuleType], cache: Path) -> None:
    path = Path(str(written().__file__))
    script = SCRIPT.format(folder=str(path.parent), name=path.stem)
    together = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate()[0] for process in together]
    assert [process.returncode for process in together] == [0, 0]
    after = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert printed[0] == printed[1] == after.stdout != ""
    assert len(PROGRAMS.entries()) == 1
    assert all(len(path.name) == 64 for path in cache.rglob("*") if path.is_file())


def test_convolutions_keep_their_layouts() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: Any) -> Any:
            return F.relu(self.conv(x))

    def make() -> graphc.TrainStep:
        spec = graphc.Spec((2, 3, 6, 6))
        return graphc.TrainStep(Net(), lambda m, x: (m(x) ** 2).mean(), optim.SGD(0.1), spec)

    x = np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype(np.float32)
    first, second = make(), make()
    assert [float(first(x)) for _ in range(3)] == [float(second(x)) for _ in range(3)]
    orders = [[slot.order for slot in step.state.values()] for step in (first, second)]
    assert orders[0] == orders[1]
