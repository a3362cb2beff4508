"""LSTM and GRU cells that a model writes in primitives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc.ir import Graph
from graphc.ops.evaluate import evaluate
from graphc.passes.base import run_pipeline
from graphc.passes.pipeline_text import parse_pipeline


def lstm(gates: Any, c: Any) -> Any:
    i, f, g, o = F.split(gates, 4, axis=1)
    new = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
    return F.sigmoid(o) * F.tanh(new), new


def lstm_turned_round(gates: Any, c: Any) -> Any:
    i, f, g, o = F.split(gates, 4, axis=1)
    new = F.tanh(g) * F.sigmoid(i) + c * F.sigmoid(f)
    return F.tanh(new) * F.sigmoid(o), new


def lstm_in_another_order(gates: Any, c: Any) -> Any:
    f, i, g, o = F.split(gates, 4, axis=1)
    new = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
    return F.sigmoid(o) * F.tanh(new), new


def gru(x: Any, s: Any, h: Any) -> Any:
    (xr, xz, xn), (sr, sz, sn) = F.split(x, 3, axis=1), F.split(s, 3, axis=1)
    r, z = F.sigmoid(xr + sr), F.sigmoid(sz + xz)
    n = F.tanh(xn + r * sn)
    return (1 - z) * n + z * h


def gru_with_the_gate_before(x: Any, s: Any, h: Any) -> Any:
    (xr, xz, xn), (sr, sz, sn) = F.split(x, 3, axis=1), F.split(s, 3, axis=1)
    r, z = F.sigmoid(xr + sr), F.sigmoid(xz + sz)
    n = F.tanh(r * xn + sn)
    return z * n + (1 - z) * h


def recognised(f: Any, *shapes: tuple[int, ...]) -> tuple[Graph, Graph]:
    graph = graphc.trace(f, *[graphc.Spec(shape, "float64") for shape in shapes])
    return graph, run_pipeline(graph, parse_pipeline("simplify,recognise"), ())


LSTM_SHAPES, GRU_SHAPES = ((3, 8), (3, 2)), ((3, 6), (3, 6), (3, 2))


@pytest.mark.parametrize(
    ("f", "shapes", "ops"),
    [
        (lstm, LSTM_SHAPES, ["lstm_cell"]),
        (lstm_turned_round, LSTM_SHAPES, ["lstm_cell"]),
        (gru, GRU_SHAPES, ["gru_cell"]),
        (lstm_in_another_order, LSTM_SHAPES, None),
        (gru_with_the_gate_before, GRU_SHAPES, None),
    ],
)
def test_cells(f: Any, shapes: tuple[tuple[int, ...], ...], ops: list[str] | None) -> None:
    graph, found = recognised(f, *shapes)
    names = [node.op for node in found.nodes]
    if ops is None:
        assert not {"lstm_cell", "gru_cell"} & set(names)
        return
    assert names == ops
    random = np.random.default_rng(0)
    arrays = [random.normal(size=shape) for shape in shapes]
    for old, new in zip(evaluate(graph, arrays)[0], evaluate(found, arrays)[0], strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-14)


def test_a_cell_in_a_loop_has_the_gradient_of_its_parts() -> None:
    def loss(w: Any, xs: Any, h: Any, c: Any) -> Any:
        def body(state: Any, x: Any) -> Any:
            new = lstm(x + state[0] @ w, state[1])
            return new, new[0]

        return F.sum(F.scan(body, (h, c), xs)[1] ** 2)

    shapes = (2, 8), (4, 3, 8), (3, 2), (3, 2)
    random = np.random.default_rng(0)
    arrays = [random.normal(size=shape) for shape in shapes]
    specs = [graphc.Spec(shape, "float64") for shape in shapes]
    gradient = graphc.grad(loss, argnums=(0, 1, 2, 3))
    fused = graphc.compile(gradient, *specs)
    plain = graphc.compile(gradient, *specs, fuse=False)
    assert "lstm_cell_grad" in str(fused.stage("fused"))
    assert "lstm_cell" not in str(plain.stage("fused"))
    for found, expected in zip(fused(*arrays), plain(*arrays), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
