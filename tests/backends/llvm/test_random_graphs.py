"""300 random graphs with gradients: optimised, unoptimised and on two threads, against NumPy.

The oracle runs the graph that nothing but autodiff has changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.compiler import compile_graph
from graphc.dtypes import float32, float64
from graphc.ir import Graph, Node
from graphc.ops.evaluate import evaluate
from graphc.passes.base import run_pipeline
from graphc.passes.pipeline_text import parse_pipeline
from graphc.passes.pipelines import DEFAULT, UNFUSED
from tests.random_graphs import random_graph, with_gradients

SEEDS = range(300)
PLAIN = parse_pipeline("decompose{lacking=vjp},autodiff")

Arrays = tuple[np.ndarray[Any, Any], ...]


def graph_of(seed: int) -> tuple[Graph, Arrays]:
    """A graph of 5 to 8 applications, every fourth one in float64."""
    return random_graph(seed, nodes=5 + seed % 4, dtype=float64 if seed % 4 == 1 else float32)


@pytest.mark.parametrize("seed", SEEDS)
def test_programs_agree_with_numpy_and_with_each_other(seed: int) -> None:
    graph, arrays = graph_of(seed)
    graph = with_gradients(graph)
    wanted, _ = evaluate(run_pipeline(graph, PLAIN, ()), arrays)
    one = compile_graph(graph, threads=1, passes=DEFAULT).run(arrays)
    two = compile_graph(graph, threads=2, passes=DEFAULT).run(arrays)
    plain = compile_graph(graph, threads=1, passes=UNFUSED).run(arrays)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    single = any(value.dtype == float32 for value in graph.inputs)
    for found in (one, plain):
        for array, expected in zip(found, wanted, strict=True):
            expect_close(array, expected, single)


def expect_close(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], single: bool) -> None:
    """Equal but for the rounding of a float32 graph, where `single`, else of a float64 one.

    It is relative to the tensor's largest element.
    """
    assert found.dtype == expected.dtype
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    relative, absolute = (2e-4, 2e-5) if single else (1e-9, 1e-10)
    largest = max(1.0, float(np.max(np.abs(expected), initial=0)))
    np.testing.assert_allclose(found, expected, rtol=relative, atol=absolute * largest)


def test_the_graphs_hold_what_they_should() -> None:
    nodes = [node for seed in SEEDS for node in inner_nodes(graph_of(seed)[0])]
    ops = {node.op for node in nodes}
    assert {"scan", "cond", "sort", "cumsum", "argmax", "prod", "pad", "concat"} <= ops
    assert {"gather", "scatter_add", "gather_elements", "scatter_add_elements"} <= ops
    assert {"dynamic_slice", "dynamic_update", "one_hot", "floordiv", "mod"} <= ops
    assert {"matmul", "conv2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"} <= ops
    assert {"layer_norm", "rms_norm", "batch_norm", "group_norm", "cross_entropy"} <= ops
    types = {value.dtype.short for node in nodes for value in node.results}
    assert types == {"f32", "f64", "i32", "i64", "u8", "u32", "u64", "bool"}
    convolutions = [node.attrs for node in nodes if node.op == "conv2d"]
    assert any(attrs["groups"] > 1 for attrs in convolutions)
    for name, plain in (("stride", 1), ("dilation", 1), ("padding", 0)):
        assert any(max(attrs[name]) > plain for attrs in convolutions)


def inner_nodes(graph: Graph) -> list[Node]:
    """All nodes, those of regions too."""
    inside = [n for node in graph.nodes for region in node.regions for n in inner_nodes(region)]
    return [*graph.nodes, *inside]
