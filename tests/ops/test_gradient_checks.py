"""The checks themselves: a planted wrong rule fails them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gradients import check_first_order, check_second_order, in_double
from single_operator import graph_of, run_naive

from graphc.ir import Value
from graphc.loops import call
from graphc.ops import Builder, get
from graphc.ops.define import Sample
from graphc.ops.rules import pointwise, unary_vjp
from graphc.passes import reverse

Slope = Callable[[Builder, Value, Value, Value], Value]

SAMPLE = in_double(get("tanh").samples()[0])


def slightly_wrong(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """2 per cent too steep."""
    return b.mul(dy, b.scale(b.sub(b.like(1.0, y), b.mul(y, y)), 1.02))


def wrong_when_repeated(b: Builder, x: Value, y: Value, dy: Value) -> Value:
    """The right slope, which is itself taken as constant."""
    flat = b.op("stop_gradient", y)
    return b.mul(dy, b.sub(b.like(1.0, y), b.mul(flat, flat)))


def plant(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Differentiation finds another record for tanh."""
    wrong = replace(get("tanh"), **changes)
    monkeypatch.setattr(reverse, "get", lambda name: wrong if name == "tanh" else get(name))


def test_a_wrong_slope_fails_the_first_order(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, vjp=unary_vjp(slightly_wrong))
    with pytest.raises(AssertionError, match="gradient of operand 0"):
        check_first_order(graph_of("tanh", SAMPLE), SAMPLE.arrays)


def test_a_slope_without_a_slope_fails_the_second_order(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, vjp=unary_vjp(wrong_when_repeated))
    check_first_order(graph_of("tanh", SAMPLE), SAMPLE.arrays)
    with pytest.raises(AssertionError, match="second order"):
        check_second_order(graph_of("tanh", SAMPLE), SAMPLE.arrays)


def test_the_naive_kernel_runs_the_lowering(monkeypatch: pytest.MonkeyPatch) -> None:
    import single_operator

    wrong = replace(get("neg"), lower=pointwise(lambda x: call("abs", x)))
    monkeypatch.setattr(single_operator, "get", lambda name: wrong)
    (got,) = run_naive("neg", Sample((np.array([1.0, -2.0]),)))
    assert got.tolist() == [1.0, 2.0]
