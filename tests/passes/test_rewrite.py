"""The rewriting driver: what it shares, keeps and returns."""

from __future__ import annotations

import time

import numpy as np
import pytest

from graphc import dtypes
from graphc.errors import VerifyError
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate
from graphc.passes.cse import Cse
from graphc.passes.dce import Dce
from graphc.passes.rewrite import rewrite, union

X = Value(TensorType((4,), dtypes.float32), "x")


def graph_of(b: Builder, *outputs: Value) -> Graph:
    return Graph("g", (X,), tuple(b.nodes), outputs)


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def deep_graph(pairs: int) -> Graph:
    b = Builder()
    value = X
    for number in range(pairs):
        b.source = (f"net.py:{number}",)
        value = b.op("tanh", b.add(b.exp(b.neg(value)), X))
    return graph_of(b, value)


def test_a_graph_that_no_rule_touches_is_returned_itself() -> None:
    graph = deep_graph(10)
    assert rewrite(graph, {"sin": [lambda rewriter, node: None]}) is graph


def test_untouched_values_are_kept() -> None:
    b = Builder()
    first = b.op("tanh", X)
    second = b.op("sin", first)
    third = b.op("cos", second)
    graph = graph_of(b, third)
    after = rewrite(graph, {"sin": [lambda r, node: (r.exp(node.operands[0]),)]})
    assert ops(after) == ["tanh", "exp", "cos"]
    assert after.nodes[0] is graph.nodes[0]
    assert after.outputs == (third,)


def test_new_nodes_carry_the_lines_of_what_they_replace() -> None:
    b = Builder(("net.py:1",))
    first = b.op("tanh", X)
    b.source = ("net.py:2",)
    graph = graph_of(b, b.op("sin", first))
    after = rewrite(graph, {"sin": [lambda r, node: (r.exp(node.operands[0]),)]})
    assert [node.source for node in after.nodes] == [("net.py:1",), ("net.py:2",)]


def test_merged_nodes_union_their_lines_and_literals_do_not() -> None:
    b = Builder(("net.py:1",))
    first = b.scale(b.exp(X), 2.0)
    b.source = ("net.py:2",)
    second = b.scale(b.exp(X), 2.0)
    after = Cse().run(graph_of(b, first, second))
    found = {node.op: node.source for node in after.nodes}
    assert found["exp"] == found["mul"] == ("net.py:1", "net.py:2")
    assert found["broadcast"] == ("net.py:1",)
    assert after.outputs[0] is after.outputs[1]


def test_commutative_operands_are_shared_either_way_round() -> None:
    b = Builder()
    y = b.exp(X)
    graph = graph_of(b, b.mul(X, y), b.mul(y, X), b.sub(X, y), b.sub(y, X))
    assert ops(Cse().run(graph)) == ["exp", "mul", "sub", "sub"]


def test_rules_run_on_what_rules_emit() -> None:
    b = Builder()
    graph = graph_of(b, b.op("sin", X))
    rules = {
        "sin": [lambda r, node: (r.op("cos", node.operands[0]),)],
        "cos": [lambda r, node: (r.exp(node.operands[0]),)],
    }
    assert ops(rewrite(graph, rules)) == ["exp"]


def test_regions_are_rewritten() -> None:
    inner, formal = Builder(), Value(X.type)
    sine = inner.op("sin", formal)
    region = Graph("r", (formal,), tuple(inner.nodes), (sine,))
    b = Builder()
    flag = b.array(np.array(True))
    (result,) = b.emit("cond", (flag, X), {}, (region, region))
    after = rewrite(graph_of(b, result), {"sin": [lambda r, node: (r.exp(node.operands[0]),)]})
    assert [ops(part) for part in after.nodes[-1].regions] == [["exp"], ["exp"]]


def test_a_rule_of_another_type_is_refused() -> None:
    b = Builder()
    graph = graph_of(b, b.exp(X))
    with pytest.raises(VerifyError, match=r"'exp'.*f32\[2,2\]; expected f32\[4\]"):
        rewrite(graph, {"exp": [lambda r, node: (r.reshape(X, (2, 2)),)]})


def test_dead_nodes_go_and_live_ones_stay() -> None:
    b = Builder()
    live = b.exp(X)
    b.op("sin", live)
    graph = graph_of(b, live)
    after = Dce().run(graph)
    assert ops(after) == ["exp"]
    assert Dce().run(after) is after


def test_an_update_keeps_its_nodes_alive() -> None:
    b = Builder()
    new = b.exp(X)
    graph = Graph("g", (), tuple(b.nodes), (), state=(X,), updates=(("x", new),))
    assert Dce().run(graph) is graph


def test_dead_results_of_a_scan_leave_its_body() -> None:
    """Neither the stack nor the counter that only it needs survive."""
    row = TensorType((), dtypes.float32)
    total, count, step = (Value(row, name) for name in ("total", "count", "step"))
    inner = Builder()
    outputs = (inner.add(total, step), inner.shift(count, 1.0), inner.exp(count))
    body = Graph("body", (total, count, step), tuple(inner.nodes), outputs)
    b = Builder()
    zero = b.array(np.float32(0))
    attrs = {"length": 4, "reverse": False, "consts": 0, "carries": 2}
    results = b.emit("scan", (zero, zero, X), attrs, (body,))
    after = Dce().run(graph_of(b, results[0]))
    (scan,) = (node for node in after.nodes if node.op == "scan")
    assert (len(scan.operands), len(scan.results), scan.attrs["carries"]) == (2, 1, 1)
    assert ops(scan.regions[0]) == ["add"]
    x = np.arange(4, dtype=np.float32)
    assert evaluate(after, (x,))[0][0] == 6


def test_union_keeps_the_order() -> None:
    assert union(("b:1",), ("a:1", "b:1"), ()) == ("b:1", "a:1")


def test_a_sweep_of_3000_nodes_is_quick() -> None:
    """Generous bounds of processor time: about 2 ms and 10 ms on one core of 2024."""
    graph = deep_graph(750)
    assert len(graph.nodes) == 3000

    def seconds(rules: dict) -> float:  # type: ignore[type-arg]
        start = time.thread_time()
        rewrite(graph, rules)
        return time.thread_time() - start

    assert min(seconds({}) for _ in range(3)) < 0.02
    rebuilt = {"neg": [lambda r, node: (r.op("sin", node.operands[0]),)]}
    assert min(seconds(rebuilt) for _ in range(3)) < 0.15
