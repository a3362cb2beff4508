"""Reverse mode as a pass: gradients against finite differences, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from random_graphs import random_graph, with_gradients

from graphc import dtypes
from graphc.errors import ArgumentError
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder, define
from graphc.ops.evaluate import evaluate
from graphc.passes.autodiff import Autodiff
from graphc.passes.base import run_pipeline
from graphc.passes.pipeline_text import parse_pipeline

F64 = dtypes.float64


def value(*shape: int, name: str = "x") -> Value:
    return Value(TensorType(shape, F64), name)


def function(inputs: Sequence[Value], write: Callable[..., Value]) -> Graph:
    b = Builder(("net.py:1",))
    output = write(b, *inputs)
    return Graph("f", tuple(inputs), tuple(b.nodes), (output,))


def gradient(f: Graph, argnums: Sequence[int] = (0,), with_value: bool = False) -> Graph:
    """The function whose results are f's gradients."""
    b = Builder(("net.py:9",))
    formal = tuple(Value(x.type, x.name) for x in f.inputs)
    attrs = {"argnums": tuple(argnums), "value": with_value, "aux": False}
    results = b.emit("grad", formal, attrs, (f,))
    return Graph(f"grad.{f.name}", formal, tuple(b.nodes), results)


def call(graph: Graph, *arrays: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return evaluate(Autodiff().run(graph), arrays)[0][0]


def test_the_gradient_of_a_product() -> None:
    f = function([value(3), value(3)], lambda b, x, y: b.sum(b.mul(x, y), (0,)))
    x, y = np.arange(3.0), np.array([2.0, 3.0, 5.0])
    assert call(gradient(f, (0,)), x, y).tolist() == [2, 3, 5]
    assert call(gradient(f, (1,)), x, y).tolist() == [0, 1, 2]


def test_one_value_given_for_two_arguments() -> None:
    """f(x, x) by its first argument alone."""
    f = function([value(), value()], lambda b, x, y: b.mul(b.mul(x, y), y))
    b, x = Builder(), value()
    (slope,) = b.emit("grad", (x, x), {"argnums": (0,), "value": False, "aux": False}, (f,))
    graph = Graph("g", (x,), tuple(b.nodes), (slope,))
    assert call(graph, np.array(3.0)) == 9


def test_the_gradient_of_a_gradient() -> None:
    """x^4: 4 x^3, 12 x^2, 24 x."""
    f = function([value()], lambda b, x: b.mul(b.mul(x, x), b.mul(x, x)))
    first = gradient(f)
    second = gradient(first)
    third = gradient(second)
    found = [float(call(g, np.array(2.0))) for g in (first, second, third)]
    assert found == [32, 48, 48]


def test_an_input_that_does_not_matter_has_gradient_zero() -> None:
    f = function([value(2), value(3)], lambda b, x, y: b.sum(x, (0,)))
    assert call(gradient(f, (1,)), np.ones(2), np.ones(3)).tolist() == [0, 0, 0]


def test_backward_nodes_carry_the_forward_lines() -> None:
    f = function([value(3)], lambda b, x: b.sum(b.exp(x), (0,)))
    graph = run_pipeline(gradient(f), parse_pipeline("autodiff,cse,dce"), ())
    lines = {node.op: node.source for node in graph.nodes if node.op not in ("constant",)}
    assert lines["exp"] == lines["mul"] == ("net.py:1",)


def test_a_frozen_factor_costs_no_product() -> None:
    """Of two weights only the first is differentiated: forward 2 products, backward 2."""

    def write(b: Builder, w: Value, v: Value, x: Value) -> Value:
        return b.sum(b.matmul(b.op("tanh", b.matmul(x, w)), v), (0, 1))

    f = function([value(4, 5), value(5, 2), value(3, 4)], write)

    def products(argnums: tuple[int, ...]) -> int:
        graph = run_pipeline(gradient(f, argnums, True), parse_pipeline("autodiff,dce"), ())
        return sum(node.op == "matmul" for node in graph.nodes)

    assert products((0,)) == 4
    assert products((1,)) == 3
    assert products((0, 1)) == 5


def test_whole_numbers_and_stopped_gradients_are_left_alone() -> None:
    def write(b: Builder, x: Value) -> Value:
        counted = b.cast(b.cast(x, dtypes.int64), F64)
        return b.sum(b.mul(x, b.add(counted, b.op("stop_gradient", x))), (0,))

    found = call(gradient(function([value(3)], write)), np.array([1.5, 2.0, 3.25]))
    assert found.tolist() == [2.5, 4, 6.25]


def test_an_operator_without_a_derivative_is_named_with_its_line() -> None:
    f = function([value(3)], lambda b, x: b.sum(b.op("prod", x, axes=()), (0,)))
    record = replace(define.get("prod"), vjp=None, decompose=None)
    with (
        mock.patch.dict(define._TABLE, {"prod": record}),
        pytest.raises(ArgumentError, match=r"'prod' has no derivative \(net.py:1\)"),
    ):
        Autodiff().run(gradient(f))


def finite_difference(graph: Graph, arrays: list, position: int, at: int) -> float:  # type: ignore[type-arg]
    """The slope of the graph's first output along one element of one input."""

    def at_step(step: float) -> float:
        moved = [array.copy() for array in arrays]
        moved[position].reshape(-1)[at] += step
        return float(evaluate(graph, moved)[0][0])

    return (at_step(1e-6) - at_step(-1e-6)) / 2e-6


@pytest.mark.parametrize("seed", range(40))
def test_random_gradients_against_finite_differences(seed: int) -> None:
    graph, arrays = random_graph(seed, nodes=16, dtype=F64)
    expanded = run_pipeline(
        with_gradients(graph), parse_pipeline("decompose{lacking=vjp},autodiff,cse"), ()
    )
    outputs, _ = evaluate(expanded, arrays)
    gradients = outputs[1 + len(graph.outputs) :]
    floats = [i for i, x in enumerate(graph.inputs) if x.dtype.is_float]
    random = np.random.default_rng(seed)
    for found, position in zip(gradients, floats, strict=True):
        if found.size:
            at = int(random.integers(found.size))
            expected = finite_difference(expanded, list(arrays), position, at)
            assert found.reshape(-1)[at] == pytest.approx(expected, rel=1e-3, abs=1e-4)
