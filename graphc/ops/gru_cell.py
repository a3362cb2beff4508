"""One step of a GRU from its two sums of products, as one node, and its gradient.

    gru_cell       x[N, 3H], s[N, 3H] (r, z, n), h[N, H] -> h'
    with `saved`   also r, z, n and s_n [N, 4H]
    gru_cell_grad  that, dh', h -> dx[N, 3H], ds[N, 3H], dh
    with `further` dh' is the sum of two operands, before h

    r = sigmoid(x_r + s_r),  z = sigmoid(x_z + s_z),  n = tanh(x_n + r s_n),  h' = (1 - z) n + z h

Cho et al., 2014, with the reset gate after the product.
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


def gru_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    state = expect_cell("gru_cell", types, (3, 3, 1))
    return (state, wide(state, 4)) if attrs["saved"] else (state,)


@numerics.widened
def gru_meaning(
    x: NumpyArray, s: NumpyArray, h: NumpyArray, saved: bool
) -> NumpyArray | tuple[NumpyArray, ...]:
    (xr, xz, xn), (sr, sz, sn) = np.split(x, 3, axis=1), np.split(s, 3, axis=1)
    r, z = numerics.sigmoid(xr + sr), numerics.sigmoid(xz + sz)
    n = np.tanh(xn + r * sn)
    new = (1 - z) * n + z * h
    return (new, np.concatenate([r, z, n, sn], axis=1)) if saved else new


def gru_decompose(b: Any, node: Node) -> Sequence[Value]:
    x, s, h = node.operands
    xr, xz, xn = (gate(b, x, number, 3) for number in range(3))
    sr, sz, sn = (gate(b, s, number, 3) for number in range(3))
    r, z = b.op("sigmoid", b.add(xr, sr)), b.op("sigmoid", b.add(xz, sz))
    n = b.op("tanh", b.add(xn, b.mul(r, sn)))
    new = b.add(b.mul(b.sub(b.like(1, z), z), n), b.mul(z, h))
    return (new, beside(b, (r, z, n, sn))) if node.attrs["saved"] else (new,)


def _write_cell(cell: Cell) -> None:
    r = cell.let("sigmoid", cell.let("add", cell.read(0, 0), cell.read(1, 0)))
    z = cell.let("sigmoid", cell.let("add", cell.read(0, 1), cell.read(1, 1)))
    sn = cell.read(1, 2)
    n = cell.let("tanh", cell.let("add", cell.read(0, 2), cell.let("mul", r, sn)))
    fresh = cell.let("mul", cell.let("sub", cell.one, z), n)
    cell.store(0, cell.let("add", fresh, cell.let("mul", z, cell.read(2))))
    if cell.ctx.node.attrs["saved"]:
        for number, value in enumerate((r, z, n, sn)):
            cell.store(1, value, number)


def gru_vjp(b: Any, node: Node, cotangents: Cotangents) -> Cotangents:
    """By gru_cell_grad; in simple operators where what is saved has a cotangent itself."""
    h = node.operands[2]
    after = b.extend(node, (), {"saved": True})[1]
    dnew, further = (*cotangents, None)[:2]
    dnew = b.zeros(h.type) if dnew is None else dnew
    if further is None:
        found: Cotangents = b.emit("gru_cell_grad", (after, dnew, h), {"further": False})
        return found
    return gru_backward(b, (after, dnew, h), further)


def gru_backward(
    b: Any, operands: Sequence[Value], further: Value | None = None
) -> tuple[Value, Value, Value]:
    """Cotangents of x, s and h; `further`: that of what is saved."""
    after, dnew, h = operands
    r, z, n, sn = (gate(b, after, number, 4) for number in range(4))
    dn, dz = b.mul(dnew, b.sub(b.like(1, z), z)), b.mul(dnew, b.sub(h, n))
    if further is not None:
        dn, dz = b.add(dn, gate(b, further, 2, 4)), b.add(dz, gate(b, further, 1, 4))
    dxn = b.mul(dn, slope_of_tanh(b, n))
    dr, dsn = b.mul(dxn, sn), b.mul(dxn, r)
    if further is not None:
        dr, dsn = b.add(dr, gate(b, further, 0, 4)), b.add(dsn, gate(b, further, 3, 4))
    dxr, dxz = b.mul(dr, slope_of_sigmoid(b, r)), b.mul(dz, slope_of_sigmoid(b, z))
    return beside(b, (dxr, dxz, dxn)), beside(b, (dxr, dxz, dsn)), b.mul(dnew, z)


def gru_samples() -> Sequence[Sample]:
    return [
        Sample(
            (real((n, 3 * h), seed=1), real((n, 3 * h), seed=2), real((n, h), seed=3)),
            {"saved": saved},
        )
        for n, h in [(2, 3), (1, 1), (3, 17), (0, 2)]
        for saved in (False, True)
    ]


define(
    "gru_cell",
    infer=gru_rule,
    meaning=gru_meaning,
    vjp=gru_vjp,
    decompose=gru_decompose,
    nest=nest_of(_write_cell),
    samples=gru_samples,
    overwrites=((2, 0),),
    max_ulp=16,
)


def grad_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    further = [1] if attrs["further"] else []
    state = expect_cell("gru_cell_grad", types, (4, 1, *further, 1))
    return wide(state, 3), wide(state, 3), state


@numerics.widened
def grad_meaning(
    after: NumpyArray, dnew: NumpyArray, *last: NumpyArray, further: bool
) -> tuple[NumpyArray, ...]:
    *others, h = last
    dnew = dnew + others[0] if further else dnew
    r, z, n, sn = np.split(after, 4, axis=1)
    dxn = dnew * (1 - z) * (1 - n * n)
    dxr, dxz = dxn * sn * r * (1 - r), dnew * (h - n) * z * (1 - z)
    dx, ds = (np.concatenate([dxr, dxz, last], axis=1) for last in (dxn, dxn * r))
    return dx, ds, dnew * z


def grad_decompose(b: Any, node: Node) -> Sequence[Value]:
    after, dnew, *others, h = node.operands
    return gru_backward(b, (after, b.add(dnew, *others) if others else dnew, h))


def _write_grad(cell: Cell) -> None:
    r, z, n, sn = (cell.read(0, number) for number in range(4))
    dnew, *others, h = (cell.read(n) for n in range(1, len(cell.ctx.node.operands)))
    dnew = cell.let("add", dnew, *others) if others else dnew
    dn = cell.let("mul", dnew, cell.let("sub", cell.one, z))
    dxn = cell.let("mul", dn, cell.slope_of_tanh(n))
    dxr = cell.let("mul", cell.let("mul", dxn, sn), cell.slope_of_sigmoid(r))
    dz = cell.let("mul", dnew, cell.let("sub", h, n))
    dxz = cell.let("mul", dz, cell.slope_of_sigmoid(z))
    for number, (dx, ds) in enumerate(((dxr, dxr), (dxz, dxz), (dxn, cell.let("mul", dxn, r)))):
        cell.store(0, dx, number)
        cell.store(1, ds, number)
    cell.store(2, cell.let("mul", dnew, z))


define(
    "gru_cell_grad",
    infer=grad_rule,
    meaning=grad_meaning,
    decompose=grad_decompose,
    nest=nest_of(_write_grad),
    samples=lambda: gradient_samples(2),
    overwrites=((1, 2),),
    max_ulp=16,
)
