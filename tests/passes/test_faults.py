"""Run-time index checks: the fault number, the guarded updates, and checks in loops."""

from __future__ import annotations

import numpy as np
import pytest

from graphc import dtypes
from graphc.errors import IndexFault
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate
from graphc.ops.verify import verify
from graphc.passes.base import run_pipeline
from graphc.passes.faults import Faults, checks_of
from graphc.passes.pipeline_text import parse_pipeline

F32, I64 = dtypes.float32, dtypes.int64
TABLE = Value(TensorType((4, 2), F32), "table")
N = Value(TensorType((3,), I64), "n")
ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)


def checked(graph: Graph) -> Graph:
    after = Faults().run(graph)
    verify(after)
    return after


def fault_number(graph: Graph, *arrays: np.ndarray) -> int:  # type: ignore[type-arg]
    return int(evaluate(graph, arrays)[0][-1])


def lookup() -> Graph:
    """Rows of a table, twice the same indices, then one with another extent."""
    b = Builder(("net.py:1",))
    first = b.op("gather", TABLE, N, axis=0)
    b.source = ("net.py:2",)
    again = b.op("gather", b.exp(TABLE), N, axis=0)
    b.source = ("net.py:3",)
    other = b.op("gather", TABLE, N, axis=1)
    return Graph("lookup", (TABLE, N), tuple(b.nodes), (first, again, other))


def test_the_first_failed_check_is_named() -> None:
    graph = checked(lookup())
    assert [check.source for check in checks_of(graph)] == [("net.py:1",), ("net.py:3",)]
    assert checks_of(graph)[0].text == (
        "gather: an index lies outside 0 to 3, dimension 0 of f32[4,2]"
    )
    assert fault_number(graph, ROWS, np.array([0, 1, 1])) == 0
    assert fault_number(graph, ROWS, np.array([0, 1, 2])) == 2
    assert fault_number(graph, ROWS, np.array([0, 1, 4])) == 1
    assert fault_number(graph, ROWS, np.array([0, -1, 1])) == 1


def test_updates_are_skipped_after_a_fault() -> None:
    b = Builder(("net.py:1",))
    row = b.op("gather", TABLE, N, axis=0)
    new = b.shift(TABLE, 1.0)
    nodes = tuple(b.nodes)
    graph = checked(Graph("g", (N,), nodes, (row,), state=(TABLE,), updates=(("table", new),)))
    for index, expected in ((3, ROWS + 1), (9, ROWS)):
        _, state = evaluate(graph, (np.array([0, 0, index]),), {"table": ROWS})
        np.testing.assert_array_equal(state["table"], expected)


def test_a_graph_without_such_operators_is_left_alone() -> None:
    b = Builder()
    result = b.exp(TABLE)
    graph = Graph("g", (TABLE,), tuple(b.nodes), (result,))
    assert Faults().run(graph) is graph


def constant_lookup(last: int) -> Graph:
    b = Builder(("net.py:7",))
    row = b.op("gather", TABLE, b.array(np.array([0, 1, last])), axis=0)
    return Graph("g", (TABLE,), tuple(b.nodes), (row,))


def test_constant_indices_are_checked_at_compile_time() -> None:
    good = constant_lookup(3)
    assert Faults().run(good) is good
    with pytest.raises(IndexFault, match=r"gather: an index lies outside 0 to 3.*\(net.py:7\)"):
        Faults().run(constant_lookup(4))


def test_cross_entropy_checks_classes_but_for_the_ignored_one() -> None:
    logits = Value(TensorType((3, 5), F32), "logits")
    b = Builder(("net.py:1",))
    loss = b.op(
        "cross_entropy", logits, N, ignore_index=-100, label_smoothing=0.0, reduction="mean"
    )
    graph = checked(Graph("g", (logits, N), tuple(b.nodes), (loss,)))
    scores = np.zeros((3, 5), np.float32)
    assert fault_number(graph, scores, np.array([0, 4, -100])) == 0
    assert fault_number(graph, scores, np.array([0, 5, -100])) == 1
    assert fault_number(graph, scores, np.array([0, -1, 2])) == 1


def indexed_loop() -> Graph:
    """Adds rows of a table, each at an index of its own."""
    total, index = Value(TensorType((2,), F32), "total"), Value(TensorType((), I64), "i")
    table = Value(TABLE.type, "table")
    inner = Builder(("net.py:4",))
    row = inner.reshape(inner.op("gather", table, inner.reshape(index, (1,)), axis=0), (2,))
    result = inner.add(total, row)
    body = Graph("body", (table, total, index), tuple(inner.nodes), (result, row))
    b = Builder(("net.py:5",))
    start = b.zeros(total.type)
    attrs = {"length": 3, "reverse": False, "consts": 1, "carries": 1}
    results = b.emit("scan", (TABLE, start, N), attrs, (body,))
    return Graph("loop", (TABLE, N), tuple(b.nodes), results)


def test_checks_come_out_of_loops() -> None:
    graph = checked(indexed_loop())
    (check,) = checks_of(graph)
    assert check.source == ("net.py:4",)
    assert fault_number(graph, ROWS, np.array([0, 1, 3])) == 0
    assert fault_number(graph, ROWS, np.array([0, 7, 3])) == 1
    outputs, _ = evaluate(graph, (ROWS, np.array([0, 7, 3])))
    np.testing.assert_array_equal(outputs[0], ROWS[0] + ROWS[3])


def test_checks_come_out_of_the_branch_that_ran() -> None:
    flag = Value(TensorType((), dtypes.bool_), "flag")
    regions = []
    for axis in (0, 1):
        table, n = Value(TABLE.type), Value(N.type)
        inner = Builder((f"net.py:{axis}",))
        rows = inner.sum(inner.op("gather", table, n, axis=axis), (0, 1))
        regions.append(Graph(f"axis{axis}", (table, n), tuple(inner.nodes), (rows,)))
    b = Builder()
    results = b.emit("cond", (flag, TABLE, N), {}, regions)
    graph = checked(Graph("g", (flag, TABLE, N), tuple(b.nodes), results))
    index = np.array([0, 1, 3])
    assert fault_number(graph, np.array(True), ROWS, index) == 0
    assert fault_number(graph, np.array(False), ROWS, index) == 2


def test_the_gradient_of_a_lookup_is_not_checked_again() -> None:
    b = Builder(("net.py:1",))
    loss = b.sum(b.op("gather", TABLE, N, axis=0), (0, 1))
    function = Graph("loss", (TABLE, N), tuple(b.nodes), (loss,))
    outer = Builder()
    attrs = {"argnums": (0,), "value": True, "aux": False}
    table, n = Value(TABLE.type, "table"), Value(N.type, "n")
    results = outer.emit("grad", (table, n), attrs, (function,))
    graph = Graph("g", (table, n), tuple(outer.nodes), results)
    after = run_pipeline(graph, parse_pipeline("autodiff,dce,faults"), ())
    assert len(checks_of(after)) == 1
