"""Loops whose gradients keep little and run segments again: the same bits in less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import Spec, nn, optim
from graphc.errors import ArgumentError
from graphc.ir import Graph
from graphc.passes.pipelines import DEFAULT

Array = np.ndarray[Any, Any]
# split_scan sums over all steps in one product, and over a segment's in one: other last bits.
IN_ORDER = tuple(step for step in DEFAULT if step.name != "split_scan")


def loss(checkpoint: int | None, reverse: bool = False) -> Any:
    """A recurrence with dropout, a mask, weights in every step, and outputs of every step."""

    def value(x: Any, valid: Any, w_ih: Any, w_hh: Any, h: Any) -> Any:
        def body(h: Any, step: Any) -> Any:
            x, valid = step
            new = F.tanh(F.dropout(x, 0.3, True) @ w_ih + h @ w_hh)
            return F.where(valid, new, h), new * x.sum()

        last, ys = F.scan(body, h, (x, valid), reverse=reverse, checkpoint=checkpoint)
        return (ys * ys).mean() + last.sum()

    return graphc.value_and_grad(value, argnums=(0, 2, 3, 4))


def arrays(steps: int, dtype: str = "float32") -> list[Array]:
    random = np.random.default_rng(3)
    shapes = (steps, 3, 5), (5, 6), (6, 6), (3, 6)
    x, w_ih, w_hh, h = (random.normal(size=shape).astype(dtype) for shape in shapes)
    return [x, random.random((steps, 3, 1)) < 0.7, w_ih, w_hh, h]


def run(fn: Any, given: list[Array], **options: Any) -> list[Array]:
    specs = [Spec(array.shape, str(array.dtype)) for array in given]
    value, gradients = graphc.compile(fn, *specs, **options)(*given)
    return [np.asarray(value), *map(np.asarray, gradients)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpoint", [1, 3, 4, 12, 99])
def test_segments_that_fill_the_loop_give_the_same_bits(checkpoint: int, reverse: bool) -> None:
    given = arrays(12)
    kept = run(loss(None, reverse), given, passes=IN_ORDER)
    again = run(loss(checkpoint, reverse), given, passes=IN_ORDER)
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("backend", ["cpu", "interpreter"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpoint", [2, 5, 10])
def test_steps_may_be_left_over(checkpoint: int, reverse: bool, backend: str) -> None:
    given = arrays(11, "float64")
    kept = run(loss(None, reverse), given, backend=backend)
    again = run(loss(checkpoint, reverse), given, backend=backend)
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_gradients_of_gradients_are_the_same() -> None:
    def twice(checkpoint: int | None) -> Any:
        def inner(x: Any, w: Any) -> Any:
            body = lambda h, x: (F.tanh(h @ w + x), None)  # noqa: E731
            return F.scan(body, x[0], x, checkpoint=checkpoint)[0].sum()

        def outer(x: Any, w: Any) -> Any:
            return (graphc.grad(inner, argnums=1)(x, w) ** 2).sum()

        return graphc.value_and_grad(outer, argnums=(0, 1))

    random = np.random.default_rng(0)
    given = [random.normal(size=(6, 2, 3)), random.normal(size=(3, 3))]
    for one, other in zip(run(twice(None), given), run(twice(3), given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11)


def deep(steps: int, checkpoint: int | None) -> Graph:
    """Only the last state counts; every step has three layers of activations to keep."""

    def value(h: Any, *weights: Any) -> Any:
        def body(h: Any, _: None) -> Any:
            for weight in weights:
                h = F.tanh(h @ weight)
            return h, None

        return F.scan(body, h, length=steps, checkpoint=checkpoint)[0].sum()

    specs = [Spec((32, 32))] * 4
    graph: Graph = graphc.trace(graphc.grad(value, argnums=(0, 1, 2, 3)), *specs)
    return graph


def arena_bytes(steps: int, checkpoint: int | None) -> int:
    found: int = graphc.compile(deep(steps, checkpoint)).memory.arena_bytes
    return found


def test_memory_falls_to_the_root_of_the_steps() -> None:
    kept = [arena_bytes(steps, None) for steps in (64, 256)]
    again = [arena_bytes(steps, round(steps**0.5)) for steps in (64, 256)]
    assert kept[1] > 3.5 * kept[0]
    assert again[1] < 2.3 * again[0]
    assert again[1] < kept[1] / 6


def test_the_program_does_not_grow_with_time() -> None:
    counts = {len(graphc.compile(deep(s, k)).launches) for s, k in ((16, 4), (100, 10), (900, 30))}
    assert len(counts) == 1


class Net(nn.Module):
    def __init__(self, kind: str, checkpoint: int | None) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(4, 16, 2, bidirectional=True, checkpoint=checkpoint)

    def forward(self, x: Any, lengths: Any) -> Any:
        return (self.rnn(x, lengths=lengths)[0] ** 2).mean()


def train(kind: str, checkpoint: int | None, dtype: str, **options: Any) -> graphc.TrainStep:
    model = Net(kind, checkpoint).to(dtype)
    specs = Spec((48, 8, 4), dtype), Spec((8,), "int32")
    of = lambda model, x, lengths: model(x, lengths)  # noqa: E731
    return graphc.TrainStep(model, of, optim.SGD(lr=0.5), *specs, **options)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_layers_learn_the_same_in_less_memory(kind: str) -> None:
    random = np.random.default_rng(1)
    x, lengths = random.normal(size=(48, 8, 4)), random.integers(1, 49, 8).astype(np.int32)
    kept, again = (train(kind, checkpoint, "float64") for checkpoint in (None, 7))
    for _ in range(3):
        assert float(again(x, lengths)) == pytest.approx(float(kept(x, lengths)), rel=1e-12)
    for name, array in kept.state_dict().items():
        np.testing.assert_allclose(again.state_dict()[name], array, rtol=1e-9, atol=1e-12)
    if kind != "RNN":  # which keeps nothing but its outputs
        arenas = [step.program.memory.arena_bytes for step in (kept, again)]
        assert arenas[1] < 0.7 * arenas[0]


def test_the_layer_shows_it_and_refuses_no_steps() -> None:
    assert "checkpoint=7" in repr(nn.GRU(2, 3, checkpoint=7))
    assert "checkpoint" not in repr(nn.GRU(2, 3))
    with pytest.raises(ArgumentError, match="checkpoint is 0; expected at least 1 step"):
        graphc.trace(lambda x: F.scan(lambda h, x: (h + x, x), x[0], x, checkpoint=0), Spec((3,)))


def test_a_graph_with_segments_reads_back() -> None:
    graph = deep(16, 4)
    assert "checkpoint=4" in str(graph)
    assert graphc.parse(str(graph), graph.constants) == graph
    stage = graphc.compile(graph).stage("differentiated")
    assert "checkpoint=1" in str(stage)
