"""Stable sort along one axis, with the indices that it takes: argsort and top-k are made of it.

NaN is greater than every number, as in torch: last when ascending, first when descending.

The nest is Batcher's bitonic network (Sorting networks and their applications, 1968) in the
variant whose comparators all point one way: each merge begins by comparing mirrored places. Then
a row of any length sorts in place, since the places that are missing up to a power of two stand
for the greatest elements and are never moved. Comparing (value, index) makes it stable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dtypes import float64, int32, int64
from graphc.errors import DTypeError, ShapeError
from graphc.ir import Node, TensorType
from graphc.loops import (
    Call,
    Expr,
    Let,
    Loop,
    Statement,
    Store,
    Variable,
    When,
    add,
    call,
    index,
    less,
    load,
    select,
    sub,
    variable,
)
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, NestContext, Regions, Sample, Types, define
from graphc.ops.indexing import nested
from graphc.ops.numerics import NumpyArray
from graphc.ops.rules import expect_count
from graphc.ops.samples import distinct, real, whole


def _infer_sort(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("sort", types, 1)
    (x,) = types
    if not 0 <= attrs["axis"] < x.rank:
        raise ShapeError(f"sort: axis {attrs['axis']} of {x}, expected 0 to {x.rank - 1}")
    if x.dtype.kind == "bool":
        raise DTypeError(f"sort: operand is {x}, expected numbers")
    return x, TensorType(x.shape, int64)


def _meaning_sort(x: NumpyArray, axis: int, descending: bool) -> tuple[NumpyArray, NumpyArray]:
    """Descending is the ascending order of the mirrored row, mirrored: equals keep their order."""
    if descending:
        mirrored = np.argsort(np.flip(x, axis), axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(mirrored, axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    return np.take_along_axis(x, order, axis), order.astype(np.int64)


def _sort_vjp(b: Builder, node: Node, cotangents: Cotangents) -> Cotangents:
    """Each element of dy goes back to the place that its value came from."""
    dy = cotangents[0]
    if dy is None:
        return (None,)
    zeros = b.zeros(node.operands[0].type)
    axis = node.attrs["axis"]
    return (b.op("scatter_add_elements", zeros, node.results[1], dy, axis=axis),)


# Lowering


def _nest_sort(ctx: NestContext) -> Sequence[Statement]:
    shape, axis = ctx.node.operands[0].shape, ctx.node.attrs["axis"]
    before = [variable(ctx.fresh("i")) for _ in shape[:axis]]
    after = [variable(ctx.fresh("j")) for _ in shape[axis + 1 :]]
    row = [*_copy_row(ctx, before, after), *_network(ctx, before, after)]
    return nested("parallel", before + after, (*shape[:axis], *shape[axis + 1 :]), row)


def _copy_row(
    ctx: NestContext, before: Sequence[Expr], after: Sequence[Expr]
) -> Sequence[Statement]:
    values, indices = ctx.results
    place = variable(ctx.fresh("r"))
    at = (*before, place, *after)
    copies = [Store(values.name, at, ctx.operand(0, at)), Store(indices.name, at, place)]
    return nested("serial", [place], [values.shape[len(before)]], copies)


def _network(
    ctx: NestContext, before: Sequence[Expr], after: Sequence[Expr]
) -> Sequence[Statement]:
    """Merge blocks of 2, 4, 8 ...: in block 2^(k+1), compare at distances 2^k ... 2, 1."""
    extent = ctx.results[0].shape[len(before)]
    levels = max(extent - 1, 0).bit_length()
    level, step, pair = (variable(ctx.fresh(name)) for name in ("level", "step", "pair"))
    distance, low, high = (variable(ctx.fresh(name)) for name in ("d", "low", "high"))
    body: list[Statement] = [
        Let(distance.name, sub(level, step)),
        Let(low.name, _low_place(pair, distance)),
        Let(high.name, _partner(low, distance, step)),
        When(less(high, extent), tuple(_compare_exchange(ctx, before, after, low, high))),
    ]
    pairs = Loop("serial", pair.name, index(0), index(2 ** max(levels - 1, 0)), tuple(body))
    steps = Loop("serial", step.name, index(0), add(level, 1), (pairs,))
    return [Loop("serial", level.name, index(0), index(levels), (steps,))]


def _low_place(pair: Expr, distance: Expr) -> Expr:
    """The lower place of a pair: its number with a 0 put in at bit `distance`."""
    high_bits = call("shl", call("shr", pair, distance), add(distance, 1))
    low_bits = call("and", pair, sub(call("shl", index(1), distance), 1))
    return add(high_bits, low_bits)


def _partner(low: Expr, distance: Expr, step: Expr) -> Expr:
    """The place mirrored in its block in a merge's first step, `2^distance` above it after."""
    span = call("shl", index(1), distance)
    mirror = sub(call("shl", index(2), distance), 1)
    return call("xor", low, select(call("eq", step, index(0)), mirror, span))


def _compare_exchange(
    ctx: NestContext, before: Sequence[Expr], after: Sequence[Expr], low: Expr, high: Expr
) -> Sequence[Statement]:
    """Put the pair's first in the order low, its last high."""
    values, indices = ctx.results
    at_low, at_high = (*before, low, *after), (*before, high, *after)
    names = [ctx.fresh(name) for name in ("a", "b", "ia", "ib")]
    a, b = (Variable(name, values.dtype) for name in names[:2])
    ia, ib = (Variable(name, int64) for name in names[2:])
    swap = _precedes(b, ib, a, ia, ctx.node.attrs["descending"])
    return [
        Let(a.name, load(values.name, at_low, values.dtype)),
        Let(b.name, load(values.name, at_high, values.dtype)),
        Let(ia.name, load(indices.name, at_low, int64)),
        Let(ib.name, load(indices.name, at_high, int64)),
        Store(values.name, at_low, select(swap, b, a)),
        Store(values.name, at_high, select(swap, a, b)),
        Store(indices.name, at_low, select(swap, ib, ia)),
        Store(indices.name, at_high, select(swap, ia, ib)),
    ]


def _precedes(a: Expr, ia: Expr, b: Expr, ib: Expr, descending: bool) -> Expr:
    """(a, ia) comes before (b, ib) in the total order."""
    first, second = (_less(b, a), _less(a, b)) if descending else (_less(a, b), _less(b, a))
    tie = _both(Call("not", (second,), second.dtype), less(ia, ib))
    return Call("or", (first, tie), first.dtype)


def _less(a: Expr, b: Expr) -> Expr:
    """a < b, with NaN above every number."""
    smaller = call("lt", a, b)
    if not a.dtype.is_float:
        return smaller
    return Call("or", (smaller, _both(call("eq", a, a), call("ne", b, b))), smaller.dtype)


def _both(a: Expr, b: Expr) -> Expr:
    return Call("and", (a, b), a.dtype)


def _samples() -> list[Sample]:
    special = real((3, 11), seed=1)
    special[:, ::4] = np.nan
    special[1, 2:6] = np.inf
    special[2, 1:4] = -0.0
    special[2, 5:9] = 0.0
    shapes = [((7,), 0), ((3, 5), 1), ((5, 3), 0), ((2, 16, 2), 1), ((2, 1), 1), ((0, 3), 1)]
    plain = [(distinct(shape, seed=2), axis, True) for shape, axis in [*shapes, ((3, 0), 1)]]
    ties = [
        (whole((2, 19), 0, 4), 1, False),
        (whole((33,), 0, 9, int32), 0, False),
        (special, 1, False),
        (special.astype(np.float64), 1, False),
        (distinct((1, 6), dtype=float64), 1, True),
    ]
    return [
        Sample((x,), {"axis": axis, "descending": down}, differentiable=differentiable)
        for x, axis, differentiable in plain + ties
        for down in (False, True)
    ]


sort = define(
    "sort",
    infer=_infer_sort,
    meaning=_meaning_sort,
    vjp=_sort_vjp,
    nest=_nest_sort,
    samples=_samples,
)
