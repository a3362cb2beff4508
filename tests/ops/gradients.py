"""Gradients of one operator against central finite differences, in float64, to second order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphc import dtypes
from graphc.ir import Attribute, Graph
from graphc.ops.define import Sample
from graphc.ops.evaluate import evaluate
from graphc.passes.reverse import reverse

Array = np.ndarray[Any, Any]
Function = Callable[[Sequence[Array]], Sequence[Array]]

STEP = 1e-6
ABSOLUTE, RELATIVE = 1e-5, 1e-3
DIRECTIONS = 2  # random directions in which second derivatives are compared


def in_double(sample: Sample) -> Sample:
    """The sample with float64 for float32; regions keep their types, and so their arrays."""
    if sample.regions:
        return sample
    arrays = tuple(x.astype(np.float64) if x.dtype == np.float32 else x for x in sample.arrays)
    return replace(sample, arrays=arrays, attrs={k: _double(v) for k, v in sample.attrs.items()})


def _double(attribute: Attribute) -> Attribute:
    return dtypes.float64 if attribute == dtypes.float32 else attribute


def gradient_graph(graph: Graph) -> Graph:
    """Takes (inputs..., cotangents of the float outputs...), gives cotangents of float inputs."""
    wanted = floats(graph.inputs)
    both = reverse(graph, wanted, floats(graph.outputs))
    return replace(both, outputs=both.outputs[len(graph.outputs) :])


def floats(values: Sequence[Any]) -> list[int]:
    """Positions of values (of a graph, or arrays) that have derivatives."""
    return [i for i, v in enumerate(values) if np.dtype(_numpy(v.dtype)).kind == "f"]


def _numpy(dtype: Any) -> Any:
    return dtype.numpy if isinstance(dtype, dtypes.DType) else dtype


def run(graph: Graph, arrays: Sequence[Array]) -> tuple[Array, ...]:
    return evaluate(graph, arrays)[0]


def cotangents(graph: Graph, arrays: Sequence[Array], seed: int) -> list[Array]:
    """Random weights of the float outputs."""
    generator = np.random.default_rng(seed)
    outputs = run(graph, arrays)
    return [np.asarray(generator.normal(size=outputs[i].shape)) for i in floats(outputs)]


def weighted(graph: Graph, arrays: Sequence[Array], weights: Sequence[Array]) -> float:
    """The sum of all float outputs times their weights."""
    outputs = run(graph, arrays)
    chosen = [outputs[i] for i in floats(outputs)]
    return float(sum(np.sum(y * w) for y, w in zip(chosen, weights, strict=True)))


def check_first_order(graph: Graph, arrays: Sequence[Array]) -> None:
    """Every element of every gradient."""
    weights = cotangents(graph, arrays, seed=1)
    gradients = run(gradient_graph(graph), [*arrays, *weights])
    for position, gradient in zip(floats(arrays), gradients, strict=True):
        expected = np.zeros(arrays[position].shape)
        for place in np.ndindex(expected.shape):
            direction = np.zeros(expected.shape)
            direction[place] = 1
            expected[place] = slope(graph, arrays, {position: direction}, weights)
        expect_close(gradient, expected, f"gradient of operand {position}")


def check_second_order(graph: Graph, arrays: Sequence[Array]) -> None:
    """The gradient of the weighted gradients, by operands and cotangents, in random directions."""
    first = gradient_graph(graph)
    everything = [*arrays, *cotangents(graph, arrays, seed=1)]
    if not floats(first.outputs):
        return
    weights = cotangents(first, everything, seed=2)
    gradients = run(gradient_graph(first), [*everything, *weights])
    generator = np.random.default_rng(3)
    for _ in range(DIRECTIONS):
        directions = {i: generator.normal(size=everything[i].shape) for i in floats(everything)}
        pairs = zip(gradients, directions.values(), strict=True)
        along = sum(float(np.sum(g * d)) for g, d in pairs)
        expected = slope(first, everything, directions, weights)
        expect_close(np.asarray(along), np.asarray(expected), "second order")


def expect_close(got: Array, want: Array, what: str) -> None:
    np.testing.assert_allclose(got, want, RELATIVE, ABSOLUTE, err_msg=what)


def slope(
    graph: Graph,
    arrays: Sequence[Array],
    directions: dict[int, Array],
    weights: Sequence[Array],
) -> float:
    """The central difference of the weighted outputs in a direction."""
    sides = []
    for step in (STEP, -STEP):
        moved = [x + step * directions[i] if i in directions else x for i, x in enumerate(arrays)]
        sides.append(weighted(graph, moved, weights))
    return (sides[0] - sides[1]) / (2 * STEP)
