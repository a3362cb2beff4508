"""Scan, cond, group and the evaluation of graphs with regions and state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from graphc import dtypes
from graphc.dtypes import DType, bool_, float64, int64
from graphc.errors import ArgumentError, DTypeError, GraphcError, ShapeError, VerifyError
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder, make_node
from graphc.ops.evaluate import apply, evaluate
from graphc.passes.reverse import reverse

Body = Callable[..., Sequence[Value]]


def value(*shape: int, dtype: DType = float64, name: str = "") -> Value:
    return Value(TensorType(shape, dtype), name)


def graph(name: str, inputs: Sequence[Value], write: Body) -> Graph:
    b = Builder()
    outputs = tuple(write(b, *inputs))
    return Graph(name, tuple(inputs), tuple(b.nodes), outputs)


def linear_recurrence() -> Graph:
    """h' = a h + x, with h' as a stack too."""

    def write(b: Builder, a: Value, h: Value, x: Value) -> Sequence[Value]:
        new = b.add(b.mul(a, h), x)
        return new, new

    return graph("body", [value(2, name="a"), value(2, name="h"), value(2, name="x")], write)


def scan_of(body: Graph, length: int, reverse: bool = False) -> Graph:
    inputs = [value(2, name="a"), value(2, name="h"), value(length, 2, name="x")]
    attrs = {"length": length, "reverse": reverse, "consts": 1, "carries": 1}
    return graph("loop", inputs, lambda b, *operands: b.emit("scan", operands, attrs, (body,)))


@pytest.mark.parametrize("backward", [False, True])
def test_scan_is_a_loop(backward: bool) -> None:
    a, h, x = np.array([0.5, 2.0]), np.array([1.0, -1.0]), np.arange(8.0).reshape(4, 2)
    (last, stack), _ = evaluate(scan_of(linear_recurrence(), 4, backward), [a, h, x])
    expected = np.zeros((4, 2))
    for step in range(4)[:: -1 if backward else 1]:
        h = a * h + x[step]
        expected[step] = h
    np.testing.assert_array_equal(last, h)
    np.testing.assert_array_equal(stack, expected)


def test_reverse_mode_runs_the_forward_loop_once_and_one_loop_backward() -> None:
    both = reverse(scan_of(linear_recurrence(), 4), wanted=(0, 1, 2), seeded=(0,))
    scans = [node for node in both.nodes if node.op == "scan"]
    assert len(scans) == 2
    assert len(scans[0].results) == 3  # the carry, the stack, and the stack of the carries' starts
    assert scans[1].attrs["reverse"] is True


def test_reverse_mode_leaves_out_what_nobody_wants() -> None:
    both = reverse(scan_of(linear_recurrence(), 4), wanted=(2,), seeded=(0,))
    backward = [node for node in both.nodes if node.op == "scan"][-1]
    assert [v.shape for v in backward.results] == [(2,), (4, 2)]  # no sum for `a`


def test_a_stack_that_exists_is_not_made_again() -> None:
    def write(b: Builder, a: Value, h: Value, x: Value) -> Sequence[Value]:
        return b.add(b.mul(a, h), x), h

    body = graph("body", [value(2), value(2), value(2)], write)
    both = reverse(scan_of(body, 4), wanted=(0,), seeded=(0,))
    assert len(next(node for node in both.nodes if node.op == "scan").results) == 2


def test_scans_in_scans_have_gradients() -> None:
    """sum over t of a^(t + 1) by two loops, one in the other, and its derivative."""
    one = value(name="a")

    def power(b: Builder, a: Value, p: Value) -> Sequence[Value]:
        return (b.mul(a, p),)

    inner = graph("inner", [value(), value()], power)

    def step(b: Builder, a: Value, p: Value, total: Value) -> Sequence[Value]:
        attrs = {"length": 1, "reverse": False, "consts": 1, "carries": 1}
        (new,) = b.emit("scan", [a, p], attrs, (inner,))
        return new, b.add(total, new)

    outer = graph("outer", [value(), value(), value()], step)

    def whole(b: Builder, a: Value) -> Sequence[Value]:
        attrs = {"length": 3, "reverse": False, "consts": 1, "carries": 2}
        start, zero = b.constant(1, float64), b.constant(0, float64)
        return (b.emit("scan", [a, start, zero], attrs, (outer,))[1],)

    function = graph("f", [one], whole)
    (found, slope), _ = evaluate(reverse(function, (0,), (0,)), [np.array(2.0), np.array(1.0)])
    assert float(found) == 2 + 4 + 8 and float(slope) == 1 + 2 * 2 + 3 * 4


def branches() -> tuple[Graph, Graph]:
    double = graph("double", [value(3)], lambda b, x: [b.add(x, x)])
    square = graph("square", [value(3)], lambda b, x: [b.mul(x, x)])
    return double, square


@pytest.mark.parametrize(("flag", "slope"), [(True, [2, 2, 2]), (False, [2, 4, 6])])
def test_the_gradient_of_a_choice_is_that_of_the_branch_taken(
    flag: bool, slope: list[float]
) -> None:
    inputs = [value(dtype=bool_), value(3)]
    function = graph("f", inputs, lambda b, p, x: b.emit("cond", [p, x], {}, branches()))
    both = reverse(function, (1,), (0,))
    arrays = [np.array(flag), np.array([1.0, 2.0, 3.0]), np.ones(3)]
    (_, found), _ = evaluate(both, arrays)
    assert found.tolist() == slope


def scan_attrs(**changes: Any) -> dict[str, Any]:
    return {"length": 4, "reverse": False, "consts": 1, "carries": 1} | changes


@pytest.mark.parametrize(
    ("operands", "attrs", "error", "words"),
    [
        ([value(2), value(2), value(3, 2)], scan_attrs(), ShapeError, "not a stack of length 4"),
        ([value(2), value(2), value()], scan_attrs(), ShapeError, "not a stack of length 4"),
        ([value(2), value(3), value(4, 2)], scan_attrs(), ShapeError, "given are"),
        ([value(2), value(2)], scan_attrs(), ShapeError, "body takes"),
    ],
)
def test_scans_that_do_not_fit(
    operands: list[Value], attrs: Any, error: type[GraphcError], words: str
) -> None:
    with pytest.raises(error, match=r"^scan: ") as caught:
        make_node("scan", operands, attrs, (linear_recurrence(),))
    assert words in str(caught.value)


def test_a_carry_keeps_its_type() -> None:
    body = graph("grow", [value(2)], lambda b, h: [b.reshape(h, (1, 2))])
    with pytest.raises(ShapeError, match=r"takes the carries \(f64\[2\]\) and returns"):
        make_node("scan", [value(2)], scan_attrs(consts=0), (body,))


def test_a_choice_needs_a_flag_and_branches_of_one_type() -> None:
    with pytest.raises(DTypeError, match=r"cond: the condition is f64\[\]"):
        make_node("cond", [value(), value(3)], {}, branches())
    sums = graph("sums", [value(3)], lambda b, x: [b.sum(x, (0,))])
    with pytest.raises(ShapeError, match="expected the same types"):
        make_node("cond", [value(dtype=bool_), value(3)], {}, (branches()[0], sums))


def test_only_float_arguments_have_gradients() -> None:
    function = graph("f", [value(dtype=int64), value()], lambda b, n, x: [x])
    attrs = {"value": False, "aux": False}
    with pytest.raises(DTypeError, match=r"argument 0 is i64\[\]"):
        make_node("grad", function.inputs, {**attrs, "argnums": (0,)}, (function,))
    with pytest.raises(ArgumentError, match="argument 2 of 2"):
        make_node("grad", function.inputs, {**attrs, "argnums": (2,)}, (function,))
    with pytest.raises(ShapeError, match="expected one float number"):
        vector = branches()[0]
        make_node("grad", vector.inputs, {**attrs, "argnums": (0,)}, (vector,))


def test_grad_returns_what_is_asked_for() -> None:
    function = graph("f", [value(3)], lambda b, x: [b.sum(x, (0,)), x])
    attrs: dict[str, Any] = {"argnums": (0,), "value": True, "aux": True}
    node = make_node("grad", function.inputs, attrs, (function,))
    assert [v.shape for v in node.results] == [(), (3,), (3,)]
    with pytest.raises(ArgumentError, match="grad cannot be evaluated"):
        apply(node, [np.zeros(3)])


# Graphs with state


def counter() -> Graph:
    """Returns step * x and counts."""
    x, step = value(2, name="x"), value(dtype=int64, name="step")
    b = Builder()
    scaled = b.mul(x, b.broadcast(b.cast(step, float64), (2,)))
    update = b.shift(step, 1)
    return Graph("counter", (x,), tuple(b.nodes), (scaled,), (step,), (("step", update),))


def test_state_goes_in_and_updates_come_out() -> None:
    (scaled,), updates = evaluate(counter(), [np.array([1.0, 2.0])], {"step": np.array(3)})
    assert scaled.tolist() == [3, 6] and {k: int(v) for k, v in updates.items()} == {"step": 4}


@pytest.mark.parametrize(
    ("inputs", "state", "error", "words"),
    [
        ([], {"step": np.array(0)}, ArgumentError, "0 inputs given, expected 1"),
        ([np.zeros(2)], {}, ArgumentError, "no state given for step"),
        ([np.zeros(3)], {"step": np.array(0)}, ShapeError, "input x has shape (3,)"),
        ([np.zeros(2)], {"step": np.array(0.0)}, DTypeError, "state step is float64"),
    ],
)
def test_arguments_that_do_not_fit(
    inputs: list[Any], state: dict[str, Any], error: type[GraphcError], words: str
) -> None:
    with pytest.raises(error) as caught:
        evaluate(counter(), inputs, state)
    assert words in str(caught.value)


def test_a_meaning_that_breaks_the_typing_rule_is_found() -> None:
    node = make_node("neg", [value(2)])
    with pytest.raises(VerifyError, match=r"neg: its meaning gives float32\[2\].* f64\[2\]"):
        apply(node, [np.zeros(2, np.float32)])


def test_inlining_keeps_source_lines() -> None:
    inner = Builder(source=("net.py:7",))
    x = Value(TensorType((2,), dtypes.float32))
    y = inner.neg(x)
    b = Builder(source=("net.py:9",))
    operand = b.constant(1, dtypes.float32, (2,))
    (result,) = b.inline(Graph("f", (x,), tuple(inner.nodes), (y,)), [operand])
    assert b.nodes[-1].source == ("net.py:7",) and b.nodes[-1].result is result
