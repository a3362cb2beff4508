"""Attention found in primitives: what is found with which options, what is refused, the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import Spec
from graphc.frontends.tracing import trace_program
from graphc.ir import Graph, Node
from graphc.ops.evaluate import evaluate
from graphc.ops.verify import verify
from graphc.passes.pipelines import DEFAULT
from graphc.passes.recognise import Recognise
from graphc.passes.simplify import Simplify

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]

B, H, L, S, E = 2, 3, 5, 7, 4
Q, K, V = (np.random.default_rng(n).normal(size=(B, H, m, E)) for n, m in enumerate((L, S, S)))
SEEN = np.random.default_rng(3).random((L, S)) < 0.8
SEEN[:, 0] = True
BIAS = np.random.default_rng(4).normal(size=(H, L, S))
EARLIER = np.tri(L, S, dtype=bool)


def attention(scores: Function) -> Function:
    def run(q: Any, k: Any, v: Any) -> Any:
        return F.softmax(scores(F.matmul(q, F.swapaxes(k, -1, -2))), -1) @ v

    return run


def positions(x: Any) -> Any:
    query, key = F.arange(L)[:, None], F.arange(S)[None, :]
    return F.where(key <= query, x, -np.inf)


FOUND: dict[str, tuple[Function, dict[str, Any]]] = {
    "plain": (attention(lambda x: x), {"scale": 1.0, "causal": False, "mask": False}),
    "scaled": (attention(lambda x: x / 2), {"scale": 0.5}),
    "scaled twice": (attention(lambda x: x * 0.5 / 2), {"scale": 0.25}),
    "a bool mask": (attention(lambda x: F.where(SEEN, x * 0.5, -np.inf)), {"mask": True}),
    "hidden keys": (attention(lambda x: F.where(~SEEN, -np.inf, x)), {"mask": True}),
    "a finite number": (attention(lambda x: F.where(SEEN, x, -1e9)), {"mask": True}),
    "a bias by head": (attention(lambda x: x * 0.5 + BIAS), {"mask": True, "scale": 0.5}),
    "causal, a constant": (
        attention(lambda x: F.where(EARLIER, x, -np.inf)),
        {"causal": True, "mask": False},
    ),
    "causal, added": (
        attention(lambda x: x + np.where(EARLIER, 0, -np.inf)),
        {"causal": True, "mask": False},
    ),
    "causal, positions": (attention(positions), {"causal": True, "mask": False}),
    "causal, with a bias": (
        attention(lambda x: F.where(EARLIER, x + BIAS, -np.inf)),
        {"causal": True, "mask": True},
    ),
    "softmax by hand": (
        lambda q, k, v: by_hand(F.matmul(q, F.swapaxes(k, -1, -2)) * 0.5) @ v,
        {"scale": 0.5},
    ),
    "einsum": (
        lambda q, k, v: F.softmax(F.einsum("hqe,hke->hqk", q[0], k[0]), -1) @ v[0],
        {"scale": 1.0},
    ),
    "einsum of batches and heads": (
        lambda q, k, v: F.einsum(
            "bhqk,bhke->bhqe", F.softmax(F.einsum("bhqe,bhke->bhqk", q, k) * 0.5, -1), v
        ),
        {"scale": 0.5},
    ),
}

REFUSED: dict[str, tuple[Function, str]] = {
    "probabilities that are returned": (
        lambda q, k, v: (lambda p: (p @ v, p))(F.softmax(q @ F.swapaxes(k, -1, -2), -1)),
        "read elsewhere",
    ),
    "two masks": (
        attention(lambda x: F.where(SEEN, x + BIAS, -np.inf)),
        "two masks",
    ),
    "a scaled bias": (attention(lambda x: (x + BIAS) * 0.5), "scaled with"),
    "another function": (attention(F.tanh), "no product"),
    "shared keys": (
        lambda q, k, v: F.softmax(q @ F.swapaxes(k[:, :1], -1, -2), -1) @ v,
        "different batches or heads",
    ),
}


def by_hand(x: Any) -> Any:
    powers = F.exp(x - F.max(x, axis=-1, keepdims=True))
    return powers / F.sum(powers, axis=-1, keepdims=True)


def traced(fn: Function) -> Graph:
    return trace_program(fn, [Q, K, V]).graph


def recognised(fn: Function) -> tuple[Graph, Graph]:
    """The simplified graph, and what recognise makes of it."""
    before = Simplify().run(traced(fn))
    after = Recognise().run(before)
    verify(after)
    return before, after


def attentions(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op == "attention"]


@pytest.mark.parametrize(("fn", "options"), FOUND.values(), ids=FOUND)
def test_it_is_found_with_its_options_and_means_the_same(
    fn: Function, options: dict[str, Any]
) -> None:
    before, after = recognised(fn)
    (node,) = attentions(after)
    assert {name: node.attrs[name] for name in options} == options
    assert not any(n.op in ("softmax", "exp") for n in after.nodes)
    (want,), (got,) = (evaluate(graph, [Q, K, V])[0] for graph in (before, after))
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)
    assert any("joined matmul, softmax, matmul" in r.text for r in after.remarks)


@pytest.mark.parametrize(("fn", "reason"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_a_reason(fn: Function, reason: str) -> None:
    _, after = recognised(fn)
    assert not attentions(after)
    assert any(reason in remark.text for remark in after.remarks)


def test_dropout_is_found_and_drops_the_same() -> None:
    def dropped(q: Any, k: Any, v: Any) -> Any:
        p = F.softmax(q @ F.swapaxes(k, -1, -2), -1)
        return F.dropout(p, 0.25) @ v

    arrays = [x.astype(np.float32) for x in (Q, K, V)]
    graph = Simplify().run(trace_program(dropped, arrays).graph)
    found = Recognise().run(graph)
    (node,) = attentions(found)
    assert node.attrs["dropout"] == pytest.approx(0.25)
    state = {value.name: np.array([1, 2], np.uint32) for value in graph.state}
    (want,), (got,) = (evaluate(g, arrays, state)[0] for g in (graph, found))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_it_is_found_inside_gradients() -> None:
    def loss(q: Any, k: Any, v: Any) -> Any:
        return F.sum(FOUND["causal, with a bias"][0](q, k, v) ** 2)

    specs = [Spec(x.shape, "float64") for x in (Q, K, V)]
    gradients = graphc.grad(loss, argnums=(0, 1, 2))
    fused = graphc.compile(gradients, *specs)
    assert any(launch.name == "attention_grad" for launch in fused.launches)
    for got, want in zip(fused(Q, K, V), gradients(Q, K, V), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_the_option_switches_it_off() -> None:
    graph = Simplify().run(traced(FOUND["plain"][0]))
    assert not attentions(Recognise(attention=False).run(graph))
    assert any(isinstance(step, Recognise) and step.attention for step in DEFAULT)


def test_unfused_programs_open_what_a_model_names() -> None:
    specs = [Spec(x.shape, "float64") for x in (Q, K, V)]
    fused, unfused = (
        graphc.compile(F.scaled_dot_product_attention, *specs, fuse=fuse) for fuse in (True, False)
    )
    names = {launch.name for launch in unfused.launches}
    assert [launch.name for launch in fused.launches if launch.ops] == ["attention"]
    assert "matmul" in names and "attention" not in names
