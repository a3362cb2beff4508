"""Loops that are split compute what they did; what the reverse of a loop keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.ir import Graph, Node
from graphc.ir.parse import parse_graph
from graphc.ops.evaluate import evaluate
from graphc.ops.verify import verify
from graphc.passes.base import run_pipeline
from graphc.passes.pipeline_text import parse_pipeline

GOLDEN = (Path(__file__).parent / "golden" / "split_scan.txt").read_text()
BEFORE = [
    case.split("// becomes")[0].split("\n", 2)[2]
    for case in GOLDEN.split("// case: ")
    if case.strip()
]


def loops(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op == "scan"]


def ops_in(node: Node) -> list[str]:
    return [inner.op for inner in node.regions[0].nodes]


def split(graph: Graph) -> Graph:
    result = run_pipeline(graph, parse_pipeline("split_scan"), ())
    verify(result)
    return result


def assert_same_results(graph: Graph) -> None:
    random = np.random.default_rng(0)
    arrays = [random.normal(size=v.shape).astype(v.dtype.numpy) for v in graph.inputs]
    before, after = evaluate(graph, arrays)[0], evaluate(split(graph), arrays)[0]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("text", BEFORE)
def test_the_golden_graphs_compute_what_they_did(text: str) -> None:
    assert_same_results(parse_graph(text))


def test_a_second_run_changes_nothing() -> None:
    for text in BEFORE:
        once = split(parse_graph(text))
        assert split(once) is once


def everything(h: Any, step: tuple[Any, Any], w: Any, v: Any) -> tuple[Any, Any]:
    """Outputs by every kind of node that can be batched, and some that cannot."""
    x, n = step
    new = F.tanh(x @ w + h)
    inner = F.reshape(F.stack([x, new], axis=0)[:, ::-1], (2, -1)) @ v
    wide = F.pad(F.concatenate([inner, inner], axis=1), (0, 1))
    rows = F.sum(wide, axis=0) + F.max(wide, axis=0) * F.cumsum(wide, axis=1)[0]
    picked = F.take(x @ w, F.argmax(new, axis=1), axis=1)
    batched = F.broadcast_to(new, (2, *new.shape)) @ F.transpose(x)
    return new, (rows * n, picked, batched, F.exp(w), F.flip(inner @ v.T, 1))


@pytest.mark.parametrize("backward", [False, True])
def test_what_moves_out_of_a_loop_computes_the_same(backward: bool) -> None:
    specs = [graphc.Spec(s) for s in ((3, 4), (5, 3, 4), (4, 4), (12, 2))]
    numbers = graphc.Spec((5,))

    def f(h: Any, xs: Any, w: Any, v: Any, ns: Any) -> Any:
        body = lambda carry, step: everything(carry, step, w, v)  # noqa: E731  # closes over w, v
        return F.scan(body, h, (xs, ns), reverse=backward)

    graph = graphc.trace(f, *specs, numbers)
    assert_same_results(graph)
    (loop,) = loops(split(graph))
    assert "exp" not in ops_in(loop) and "argmax" in ops_in(loop)


def test_gradients_of_tables_and_filters_leave_the_loop() -> None:
    """An embedding and a convolution in a loop: one scatter and one product for all iterations."""

    def body(h: Any, step: tuple[Any, Any], table: Any, filters: Any) -> tuple[Any, Any]:
        image, word = step
        mixed = F.conv2d(image + h, filters, padding=1)
        new = F.tanh(mixed + F.reshape(F.embedding(word, table), (2, 3, 1, 1)))
        return new, F.mean(new)

    def loss(table: Any, filters: Any, images: Any, words: Any) -> Any:
        start = F.zeros((2, 3, 4, 4), table.dtype)
        ys = F.scan(lambda h, step: body(h, step, table, filters), start, (images, words))[1]
        return F.sum(ys)

    shapes = (7, 3), (3, 3, 3, 3), (5, 2, 3, 4, 4)
    random = np.random.default_rng(0)
    arrays = [random.normal(size=shape) for shape in shapes] + [random.integers(0, 7, (5, 2))]
    specs = [graphc.Spec(array.shape, str(array.dtype)) for array in arrays]
    gradient = graphc.grad(loss, argnums=(0, 1, 2))
    program = graphc.compile(gradient, *specs)
    backward = loops(program.stage("optimized"))[-1]
    assert not {"scatter_add", "conv2d_weight_grad"} & set(ops_in(backward))
    whole = graphc.compile(gradient, *specs, passes="autodiff,decompose")
    for found, expected in zip(program(*arrays), whole(*arrays), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_products_of_the_inputs_that_are_images_move_before_the_loop() -> None:
    def loss(filters: Any, images: Any, start: Any) -> Any:
        def body(h: Any, x: Any) -> tuple[Any, Any]:
            return F.tanh(F.conv2d(x, filters, padding=1) + h), None

        return F.scan(body, start, images)[0]

    shapes = (3, 3, 3, 3), (5, 2, 3, 4, 4), (2, 3, 4, 4)
    graph = graphc.trace(loss, *[graphc.Spec(shape) for shape in shapes])
    assert_same_results(graph)
    assert "conv2d" not in ops_in(loops(split(graph))[0])


def test_products_that_would_take_too_much_memory_stay() -> None:
    text = BEFORE[0]
    result = run_pipeline(parse_graph(text), parse_pipeline("split_scan{most_bytes=100}"), ())
    assert ops_in(loops(result)[0]).count("matmul") == 1
    assert "matmul stays in the loop: its results take too much" in [r.text for r in result.remarks]


def test_second_derivatives_of_a_cell() -> None:
    """The slope of the squared length of a gradient, beside finite differences."""
    for kind in ("LSTM", "GRU"):
        model = getattr(nn, kind)(2, 3, dtype="float64")
        spec = graphc.Spec((3, 2, 2), "float64")

        class Length(nn.Module):
            def __init__(self, layer: Any) -> None:
                super().__init__()
                self.layer = layer

            def forward(self, x: Any) -> Any:
                slope = graphc.grad(lambda x: F.sum(self.layer(x)[0] ** 2))(x)
                return F.sum(slope**2)

        length = Length(model)
        value, slope = graphc.compile(length, spec), graphc.compile(graphc.grad(length), spec)
        x = np.random.default_rng(1).normal(size=(3, 2, 2))
        direction = np.random.default_rng(2).normal(size=x.shape)
        ends = [value(x + eps * direction) for eps in (1e-5, -1e-5)]
        expected = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(np.sum(slope(x) * direction), expected, rtol=1e-6)


class Net(nn.Module):
    def __init__(self, kind: str, dtype: str = "float32") -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(3, 4, dtype=dtype)
        self.head = nn.Linear(4, 2, dtype=dtype)

    def forward(self, x: Any) -> Any:
        return F.mean(self.head(self.layer(x)[0]) ** 2)


def train(kind: str, steps: int, **options: Any) -> graphc.TrainStep:
    spec = graphc.Spec((steps, 2, 3), "float64")
    loss = lambda model, x: model(x)  # noqa: E731  # the model is its own loss
    return graphc.TrainStep(Net(kind, "float64"), loss, optim.SGD(lr=0.1), spec, **options)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_one_product_an_iteration_stays(kind: str) -> None:
    """The recurrent product, forward and backward; weight gradients and heads are outside."""
    forward, backward = loops(train(kind, 6).program.stage("optimized"))
    assert ops_in(forward).count("matmul") == ops_in(backward).count("matmul") == 1
    assert "sum" not in ops_in(backward)
    assert backward.attrs["carries"] == forward.attrs["carries"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_program_does_not_grow_with_time(kind: str) -> None:
    short, long = train(kind, 6).program, train(kind, 60).program
    assert len(short.launches) == len(long.launches)
    assert len(short.stage("fused").nodes) == len(long.stage("fused").nodes)


def test_results_are_kept_or_computed_again() -> None:
    """Both give the same losses; keeping stacks the gates, computing again only the states."""
    kept, again = train("LSTM", 5), train("LSTM", 5, passes=str_of_default("recompute=true"))
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    for _ in range(3):
        assert float(kept(x)) == pytest.approx(float(again(x)), rel=1e-12)
    stacks = [len(loops(s.program.stage("differentiated"))[0].results) for s in (kept, again)]
    assert stacks == [2 + 1 + 2 + 2, 2 + 1 + 2]


def str_of_default(option: str) -> str:
    from graphc.passes.pipelines import DEFAULT

    return ",".join(map(str, DEFAULT)).replace("autodiff", f"autodiff{{{option}}}")


def test_remarks_say_what_moved_and_what_stays() -> None:
    texts = [r.text for r in train("GRU", 6).program.stage("optimized").remarks]
    assert "matmul moved after the loop: its 6 are one product" in texts
    assert "matmul stays in the loop: a carry needs it" in texts


def test_long_chains_of_shared_values_take_no_time() -> None:
    """x <- x * x in a body, sixty times: what follows from what is looked at once."""

    def loss(w: Any, xs: Any, h: Any) -> Any:
        def body(h: Any, x: Any) -> Any:
            for _ in range(60):
                x = x * x
            return F.tanh(x @ w + h), None

        return F.sum(F.scan(body, h, xs)[0])

    specs = [graphc.Spec(shape, "float64") for shape in ((2, 2), (3, 2, 2), (2, 2))]
    program = graphc.compile(graphc.grad(loss, argnums=(0, 1, 2)), *specs)
    assert [g.shape for g in program(np.eye(2), np.zeros((3, 2, 2)), np.ones((2, 2)))] == [
        (2, 2),
        (3, 2, 2),
        (2, 2),
    ]


def test_a_carry_that_doubles_is_no_sum() -> None:
    def f(h: Any, w: Any, xs: Any) -> Any:
        return F.scan(lambda h, x: (h + h, x @ w), h, xs)

    shapes = (2, 2), (2, 2), (3, 2, 2)
    graph = graphc.trace(f, *[graphc.Spec(shape) for shape in shapes])
    assert_same_results(graph)
