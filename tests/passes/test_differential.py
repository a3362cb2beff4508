"""No pass changes what a graph computes: random graphs before and after, by the NumPy meanings."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from random_graphs import random_graph, with_gradients

from graphc.dtypes import float64
from graphc.ir import Graph, Node
from graphc.ops.evaluate import evaluate
from graphc.passes.base import Verifying, run_pipeline
from graphc.passes.faults import checks_of
from graphc.passes.pipeline_text import parse_pipeline
from graphc.passes.pipelines import DEFAULT, DIFFERENTIATE, FUSE, OPTIMIZE, UNFUSED

SEEDS = range(30)

# Passes that keep every bit, then those that may change the order of sums or the formula.
EXACT = ("dce", "cse", "fold", "fuse", "faults")
CLOSE = ("simplify", "recognise", "split_reductions", "decompose")


def outputs_of(graph: Graph, arrays: tuple[np.ndarray, ...]) -> list[np.ndarray]:  # type: ignore[type-arg]
    """The graph's outputs; a fault number that a pass added is checked and left out."""
    outputs = list(evaluate(graph, arrays)[0])
    if checks_of(graph):
        assert outputs.pop() == 0
    return outputs


@pytest.mark.parametrize("name", EXACT + CLOSE)
def test_one_pass_keeps_the_results(name: str) -> None:
    changed = 0
    for seed in SEEDS:
        graph, arrays = random_graph(seed, dtype=float64)
        graph = replace(graph, outputs=graph.outputs[::2])  # so that some nodes are dead
        after = run_pipeline(graph, parse_pipeline(name), (Verifying(),))
        changed += after is not graph
        for new, old in zip(outputs_of(after, arrays), outputs_of(graph, arrays), strict=True):
            if name in EXACT:
                np.testing.assert_array_equal(new, old)
            else:
                np.testing.assert_allclose(new, old, rtol=1e-9, atol=1e-11)
    assert changed


@pytest.mark.parametrize("seed", SEEDS)
def test_pipelines_agree_on_values_and_gradients(seed: int) -> None:
    graph, arrays = random_graph(seed, nodes=30, dtype=float64)
    graph = with_gradients(graph)
    plain = run_pipeline(graph, parse_pipeline("decompose{lacking=vjp},autodiff"), ())
    expected = outputs_of(plain, arrays)
    for pipeline in (DEFAULT, UNFUSED):
        after = run_pipeline(graph, pipeline, (Verifying(),))
        for new, old in zip(outputs_of(after, arrays), expected, strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("seed", SEEDS)
def test_groups_have_the_form_that_lowering_takes(seed: int) -> None:
    graph, arrays = random_graph(seed, nodes=30)
    optimized = run_pipeline(with_gradients(graph), DIFFERENTIATE + OPTIMIZE, ())
    fused = run_pipeline(optimized, FUSE, (Verifying(),))
    for new, old in zip(outputs_of(fused, arrays), outputs_of(optimized, arrays), strict=True):
        np.testing.assert_array_equal(new, old)
    for node in fused.nodes:
        if node.op == "group":
            assert_form(node)


def assert_form(group: Node) -> None:
    """One product at most; results of one shape, or of one shape and its rows."""
    (region,) = group.regions
    assert len(region.nodes) > 1
    assert region.outputs
    ops = [node.op for node in region.nodes]
    assert sum(op in ("matmul", "conv2d", "conv2d_input_grad") for op in ops) <= 1
    shapes = {value.shape for value in region.outputs}
    full = max(shapes, key=lambda shape: (len(shape), math.prod(shape)))
    for shape in shapes - {full}:
        kept = [extent for extent in shape if extent != 1]
        assert list(full[: len(kept)]) == kept or shape == full[: len(shape)]
