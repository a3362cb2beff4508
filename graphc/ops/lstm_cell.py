"""One step of an LSTM from the sums of its products, as one node, and its gradient.

    lstm_cell       gates[N, 4H] (i, f, g, o), c[N, H] -> h, c'
    with `saved`    also the gates after their functions [N, 4H], and tanh(c') [N, H]
    lstm_cell_grad  those two, dh, dc', c -> dgates[N, 4H], dc
    with `further`  dh is the sum of two operands, the second after dc'

    c' = sigmoid(f) c + sigmoid(i) tanh(g),   h = sigmoid(o) tanh(c')

Hochreiter and Schmidhuber, 1997; Gers, Schmidhuber and Cummins, 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir import Node, Value
from graphc.ops import numerics
from graphc.ops.cells import (
    Cell,
    beside,
    expect_cell,
    gate,
    gradient_samples,
    nest_of,
    slope_of_sigmoid,
    slope_of_tanh,
    wide,
)
from graphc.ops.define import Attrs, Cotangents, Regions, Sample, Types, define
from graphc.ops.numerics import NumpyArray
from graphc.ops.samples import real


def lstm_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    state = expect_cell("lstm_cell", types, (4, 1))
    return (state, state, wide(state, 4), state) if attrs["saved"] else (state, state)


@numerics.widened
def lstm_meaning(gates: NumpyArray, c: NumpyArray, saved: bool) -> tuple[NumpyArray, ...]:
    i, f, g, o = np.split(gates, 4, axis=1)
    i, f, g, o = numerics.sigmoid(i), numerics.sigmoid(f), np.tanh(g), numerics.sigmoid(o)
    new = f * c + i * g
    top = np.tanh(new)
    return (o * top, new, np.concatenate([i, f, g, o], axis=1), top)[: 4 if saved else 2]


def lstm_decompose(b: Any, node: Node) -> Sequence[Value]:
    gates, c = node.operands
    functions = ("sigmoid", "sigmoid", "tanh", "sigmoid")
    i, f, g, o = (b.op(name, gate(b, gates, n, 4)) for n, name in enumerate(functions))
    new = b.add(b.mul(f, c), b.mul(i, g))
    top = b.op("tanh", new)
    h = b.mul(o, top)
    return (h, new, beside(b, (i, f, g, o)), top) if node.attrs["saved"] else (h, new)


def _write_cell(cell: Cell) -> None:
    i = cell.let("sigmoid", cell.read(0, 0))
    f = cell.let("sigmoid", cell.read(0, 1))
    g = cell.let("tanh", cell.read(0, 2))
    o = cell.let("sigmoid", cell.read(0, 3))
    new = cell.let("add", cell.let("mul", f, cell.read(1)), cell.let("mul", i, g))
    top = cell.let("tanh", new)
    cell.store(0, cell.let("mul", o, top))
    cell.store(1, new)
    if cell.ctx.node.attrs["saved"]:
        for number, value in enumerate((i, f, g, o)):
            cell.store(2, value, number)
        cell.store(3, top)


def lstm_vjp(b: Any, node: Node, cotangents: Cotangents) -> Cotangents:
    """By lstm_cell_grad; in simple operators where what is saved has cotangents itself."""
    c = node.operands[1]
    results = b.extend(node, (), {"saved": True})
    dh, dc, *others = (*cotangents, None, None)[:4]
    dh, dc = (b.zeros(c.type) if d is None else d for d in (dh, dc))
    if others == [None, None]:
        operands = (*results[2:], dh, dc, c)
        found: Cotangents = b.emit("lstm_cell_grad", operands, {"further": False})
        return found
    return lstm_backward(b, (*results[2:], dh, dc, c), *others)


def lstm_backward(
    b: Any,
    operands: Sequence[Value],
    dgates: Value | None = None,
    dtop: Value | None = None,
) -> tuple[Value, Value]:
    """(cotangent of the gates, of c); `dgates`, `dtop`: of what is saved."""
    after, top, dh, dc, c = operands
    i, f, g, o = (gate(b, after, number, 4) for number in range(4))
    to_top = b.mul(dh, o) if dtop is None else b.add(b.mul(dh, o), dtop)
    dnew = b.add(dc, b.mul(to_top, slope_of_tanh(b, top)))
    slopes = [b.mul(dnew, g), b.mul(dnew, c), b.mul(dnew, i), b.mul(dh, top)]
    if dgates is not None:
        slopes = [b.add(d, gate(b, dgates, number, 4)) for number, d in enumerate(slopes)]
    rules = (slope_of_sigmoid, slope_of_sigmoid, slope_of_tanh, slope_of_sigmoid)
    parts = [b.mul(d, rule(b, y)) for d, rule, y in zip(slopes, rules, (i, f, g, o), strict=True)]
    return beside(b, parts), b.mul(dnew, f)


def lstm_samples() -> Sequence[Sample]:
    """All positive, so that c' loses no digits."""
    shapes = [(2, 3), (1, 1), (3, 17), (0, 2)]
    return [
        Sample((real((n, 4 * h), low=0.1, seed=1), real((n, h), low=0.1, seed=2)), {"saved": saved})
        for n, h in shapes
        for saved in (False, True)
    ]


define(
    "lstm_cell",
    infer=lstm_rule,
    meaning=lstm_meaning,
    vjp=lstm_vjp,
    decompose=lstm_decompose,
    nest=nest_of(_write_cell),
    samples=lstm_samples,
    overwrites=((1, 1),),
    max_ulp=16,
)


def grad_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    state = expect_cell(
        "lstm_cell_grad", types, (4, 1, 1, 1, *([1] if attrs["further"] else []), 1)
    )
    return wide(state, 4), state


@numerics.widened
def grad_meaning(
    after: NumpyArray,
    top: NumpyArray,
    dh: NumpyArray,
    dc: NumpyArray,
    *last: NumpyArray,
    further: bool,
) -> tuple[NumpyArray, ...]:
    *others, c = last
    dh = dh + others[0] if further else dh
    i, f, g, o = np.split(after, 4, axis=1)
    dnew = dc + dh * o * (1 - top * top)
    parts = [
        dnew * g * i * (1 - i),
        dnew * c * f * (1 - f),
        dnew * i * (1 - g * g),
        dh * top * o * (1 - o),
    ]
    return np.concatenate(parts, axis=1), dnew * f


def grad_decompose(b: Any, node: Node) -> Sequence[Value]:
    after, top, dh, dc, *others, c = node.operands
    return lstm_backward(b, (after, top, b.add(dh, *others) if others else dh, dc, c))


def _write_grad(cell: Cell) -> None:
    i, f, g, o = (cell.read(0, number) for number in range(4))
    top, dh, dc, *others, c = (cell.read(n) for n in range(1, len(cell.ctx.node.operands)))
    dh = cell.let("add", dh, *others) if others else dh
    to_new = cell.let("mul", cell.let("mul", dh, o), cell.slope_of_tanh(top))
    dnew = cell.let("add", dc, to_new)
    slopes = [
        (cell.let("mul", dnew, g), cell.slope_of_sigmoid(i)),
        (cell.let("mul", dnew, c), cell.slope_of_sigmoid(f)),
        (cell.let("mul", dnew, i), cell.slope_of_tanh(g)),
        (cell.let("mul", dh, top), cell.slope_of_sigmoid(o)),
    ]
    for number, (d, slope) in enumerate(slopes):
        cell.store(0, cell.let("mul", d, slope), number)
    cell.store(1, cell.let("mul", dnew, f))


define(
    "lstm_cell_grad",
    infer=grad_rule,
    meaning=grad_meaning,
    decompose=grad_decompose,
    nest=nest_of(_write_grad),
    samples=lambda: gradient_samples(4),
    overwrites=((0, 0), (3, 1)),
    max_ulp=16,
)
