"""Reductions in two steps: which are split, into what, and their values."""

from __future__ import annotations

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import dtypes, nn
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate
from graphc.ops.verify import verify
from graphc.passes.base import run_pipeline
from graphc.passes.pipeline_text import parse_pipeline
from graphc.passes.split_reductions import SplitReductions


def fold(op: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> Graph:
    b = Builder(("net.py:1",))
    x = Value(TensorType(shape, dtypes.float64), "x")
    result = b.op(op, b.mul(x, x), axes=axes)
    return Graph("f", (x,), tuple(b.nodes), (result,))


def shapes(graph: Graph) -> list[str]:
    return [f"{node.op} {list(node.results[0].shape)}" for node in graph.nodes if node.op != "mul"]


SPLIT = {
    "everything": (((4096, 8), (0, 1)), ["reshape [64, 64, 8]", "sum [64]", "sum []"]),
    "the batch is the chunks": (((64, 16, 8, 8), (0, 2, 3)), ["sum [64, 16]", "sum [16]"]),
    "one dimension": (((8192,), (0,)), ["reshape [64, 128]", "sum [64]", "sum []"]),
    "a second dimension": (((3, 8192), (0, 1)), ["reshape [3, 64, 128]", "sum [64]", "sum []"]),
    "wide columns": (((1024, 300), (0,)), ["reshape [64, 16, 300]", "sum [64, 300]", "sum [300]"]),
    "rows of two dimensions": (((8, 130, 300), (0, 1)), ["sum [8, 300]", "sum [300]"]),
    "columns": (((6000, 5), (0,)), ["reshape [60, 100, 5]", "sum [60, 5]", "sum [5]"]),
}


@pytest.mark.parametrize(("case", "expected"), SPLIT.values(), ids=SPLIT.keys())
def test_split(case: tuple[tuple[int, ...], tuple[int, ...]], expected: list[str]) -> None:
    graph = fold("sum", *case)
    after = SplitReductions().run(graph)
    verify(after)
    assert shapes(after) == expected
    x = np.random.default_rng(0).normal(size=case[0])
    np.testing.assert_allclose(evaluate(after, (x,))[0][0], evaluate(graph, (x,))[0][0])
    assert SplitReductions().run(after) is after


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((512, 16), (0,)),  # not many elements
        ((512, 300), (0,)),  # many results, that the second cache holds
        ((16, 65536), (1,)),  # rows
        ((5003,), (0,)),  # a prime
        ((0, 8192), (0, 1)),  # nothing
    ],
)
def test_left_whole(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    graph = fold("sum", shape, axes)
    assert SplitReductions().run(graph) is graph


MILLIONS = ["reshape [4096, 2048]", "sum [4096]", "reshape [64, 64]", "sum [64]", "sum []"]
RUNS = {
    "millions": (((1 << 23,), (0,)), MILLIONS),
    "a dimension with no divisor": (
        ((100_003,), (0,)),
        [
            "slice [98304]",
            "slice [1699]",
            "reshape [48, 2048]",
            "sum [48]",
            *["sum []"] * 2,
            "add []",
        ],
    ),
    "rows longer than any normalisation's": (
        ((9, 1 << 20), (1,)),
        ["reshape [9, 512, 2048]", "sum [9, 512]", "sum [9]"],
    ),
    "columns": (
        ((1 << 17, 3), (0,)),
        ["reshape [2048, 64, 3]", "sum [2048, 3]", "reshape [32, 64, 3]", "sum [32, 3]", "sum [3]"],
    ),
}


@pytest.mark.parametrize(("case", "expected"), RUNS.values(), ids=RUNS.keys())
def test_long_sums_are_folded_in_runs(
    case: tuple[tuple[int, ...], tuple[int, ...]], expected: list[str]
) -> None:
    graph = fold("sum", *case)
    after = SplitReductions().run(graph)
    verify(after)
    assert shapes(after) == expected
    x = np.random.default_rng(0).normal(size=case[0])
    np.testing.assert_allclose(evaluate(after, (x,))[0][0], evaluate(graph, (x,))[0][0])
    assert SplitReductions().run(after) is after


@pytest.mark.parametrize("count", [10_000_000, 3_000_017, 1 << 22])
def test_sums_of_millions_are_exact_to_a_few_roundings(count: int) -> None:
    """0.1 is rounded up, so that all rounding errors of a sum in order go the same way."""
    program = graphc.compile(lambda x: F.sum(x), graphc.Spec((count,)))
    x = np.full(count, 0.1, np.float32)
    exact = count * float(np.float32(0.1))
    assert abs(float(program(x)) - exact) <= 1e-6 * exact


def test_a_long_product_is_split() -> None:
    a, b = (Value(TensorType(shape, dtypes.float64)) for shape in ((3, 8192), (8192, 5)))
    builder = Builder()
    result = builder.matmul(a, b)
    graph = Graph("f", (a, b), tuple(builder.nodes), (result,))
    after = SplitReductions().run(graph)
    verify(after)
    assert shapes(after)[-2:] == ["matmul [8, 3, 5]", "sum [3, 5]"]
    random = np.random.default_rng(0)
    arrays = random.normal(size=a.shape), random.normal(size=b.shape)
    np.testing.assert_allclose(evaluate(after, arrays)[0][0], evaluate(graph, arrays)[0][0])


def test_what_is_folded_is_still_computed_on_the_way() -> None:
    """A reshape that splits a dimension is no obstacle to fusion."""
    graph = fold("sum", (4096, 8), (0, 1))
    after = run_pipeline(graph, parse_pipeline("split_reductions,fuse"), ())
    inside = [[n.op for n in node.regions[0].nodes] for node in after.nodes if node.regions]
    assert inside == [["mul", "reshape", "sum"]]


@pytest.mark.parametrize(("rows", "turned"), [(1, True), (2, False)])
def test_a_row_by_an_argument_transposed_is_the_argument_by_a_column(
    rows: int, turned: bool
) -> None:
    specs = graphc.Spec((rows, 5), "float64"), graphc.Spec((7, 5), "float64")
    after = SplitReductions().run(graphc.trace(F.linear, *specs))
    verify(after)
    assert ("transpose" not in {node.op for node in after.nodes}) == turned
    random = np.random.default_rng(0)
    x, w = random.normal(size=(rows, 5)), random.normal(size=(7, 5))
    np.testing.assert_allclose(evaluate(after, (x, w))[0][0], x @ w.T, rtol=1e-12)


def test_a_row_by_a_weight_reads_it_as_it_lies() -> None:
    graph = graphc.trace(nn.Linear(5, 7), graphc.Spec((1, 5)))
    assert SplitReductions().run(graph) is graph
