"""Loops and branches as launches: carries, stacks, layouts, and how little is copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from lowered import run

import graphc
from graphc import nn, optim
from graphc.dtypes import bool_, float64
from graphc.ir import Graph, TensorType, Value
from graphc.loops import Branch, Launch, Repeat, Step
from graphc.lowering.lower import lower
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate
from graphc.passes.base import run_pipeline
from graphc.passes.pipelines import FUSE
from graphc.planning.barriers import place_barriers
from graphc.planning.check import check_plan
from graphc.planning.plan import plan_memory

Body = Callable[[Builder, Value, Value, Value], Sequence[Value]]


def value(*shape: int, name: str = "") -> Value:
    return Value(TensorType(shape, float64), name)


def swapped(b: Builder, g: Value, h: Value, x: Value) -> Sequence[Value]:
    """Two carries change places."""
    return h, g, b.add(g, x)


def handed_on(b: Builder, g: Value, h: Value, x: Value) -> Sequence[Value]:
    """One carry becomes the other's old value, and both are stacked, before and after."""
    new = b.add(g, x)
    return new, g, new, g, h


def doubled(b: Builder, g: Value, h: Value, x: Value) -> Sequence[Value]:
    """One value is both new carries, and a y twice."""
    new = b.mul(b.add(g, x), h)
    return new, new, new, new


def turned(b: Builder, g: Value, h: Value, x: Value) -> Sequence[Value]:
    """The new value is a view of the old one; a y is one too."""
    return b.transpose(g, (1, 0)), b.add(h, g), b.transpose(h, (1, 0))


def overwritten(b: Builder, g: Value, h: Value, x: Value) -> Sequence[Value]:
    """The old value is read after the new one is computed."""
    new = b.scale(g, 0.5)
    return new, b.op("tanh", b.add(b.transpose(g, (1, 0)), new))


def unchanged(b: Builder, g: Value, h: Value, x: Value) -> Sequence[Value]:
    """A carry stays as it is; ys are a slice of xs, a constant and a carry that is not stacked."""
    return g, b.mul(h, x), x, b.constant(3.0, float64, (3, 3)), b.transpose(g, (1, 0))


def multiplied(b: Builder, g: Value, h: Value, x: Value) -> Sequence[Value]:
    """Products of the carries, one with the other as its epilogue."""
    new = b.op("tanh", b.add(b.matmul(g, x), h))
    return new, b.add(b.matmul(new, h), h), new


BODIES = [swapped, handed_on, doubled, turned, overwritten, unchanged, multiplied]


def scan_graph(body: Body, length: int, reverse: bool) -> Graph:
    formal = [value(3, 3, name=name) for name in ("g", "h", "x")]
    inner = Builder()
    region = Graph("body", tuple(formal), (), tuple(body(inner, *formal)))
    region = Graph("body", region.inputs, tuple(inner.nodes), region.outputs)
    inputs = [value(3, 3, name="g"), value(3, 3, name="h"), value(length, 3, 3, name="xs")]
    b = Builder()
    attrs = {"length": length, "reverse": reverse, "consts": 0, "carries": 2}
    results = b.emit("scan", inputs, attrs, (region,))
    extra = [b.sum(b.transpose(y, (1, 0, 2)), (1,)) for y in results if y.type.rank == 3]
    return Graph("loop", tuple(inputs), tuple(b.nodes), (*results, *extra))


def compare(graph: Graph, arrays: Sequence[Any]) -> None:
    """The naive kernels give what the graph means, and the plan of one arena is sound."""
    expected, _ = evaluate(graph, arrays)
    for current in (graph, run_pipeline(graph, FUSE, ())):
        schedule = lower(current)
        for found, want in zip(run(schedule, current, arrays), expected, strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-14)
        plan = plan_memory(schedule)
        barriers = place_barriers(schedule, plan, lambda launch: True)
        check_plan(schedule, plan, barriers, lambda launch: True)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
@pytest.mark.parametrize(("length", "reverse"), [(3, False), (4, True), (1, False), (0, True)])
def test_carries_and_stacks(body: Body, length: int, reverse: bool) -> None:
    random = np.random.default_rng(length)
    graph = scan_graph(body, length, reverse)
    compare(graph, [random.normal(size=v.shape) for v in graph.inputs])


def test_a_loop_in_a_loop() -> None:
    inner = scan_graph(multiplied, 2, False)
    b = Builder()
    formal = [value(3, 3), value(3, 3), value(2, 3, 3)]
    results = b.inline(inner, formal)
    region = Graph("outer", tuple(formal), tuple(b.nodes), results[:3])
    b = Builder()
    inputs = [value(3, 3, name="g"), value(3, 3, name="h"), value(4, 2, 3, 3, name="xs")]
    attrs = {"length": 4, "reverse": True, "consts": 0, "carries": 2}
    outputs = b.emit("scan", inputs, attrs, (region,))
    graph = Graph("loops", tuple(inputs), tuple(b.nodes), outputs)
    random = np.random.default_rng(0)
    compare(graph, [random.normal(size=v.shape) for v in graph.inputs])


@pytest.mark.parametrize("flag", [True, False])
def test_branches_store_their_results_where_they_belong(flag: bool) -> None:
    regions = []
    for name in ("yes", "no"):
        x, y = value(2, 2), value(2, 2)
        b = Builder()
        new = b.op("tanh", b.mul(x, y))
        found = (new, new, x) if name == "yes" else (b.transpose(new, (1, 0)), y, b.neg(new))
        regions.append(Graph(name, (x, y), tuple(b.nodes), found))
    b = Builder()
    inputs = [Value(TensorType((), bool_), "flag"), value(2, 2, name="x"), value(2, 2, name="y")]
    outputs = b.emit("cond", inputs, {}, regions)
    graph = Graph("choice", tuple(inputs), tuple(b.nodes), outputs)
    compare(graph, [np.array(flag), np.arange(4.0).reshape(2, 2) / 4, np.ones((2, 2))])
    (branch,) = (step for step in lower(graph).steps if isinstance(step, Branch))
    assert [launch.name for launch in launches(branch.yes)].count("result") == 2


def launches(steps: Sequence[Step]) -> Iterator[Launch]:
    for step in steps:
        if isinstance(step, Launch):
            yield step
        elif isinstance(step, Repeat):
            yield from launches(step.steps)


def doubles(b: Builder, h: Value, x: Value) -> Sequence[Value]:
    return b.add(h, x), b.scale(x, 2.0)


def doubles_of_the_turned(b: Builder, h: Value, x: Value) -> Sequence[Value]:
    return h, b.add(b.transpose(x, (1, 0)), h)


def stored_before_read(b: Builder, h: Value, x: Value) -> Sequence[Value]:
    new = b.scale(h, 2.0)
    return b.add(x, new), new


def product_beside(b: Builder, h: Value, x: Value) -> Sequence[Value]:
    return h, b.add(b.matmul(h, h), x)


def taken_and_given_twice(b: Builder, h: Value, x: Value) -> Sequence[Value]:
    new = b.scale(x, 2.0)
    return b.add(h, new), new, new, x


def loop_over_a_temporary(body: Callable[..., Sequence[Value]], again: bool) -> Graph:
    """A loop over tanh(raw), which is read once more after it where `again` says so."""
    formal = [value(3, 3, name="h"), value(3, 3, name="x")]
    inner = Builder()
    outputs = tuple(body(inner, *formal))
    region = Graph("body", tuple(formal), tuple(inner.nodes), outputs)
    inputs = [value(3, 3, name="h"), value(4, 3, 3, name="raw")]
    b = Builder()
    xs = b.op("tanh", inputs[1])
    attrs = {"length": 4, "reverse": False, "consts": 0, "carries": 1}
    results = list(b.emit("scan", [inputs[0], xs], attrs, (region,)))
    results += [b.neg(b.reshape(xs, (36,)))] if again else []
    return Graph("loop", tuple(inputs), tuple(b.nodes), tuple(results))


def stacks_of(graph: Graph) -> int:
    return sum(s.purpose == "temporary" and s.size == 36 for s in lower(graph).storages)


@pytest.mark.parametrize(
    ("body", "again", "stacks"),
    [
        (doubles, False, 1),
        (doubles, True, 2),
        (doubles_of_the_turned, False, 2),
        (stored_before_read, False, 2),
        (taken_and_given_twice, False, 4),
    ],
)
def test_stacks_are_stored_over_where_nothing_reads_them_later(
    body: Callable[..., Sequence[Value]], again: bool, stacks: int
) -> None:
    graph = loop_over_a_temporary(body, again)
    random = np.random.default_rng(0)
    compare(graph, [random.normal(size=v.shape) for v in graph.inputs])
    assert stacks_of(graph) == stacks


def test_a_product_is_not_stored_over_what_its_epilogue_reads() -> None:
    graph = run_pipeline(loop_over_a_temporary(product_beside, False), FUSE, ())
    assert "matmul" in str(graph) and stacks_of(graph) == 2


class Net(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(3, 4)

    def forward(self, x: Any) -> Any:
        return (self.layer(x)[0] ** 2).mean()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_training_loops_copy_nothing(kind: str) -> None:
    """Slices, stacks, carries and layouts of weights: no launch of a loop only moves elements."""
    spec = graphc.Spec((6, 2, 3))
    step = graphc.TrainStep(Net(kind), lambda model, x: model(x), optim.SGD(lr=0.1), spec)
    repeats = [s for s in lower(step.program.stage("fused")).steps if isinstance(s, Repeat)]
    assert len(repeats) == 2
    for repeat in repeats:
        names = [launch.name for launch in launches(repeat.steps)]
        assert not {"carry", "stack", "layout", "copy"} & set(names), names


def test_the_gates_of_an_lstm_and_their_gradients_share_one_stack() -> None:
    spec = graphc.Spec((6, 2, 3))
    step = graphc.TrainStep(Net("LSTM"), lambda model, x: model(x), optim.SGD(lr=0.1), spec)
    storages = lower(step.program.stage("fused")).storages
    assert sum(s.purpose == "temporary" and s.shape == (6, 2, 16) for s in storages) == 1
