"""Every stage in every format: well formed, complete, self-contained, safe."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.backends.cuda.nvrtc import find_nvrtc
from graphc.errors import ArgumentError
from graphc.inspect.drawing import draw_graph, draw_schedule
from graphc.inspect.explorer import page_of
from graphc.inspect.svg import svg_of
from graphc.ir import Graph, Value
from graphc.loops import Schedule
from graphc.runtime.program import Program

GRAPHS = ("traced", "differentiated", "optimized", "fused")
SVG = "{http://www.w3.org/2000/svg}"


class Net(nn.Module):
    """A loop, a branch and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        def step(h: Any, part: Any) -> Any:
            h = F.tanh(self.cell(h) + part)
            return h, h

        final, _ = F.scan(step, F.zeros((x.shape[1], 4)), x)
        return self.head(final)


@pytest.fixture(scope="module")
def program() -> Program:
    step = graphc.TrainStep(
        Net(),
        lambda model, x, y: F.cross_entropy(model(x), y),
        optim.SGD(lr=0.1, momentum=0.9),
        graphc.Spec((3, 8, 4)),
        graphc.Spec((8,), "int32"),
    )
    return step.program


class Parts(HTMLParser):
    """The tags of a page, its links to elsewhere, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.scripts: list[str] = []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value or "" for name, value in attrs if name in ("src", "href")]
        self._script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._script = False

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts.append(data)


@pytest.mark.parametrize("stage", [*GRAPHS, "scheduled"])
def test_svg_shows_every_box_and_arrow(program: Program, stage: str) -> None:
    root = ElementTree.fromstring(program.dump(stage, "svg"))
    found = program.stage(stage)
    drawing = draw_graph(found) if isinstance(found, Graph) else draw_schedule(found)
    groups = [g for g in root.iter(f"{SVG}g") if g.get("data-key")]
    assert [g.get("data-key") for g in groups] == [box.key for box in drawing.boxes]
    arrows = [path for path in root.iter(f"{SVG}path") if path.get("data-source")]
    assert len(arrows) == len(drawing.arrows)
    assert "test_dump.py:" in program.dump(stage, "svg")


@pytest.mark.parametrize("stage", [*GRAPHS, "scheduled"])
def test_html_stands_alone_and_holds_all_facts(program: Program, stage: str) -> None:
    text = program.dump(stage, "html")
    parts = Parts(text)
    assert parts.outside == [] and "link" not in parts.tags and "@import" not in text
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    data = json.loads(parts.scripts[0])
    shown = "\n".join(str(box) for box in data["boxes"])
    assert "test_dump.py:" in shown and "bytes" in shown


def test_the_schedule_page_tells_reason_and_kernel(program: Program) -> None:
    data = json.loads(Parts(program.dump("scheduled", "html")).scripts[0])
    launches = [box for box in data["boxes"] if box["kind"] == "launch"]
    assert len(launches) == len(program.launches)
    for box, launch in zip(launches, program.launches, strict=True):
        assert box["lines"][0] == launch.name
        assert box["code"] == str(launch.kernel)
        assert box["facts"].get("reason", "") == launch.reason
        assert tuple(box["facts"].get("lines of the model", ())) == launch.source
    assert any("repeat" in box["facts"].get("runs", "") for box in launches)


def test_arrows_follow_the_data(program: Program) -> None:
    schedule = program.stage("scheduled")
    assert isinstance(schedule, Schedule)
    drawing = draw_schedule(schedule)
    order = {box.key: number for number, box in enumerate(drawing.boxes)}
    assert all(order[arrow.source] < order[arrow.target] for arrow in drawing.arrows)
    read = {arrow.target for arrow in drawing.arrows}
    assert {box.key for box in drawing.boxes if box.kind in ("output", "update")} <= read


def test_fusion_remarks_are_notes(program: Program) -> None:
    data = json.loads(Parts(program.dump("fused", "html")).scripts[0])
    assert any("joined" in note for note in data["notes"])


def test_hostile_names_stay_text() -> None:
    """No name of a model becomes markup or script."""
    bad = "</script><script>alert(1)</script><!--&\"'"
    graph = graphc.trace(lambda x: x + 1, graphc.Spec((2,)))
    value = graph.inputs[0]
    named = Value(value.type, bad)
    nodes = tuple(
        type(n)(n.op, tuple(named if v is value else v for v in n.operands), n.attrs, n.results)
        for n in graph.nodes
    )
    graph = Graph(bad, (named,), nodes, graph.outputs)
    drawing = draw_graph(graph)
    ElementTree.fromstring(svg_of(drawing))
    parts = Parts(page_of(drawing))
    assert parts.tags.count("script") == 2
    assert any(box["lines"][0] == bad for box in json.loads(parts.scripts[0])["boxes"])


def test_schedules_as_json_and_dot(program: Program) -> None:
    data = json.loads(program.dump("scheduled", "json"))
    names: list[str] = []

    def visit(steps: list[dict[str, Any]]) -> None:
        for step in steps:
            names.extend([step["launch"]] if "launch" in step else [])
            for inner in ("steps", "yes", "no"):
                visit(step.get(inner, []))

    visit(data["steps"])
    assert names == [launch.name for launch in program.launches]
    assert any("repeat" in step for step in data["steps"])
    dot = program.dump("scheduled", "dot")
    assert dot.startswith("digraph ") and dot.count(" -> ") >= len(names)


@pytest.mark.parametrize(
    "format, sign", [("text", "kernel @"), ("llvm", "define void"), ("cuda", "__global__")]
)
def test_kernels_as_text_and_code(program: Program, format: str, sign: str) -> None:
    assert program.dump("kernels", format).count(sign) >= len(
        {launch.kernel.name for launch in program.launches}
    )


def test_kernels_as_machine_instructions() -> None:
    program = graphc.compile(lambda x: x + 1, graphc.Spec((64,)), backend="interpreter")
    assert ".globl" in program.dump("kernels", "asm")


def test_ptx_or_what_it_needs() -> None:
    program = graphc.compile(lambda x: x + 1, graphc.Spec((64,)), backend="interpreter")
    if find_nvrtc() is not None:
        assert ".visible .entry" in program.dump("kernels", "ptx")
    else:
        with pytest.raises(ArgumentError, match="pip install 'nvidia-cuda-nvrtc"):
            program.dump("kernels", "ptx")


def test_a_launch_shows_its_code() -> None:
    for backend, sign in (("cpu", "define void"), ("cuda", "__global__"), ("interpreter", "store")):
        program = graphc.compile(lambda x: x + 1, graphc.Spec((64,)), backend=backend)
        launch = program.launches[0]
        assert sign in launch.kernel.code and launch.kernel.name in str(launch.kernel)
        assert launch.bytes > 0


@pytest.mark.parametrize(
    "stage, format, told",
    [
        ("fused", "llvm", "text, json, dot, svg, html"),
        ("kernels", "svg", "text, llvm, asm, cuda, ptx"),
        ("nothing", "text", "no stage 'nothing'"),
    ],
)
def test_what_there_is_not_is_told(program: Program, stage: str, format: str, told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        program.dump(stage, format)
