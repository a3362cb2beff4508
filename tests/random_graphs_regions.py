"""Recipes of random graphs: loops and branches, nested too."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder
from tests.random_graphs_maker import Maker

Recipe = Callable[[Maker], None]


def _stack(m: Maker) -> Value:
    return m.pick(lambda value: value.type.rank >= 2 and value.shape[0] <= 8)


def _row(b: Builder, x: Value, number: int) -> Value:
    rank = x.type.rank
    start, stop = (number, *(0,) * (rank - 1)), (number + 1, *x.shape[1:])
    return b.reshape(b.op("slice", x, start=start, stop=stop, step=(1,) * rank), x.shape[1:])


def _loop(m: Maker) -> None:
    """A short recurrence over axis 0: one constant, one carry, one stack read, one written."""
    x = _stack(m)
    slice_type = TensorType(x.shape[1:], m.dtype)
    w, h, step = (Value(slice_type, name) for name in ("w", "h", "x"))
    inner = Builder(m.builder.source)
    new = inner.op("tanh", inner.add(inner.mul(w, h), step))
    stacked = inner.mul(new, w)
    body = Graph("body", (w, h, step), tuple(inner.nodes), (new, stacked))
    b = m.builder
    start = b.like(0.1, _row(b, x, 0))
    attrs = {"length": x.shape[0], "reverse": m.coin(), "consts": 1, "carries": 1}
    b.emit("scan", (_row(b, x, 0), start, x), attrs, (body,))


def _recurrent(m: Maker) -> None:
    """A recurrent layer: products with weights that no iteration changes, two carries."""
    x = m.pick(lambda value: value.type.rank == 3 and value.shape[0] <= 8)
    b, (length, batch, features), width = m.builder, x.shape, m.integer(1, 6)
    state = TensorType((batch, width), m.dtype)
    into, across = m.parameter(width, features), m.parameter(width, width)
    formals = [Value(v.type, name) for v, name in ((into, "u"), (across, "w"))]
    h, c = (Value(state, name) for name in "hc")
    step = Value(TensorType((batch, features), m.dtype), "x")
    inner = Builder(b.source)
    fed = inner.matmul(step, inner.swap(formals[0]))
    gate = inner.op("sigmoid", inner.add(fed, inner.matmul(h, inner.swap(formals[1]))))
    cell = inner.add(inner.mul(gate, c), inner.op("tanh", fed))
    new = inner.mul(gate, inner.op("tanh", cell))
    body = Graph("cell", (*formals, h, c, step), tuple(inner.nodes), (new, cell, new))
    zero = b.zeros(state)
    attrs = {"length": length, "reverse": m.coin(), "consts": 2, "carries": 2}
    b.emit("scan", (into, across, zero, b.shift(zero, 0.5), x), attrs, (body,))


def _swap_carries(m: Maker) -> None:
    """Carries that change places, one of them given out as it came in."""
    x = _stack(m)
    slice_type = TensorType(x.shape[1:], m.dtype)
    a, c, step = (Value(slice_type, name) for name in ("a", "c", "x"))
    inner = Builder(m.builder.source)
    mixed = inner.op("sin", inner.add(a, step))
    body = Graph("swap", (a, c, step), tuple(inner.nodes), (c, mixed, a, step))
    b = m.builder
    attrs = {"length": x.shape[0], "reverse": m.coin(), "consts": 0, "carries": 2}
    b.emit("scan", (_row(b, x, 0), _row(b, x, x.shape[0] - 1), x), attrs, (body,))


def _fold(m: Maker) -> None:
    """A loop whose body holds a loop over what it reads."""
    x = m.pick(lambda value: value.type.rank >= 3 and max(value.shape[:2]) <= 5)
    deep, wide = TensorType(x.shape[2:], m.dtype), TensorType(x.shape[1:], m.dtype)
    inner, outer = Builder(m.builder.source), Builder(m.builder.source)
    h, step = Value(deep, "h"), Value(deep, "x")
    new = inner.op("tanh", inner.add(h, step))
    stacked = inner.mul(h, step)
    body = Graph("inner", (h, step), tuple(inner.nodes), (new, stacked))
    carry, row = Value(deep, "h"), Value(wide, "x")
    attrs = {"length": x.shape[1], "reverse": m.coin(), "consts": 0, "carries": 1}
    results = outer.emit("scan", (carry, row), attrs, (body,))
    around = Graph("outer", (carry, row), tuple(outer.nodes), results)
    b = m.builder
    start = b.like(0.25, _row(b, b.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:])), 0))
    attrs = {"length": x.shape[0], "reverse": m.coin(), "consts": 0, "carries": 1}
    b.emit("scan", (start, x), attrs, (around,))


def _flag(m: Maker) -> Value:
    b, x = m.builder, m.inputs[0]
    return b.compare(m.choose(["gt", "lt"]), x, b.like(0.0, x))


def _branch(m: Maker) -> None:
    x = m.pick()
    regions = []
    for op in ("sin", "tanh"):
        inner, formal = Builder(m.builder.source), Value(x.type, "x")
        result = inner.op(op, formal)
        regions.append(Graph(op, (formal,), tuple(inner.nodes), (result,)))
    m.builder.emit("cond", (_flag(m), x), {}, regions)


def _branch_of_two(m: Maker) -> None:
    """Arms of several nodes, one of which gives its operands out as they are."""
    x = m.pick()
    y = m.pick(lambda value: value.shape == x.shape)
    regions = []
    for changes in (True, False):
        inner, formals = Builder(m.builder.source), [Value(x.type, name) for name in "xy"]
        results = formals[::-1]
        if changes:
            product = inner.mul(*formals)
            results = [inner.op("tanh", product), inner.sub(product, formals[0])]
        regions.append(Graph("arm", tuple(formals), tuple(inner.nodes), tuple(results)))
    m.builder.emit("cond", (_flag(m), x, y), {}, regions if m.coin() else regions[::-1])


def _branch_in_loop(m: Maker) -> None:
    """A scan that takes one of two ways in each iteration, by the first element of its slice."""
    x = m.pick(lambda v: v.type.rank >= 2 and v.shape[0] <= 8 and v in m.exact and v.type.size > 0)
    slice_type = TensorType(x.shape[1:], m.dtype)
    inner = Builder(m.builder.source)
    h, step = Value(slice_type, "h"), Value(slice_type, "x")
    flat = inner.reshape(step, (slice_type.size,))
    first = inner.reshape(inner.op("slice", flat, start=(0,), stop=(1,), step=(1,)), ())
    flag = inner.compare("gt", first, inner.like(0.0, first))
    arms = []
    for op in ("add", "mul"):
        arm, formals = Builder(m.builder.source), [Value(slice_type, name) for name in "ab"]
        result = arm.op("tanh", arm.op(op, *formals))
        arms.append(Graph(op, tuple(formals), tuple(arm.nodes), (result,)))
    (new,) = inner.emit("cond", (flag, h, step), {}, arms)
    body = Graph("body", (h, step), tuple(inner.nodes), (new, new))
    b = m.builder
    attrs = {"length": x.shape[0], "reverse": m.coin(), "consts": 0, "carries": 1}
    b.emit("scan", (b.like(0.5, _row(b, x, 0)), x), attrs, (body,))


RECIPES: tuple[Recipe, ...] = (
    *(_loop, _recurrent, _swap_carries, _fold),
    *(_branch, _branch_of_two, _branch_in_loop),
)
