"""Pipelines as text, and the runner's observers."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphc import dtypes
from graphc.errors import ArgumentError, ParseError, VerifyError
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder
from graphc.passes.base import Pass, default_observers, run_pipeline
from graphc.passes.catalogue import PASSES
from graphc.passes.cse import Cse
from graphc.passes.decompose import Decompose
from graphc.passes.fold import Fold
from graphc.passes.pipeline_text import format_pipeline, parse_pipeline
from graphc.passes.pipelines import DEFAULT, DIFFERENTIATE, FUSE, OPTIMIZE, SPARE, UNFUSED
from graphc.passes.stages import run_stages, split_stages

X = Value(TensorType((4,), dtypes.float32), "x")


def twice_exp() -> Graph:
    b = Builder(("net.py:1",))
    result = b.add(b.exp(X), b.exp(X))
    return Graph("g", (X,), tuple(b.nodes), (result,))


def test_options_that_differ_are_printed() -> None:
    passes = (Cse(), Fold(max_elements=8), Decompose(lacking="vjp"), Fold())
    text = format_pipeline(passes)
    assert text == "cse,fold{max_elements=8},decompose{lacking=vjp},fold"
    assert parse_pipeline(text) == passes


@pytest.mark.parametrize("pipeline", [DEFAULT, UNFUSED])
def test_the_standard_pipelines_read_back(pipeline: tuple[Pass, ...]) -> None:
    assert parse_pipeline(format_pipeline(pipeline)) == pipeline


def test_every_pass_has_its_own_name() -> None:
    assert all(name == kind.name for name, kind in PASSES.items())
    assert parse_pipeline("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cse,nosuch", "no pass 'nosuch'; there are "),
        ("cse,", "ends with ','"),
        ("cse;dce", "column 1: expected a pass"),
        ("cse{x=1}", "option 'x=1'; expected no options"),
        ("fold{max_elements=many}", "max_elements='many'; expected a value of type int"),
        ("simplify{differentiated=1}", "expected a value of type bool"),
    ],
)
def test_bad_text_says_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse_pipeline(text)


def test_a_bad_option_value_is_refused() -> None:
    with pytest.raises(ArgumentError, match="expected vjp or lowering"):
        parse_pipeline("decompose{lacking=luck}")


def test_dumps_hold_the_graphs_that_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    result = run_pipeline(twice_exp(), parse_pipeline("dce,cse"))
    (path,) = tmp_path.iterdir()
    assert path.name == "g.02-cse.graph"
    assert path.read_text() == str(result)


def test_a_broken_pass_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaks(Cse):
        def run(self, graph: Graph) -> Graph:
            return Graph("g", (), graph.nodes, graph.outputs)

    monkeypatch.setenv("GRAPHC_VERIFY", "1")
    with pytest.raises(VerifyError, match="after pass 'cse'"):
        run_pipeline(twice_exp(), (Breaks(),))


def test_settings_choose_the_observers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHC_VERIFY", raising=False)
    monkeypatch.delenv("GRAPHC_DUMP", raising=False)
    assert default_observers() == ()
    monkeypatch.setenv("GRAPHC_VERIFY", "maybe")
    with pytest.raises(ArgumentError, match="GRAPHC_VERIFY is 'maybe'"):
        default_observers()


def test_stages_of_the_standard_pipelines() -> None:
    assert tuple(split_stages(DEFAULT).values()) == (DIFFERENTIATE, OPTIMIZE, FUSE + SPARE)
    assert split_stages(UNFUSED)["fused"] == ()
    assert split_stages((Cse(),)) == {"differentiated": (), "optimized": (Cse(),), "fused": ()}


def test_each_stage_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    graph = twice_exp()
    stages = run_stages(graph, parse_pipeline("dce,autodiff,cse,fuse"))
    assert list(stages) == ["traced", "differentiated", "optimized", "fused"]
    assert stages["differentiated"] is graph
    assert [node.op for node in stages["optimized"].nodes] == ["exp", "add"]
    assert [node.op for node in stages["fused"].nodes] == ["group"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.03-cse.graph", "g.04-fuse.graph"]
