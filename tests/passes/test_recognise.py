"""Composites found in primitives: what is found, what is left alone, and the values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc import dtypes
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate
from graphc.ops.verify import verify
from graphc.passes.base import run_pipeline
from graphc.passes.pipeline_text import parse_pipeline

F64 = dtypes.float64
Write = Callable[[Builder, Value], Value]


def softmax(axis: int, shift: bool = True, stop: bool = False) -> Write:
    def write(b: Builder, x: Value) -> Value:
        if shift:
            greatest = b.max(x, (axis,))
            greatest = b.op("stop_gradient", greatest) if stop else greatest
            x = b.sub(x, b.expand(greatest, (axis,), x.shape))
        powers = b.exp(x)
        return b.div(powers, b.expand(b.sum(powers, (axis,)), (axis,), x.shape))

    return write


def log_softmax(b: Builder, x: Value) -> Value:
    z = b.sub(x, b.expand(b.max(x, (1,)), (1,), x.shape))
    return b.sub(z, b.expand(b.log(b.sum(b.exp(z), (1,))), (1,), x.shape))


def logsumexp(b: Builder, x: Value) -> Value:
    m = b.max(x, (1,))
    z = b.sub(x, b.expand(m, (1,), x.shape))
    return b.add(b.log(b.sum(b.exp(z), (1,))), m)


def log_softmax_of_logsumexp(b: Builder, x: Value) -> Value:
    return b.sub(x, b.expand(logsumexp(b, x), (1,), x.shape))


def with_kept_dimensions(b: Builder, x: Value) -> Value:
    """Layer norm with every statistic of shape [N, 1]."""
    column = (x.shape[0], 1)
    scale = b.broadcast(b.array(1.0 / x.shape[1]), column)
    mean = b.mul(b.reshape(b.sum(x, (1,)), column), scale)
    c = b.sub(x, b.broadcast(mean, x.shape))
    variance = b.mul(b.reshape(b.sum(b.mul(c, c), (1,)), column), scale)
    root = b.sqrt(b.add(variance, b.broadcast(b.array(1e-5), column)))
    return b.div(c, b.broadcast(root, x.shape))


def standardised(*axes: int, affine: str = "none") -> Write:
    def write(b: Builder, x: Value) -> Value:
        c = b.sub(x, b.expand(b.mean(x, axes), axes, x.shape))
        variance = b.mean(b.mul(c, c), axes)
        y = b.mul(c, b.expand(b.op("rsqrt", b.shift(variance, 1e-5)), axes, x.shape))
        own = axes if axes[0] else tuple(a for a in range(x.type.rank) if a not in axes)
        others = tuple(a for a in range(x.type.rank) if a not in own)
        shape = tuple(x.shape[a] for a in own)
        w = b.array(np.linspace(0.5, 2, int(np.prod(shape))).reshape(shape))
        if affine != "none":
            y = b.mul(b.expand(w, others, x.shape), y)
        if affine == "both":
            y = b.add(y, b.expand(w, others, x.shape))
        return y

    return write


def rms(b: Builder, x: Value) -> Value:
    scale = b.op("rsqrt", b.shift(b.mean(b.mul(x, x), (1,)), 1e-6))
    return b.mul(x, b.expand(scale, (1,), x.shape))


def one_hot_loss(b: Builder, x: Value) -> Value:
    target = b.array(np.array([2, 0, 9, 1, -1, 3]))  # 9 and -1 are no classes
    hot = b.op("one_hot", target, depth=x.shape[1], dtype=F64)
    return b.scale(b.neg(b.sum(b.mul(hot, log_softmax(b, x)), (0, 1))), 1 / 6)


def gathered_loss(b: Builder, x: Value) -> Value:
    index = b.array(np.array([[2], [0], [4], [1], [1], [3]]))
    return b.mean(b.neg(b.op("gather_elements", log_softmax(b, x), index, axis=1)), (0, 1))


FOUND = {
    "softmax": (softmax(1), "softmax"),
    "softmax, axis 0": (softmax(0), "softmax"),
    "softmax, not shifted": (softmax(1, shift=False), "softmax"),
    "softmax, shift stopped": (softmax(1, stop=True), "softmax"),
    "log_softmax": (log_softmax, "log_softmax"),
    "logsumexp": (logsumexp, "logsumexp"),
    "log_softmax by logsumexp": (log_softmax_of_logsumexp, "log_softmax"),
    "log of softmax": (lambda b, x: b.log(softmax(1)(b, x)), "log_softmax"),
    "layer norm": (standardised(1), "layer_norm"),
    "layer norm, [N, 1]": (with_kept_dimensions, "layer_norm"),
    "layer norm, weight": (standardised(1, affine="weight"), "layer_norm"),
    "layer norm, weight and bias": (standardised(1, affine="both"), "layer_norm"),
    "batch norm": (standardised(0), "batch_norm"),
    "batch norm, weight and bias": (standardised(0, affine="both"), "batch_norm"),
    "rms norm": (rms, "rms_norm"),
    "cross entropy by one-hot": (one_hot_loss, "cross_entropy"),
    "cross entropy by gathering": (gathered_loss, "cross_entropy"),
}

COMPOSITES = frozenset(composite for _, composite in FOUND.values())


def graph_of(write: Write, *shape: int) -> Graph:
    b = Builder(("net.py:1",))
    x = Value(TensorType(shape, F64), "x")
    result = write(b, x)
    return Graph("f", (x,), tuple(b.nodes), (result,))


def recognised(graph: Graph, option: str = "") -> Graph:
    result = run_pipeline(graph, parse_pipeline(f"simplify,recognise{option},simplify"), ())
    verify(result)
    return result


@pytest.mark.parametrize(("write", "composite"), FOUND.values(), ids=FOUND.keys())
def test_found_in_primitives(write: Write, composite: str) -> None:
    graph = graph_of(write, 6, 5)
    after = recognised(graph)
    found = [node.op for node in after.nodes if node.op in COMPOSITES]
    assert found == [composite]
    x = np.random.default_rng(1).normal(size=(6, 5))
    np.testing.assert_allclose(evaluate(after, (x,))[0][0], evaluate(graph, (x,))[0][0], rtol=1e-10)
    assert all(node.source == ("net.py:1",) for node in after.nodes if node.operands)


@pytest.mark.parametrize("axes", [(2, 3), (3,), (1, 2, 3), (0, 2, 3)])
def test_normalisation_of_images(axes: tuple[int, ...]) -> None:
    graph = graph_of(standardised(*axes), 2, 3, 4, 5)
    after = recognised(graph)
    expected = "batch_norm" if 0 in axes else "layer_norm"
    assert [node.op for node in after.nodes] == [expected]
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    np.testing.assert_allclose(evaluate(after, (x,))[0][0], evaluate(graph, (x,))[0][0], rtol=1e-10)


def sum_of_another(b: Builder, x: Value) -> Value:
    return b.div(b.exp(x), b.expand(b.sum(b.exp(b.neg(x)), (1,)), (1,), x.shape))


def sum_along_the_other_axis(b: Builder, x: Value) -> Value:
    """A square matrix whose rows' sums are read along the columns."""
    powers = b.exp(x)
    return b.div(powers, b.broadcast(b.sum(powers, (1,)), x.shape))


def mean_of_the_wrong_count(b: Builder, x: Value) -> Value:
    c = b.sub(x, b.expand(b.mean(x, (1,)), (1,), x.shape))
    variance = b.scale(b.sum(b.mul(c, c), (1,)), 1 / (x.shape[1] - 1))
    return b.mul(c, b.expand(b.op("rsqrt", b.shift(variance, 1e-5)), (1,), x.shape))


@pytest.mark.parametrize(
    "write", [sum_of_another, sum_along_the_other_axis, mean_of_the_wrong_count]
)
def test_what_only_looks_like_it_is_left_alone(write: Write) -> None:
    after = recognised(graph_of(write, 5, 5))
    assert COMPOSITES.isdisjoint(node.op for node in after.nodes)


def test_families_are_switched_by_option() -> None:
    graph = graph_of(softmax(1), 6, 5)
    after = recognised(graph, "{softmax=false}")
    assert COMPOSITES.isdisjoint(node.op for node in after.nodes)


def test_inside_the_function_of_a_gradient() -> None:
    x = Value(TensorType((6, 5), F64), "x")
    inner = Builder(("net.py:1",))
    loss = inner.sum(inner.mul(softmax(1)(inner, x), x), (0, 1))
    function = Graph("loss", (x,), tuple(inner.nodes), (loss,))
    outer, formal = Builder(("net.py:2",)), Value(x.type, "x")
    attrs = {"argnums": (0,), "value": False, "aux": False}
    results = outer.emit("grad", (formal,), attrs, (function,))
    graph = Graph("g", (formal,), tuple(outer.nodes), results)
    plain = run_pipeline(graph, parse_pipeline("autodiff"), ())
    found = run_pipeline(graph, parse_pipeline("simplify,recognise,autodiff,cse,dce"), ())
    assert "softmax" in [node.op for node in found.nodes]
    array = np.random.default_rng(1).normal(size=(6, 5))
    np.testing.assert_allclose(
        evaluate(found, (array,))[0][0], evaluate(plain, (array,))[0][0], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    "write, told",
    [
        (softmax(1), "one softmax"),
        (log_softmax, "one log_softmax"),
        (with_kept_dimensions, "one layer_norm"),
    ],
)
def test_what_was_joined_is_told(write: Write, told: str) -> None:
    remarks = run_pipeline(graph_of(write, 8, 5), parse_pipeline("recognise")).remarks
    found = [remark for remark in remarks if told in remark.text]
    assert found and all(r.text.startswith("joined ") for r in found)
    assert found[-1].source == ("net.py:1",)
