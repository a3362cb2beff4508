"""`graphc.parse` reads what any stage prints."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
from graphc.dtypes import float32
from graphc.errors import ParseError
from graphc.ir import Graph, TensorType, Value
from graphc.loops import Kernel, Schedule
from graphc.ops import Builder


def sample_graph() -> Graph:
    x = Value(TensorType((40,), float32), "x")
    b = Builder(source=("net.py:3",))
    y = b.add(x, b.array(np.arange(40, dtype=np.float32)))
    return Graph("net", (x,), tuple(b.nodes), (y,))


def test_a_graph_with_a_large_constant_reads_back_whole() -> None:
    graph = sample_graph()
    assert graphc.parse(str(graph)) == graph
    again = graphc.parse("// a dump\n" + str(graph), graph.constants)
    assert isinstance(again, Graph)
    (elements,) = again.constants.values()
    assert np.array_equal(elements, np.arange(40))


def test_kernels_and_schedules_read_back() -> None:
    kernel = graphc.parse("kernel @k(out y: f32[4]) { serial i in 0..4 { store y[i] = f32(1.0) } }")
    assert isinstance(kernel, Kernel) and graphc.parse(str(kernel)) == kernel
    schedule = graphc.parse(
        f"schedule @s {{ state w: f32[4] define k = {kernel} launch l = k(w) }}"
    )
    assert isinstance(schedule, Schedule) and graphc.parse(str(schedule)) == schedule


@pytest.mark.parametrize("text", ["", "program @f", "{", '"graph" @f() { return }', "\x00"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="line 1, column 1: expected"):
        graphc.parse(text)
