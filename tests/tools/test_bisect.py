"""Bisect names the step that is at fault: bugs are planted into each in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.backends.llvm import code
from graphc.backends.llvm.statements import KernelText
from graphc.ir import Graph, Node
from graphc.loops import Kernel
from graphc.ops.define import get, table
from graphc.passes.base import Pass
from graphc.passes.pipelines import DIFFERENTIATE, FUSE, OPTIMIZE
from graphc.tools import bisect
from graphc.tools.bisect import find_difference
from graphc.tools.shrink import shrink


def training_graph() -> tuple[Graph, dict[str, Any]]:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    step = graphc.TrainStep(
        model,
        lambda model, x, y: F.cross_entropy(model(x), y),
        optim.Adam(1e-2),
        graphc.Spec((5, 6)),
        graphc.Spec((5,), "int32"),
    )
    return step.graph, {name: slot.array for name, slot in step.state.items()}


@dataclass(frozen=True)
class WrongSign(Pass):
    """A pass with a bug: it turns every subtraction around."""

    name: ClassVar[str] = "wrong_sign"

    def run(self, graph: Graph) -> Graph:
        nodes = [replace(n, operands=n.operands[::-1]) if n.op == "sub" else n for n in graph.nodes]
        return replace(graph, nodes=tuple(nodes))


def test_a_sound_program_has_no_difference() -> None:
    graph, state = training_graph()
    told: list[str] = []
    assert find_difference(graph, state, threads=2, report=told.append) is None
    words = [line.split()[0] for line in told]
    assert words == ["passes", "lowering", "kernels", "plan", "threads"]


def test_a_wrong_pass_is_named() -> None:
    graph, state = training_graph()
    found = find_difference(graph, state, passes=(*DIFFERENTIATE, *OPTIMIZE, WrongSign(), *FUSE))
    assert found is not None
    assert (found.step, found.name) == ("passes", "wrong_sign")


def test_a_wrong_lowering_is_named_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    record = get("tanh")
    operators: Any = table()
    monkeypatch.setitem(operators, "tanh", replace(record, lower=get("sigmoid").lower))
    found = find_difference(graphc.trace(lambda x: F.tanh(x) * 2, graphc.Spec((9,))))
    assert found is not None
    assert found.step == "lowering"
    assert "tanh" in found.name
    assert found.source[0].startswith("test_bisect.py:")


def test_a_wrong_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    emit: Callable[..., KernelText] = code.emit

    def wrong(kernel: Kernel, symbol: str, target: Any) -> KernelText:
        text = emit(kernel, symbol, target)
        subtracting = text.definition.replace("fadd", "fsub")
        return text._replace(definition=subtracting) if "sum" in kernel.name else text

    monkeypatch.setattr(code, "emit", wrong)
    graph = graphc.trace(lambda x, y: (F.exp(x).sum(axis=0), y * 2), *[graphc.Spec((7, 3))] * 2)
    found = find_difference(graph)
    assert found is not None
    assert found.step == "kernels"
    assert "sum" in found.name


def test_a_wrong_plan_is_told_from_wrong_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_graph = bisect.compile_graph

    def clobbered(graph: Graph, *args: Any, **options: Any) -> Any:
        program = compile_graph(graph, *args, **options)
        run = program.run
        monkeypatch.setattr(program, "run", lambda inputs: [array + 1 for array in run(inputs)])
        return program

    monkeypatch.setattr(bisect, "compile_graph", clobbered)
    found = find_difference(graphc.trace(lambda x: x * 2, graphc.Spec((4,))))
    assert found is not None
    assert found.step == "plan"


def test_a_loop_is_replayed_to_its_end() -> None:
    def loop(xs: Any) -> Any:
        return F.scan(lambda carry, x: (F.tanh(carry + x), carry * x), F.zeros((3,)), xs)

    assert find_difference(graphc.trace(loop, graphc.Spec((6, 3)))) is None


def test_shrink_leaves_the_node_at_fault() -> None:
    graph, _ = training_graph()

    def fails(graph: Graph) -> bool:
        return any(node.op == "log_softmax" for node in graph.nodes) or any(
            _holds(node, "cross_entropy") for node in graph.nodes
        )

    small = shrink(graph, fails)
    assert len(small.nodes) == 1
    assert graphc.parse(str(small), small.constants) == small


def _holds(node: Node, op: str) -> bool:
    return node.op == op or any(_holds(n, op) for region in node.regions for n in region.nodes)


def test_shrink_finds_a_single_operator_among_many() -> None:
    def chain(x: Any, y: Any) -> Any:
        for number in range(6):
            x = F.exp(x * 0.1) + y if number != 3 else F.sin(x) * y
        return x, y * 3

    graph = graphc.trace(chain, graphc.Spec((4,)), graphc.Spec((4,)))
    small = shrink(graph, lambda graph: any(node.op == "sin" for node in graph.nodes))
    assert [node.op for node in small.nodes] == ["sin"]
    np.testing.assert_allclose(graphc.compile(small)(np.ones(4, np.float32)), np.sin(1), rtol=1e-6)


def test_shrink_needs_a_failure() -> None:
    with pytest.raises(graphc.errors.ArgumentError, match="does not fail"):
        shrink(graphc.trace(lambda x: x + 1, graphc.Spec((2,))), lambda graph: False)
