"""Poolings through a mask that one integer a window holds: bit t for the element under tap t.

The mask is what the backward of an average of relu keeps of the map (see conv_block.py); windows
do not overlap. [N, C, H, W], windows `kernel` at `stride`:

    window_bits2d(on) -> bits            the mask of a map of bools
    masked_unpool2d(y, bits) -> x        x[h, w] = y of the window over it where its bit is on, or 0
    masked_pool2d(x, bits) -> y          y = sum of the elements whose bits are set: the transpose
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.dtypes import DType, bool_, uint8, uint32, uint64
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir import Node, TensorType, Value
from graphc.loops import (
    Axis,
    Call,
    Expr,
    alltrue,
    call,
    cast,
    const,
    index,
    reduce,
    select,
    variable,
)
from graphc.ops.define import Attrs, Cotangents, LoweringContext, Regions, Sample, Types, define
from graphc.ops.numerics import NumpyArray, widened
from graphc.ops.pooling import Pool
from graphc.ops.rules import of_one_result
from graphc.ops.samples import real, truth
from graphc.ops.windows import make_windows

MOST_BITS = 64


def bits_type(taps: int) -> DType:
    """The type that holds one bit for each of so many taps."""
    return uint8 if taps <= 8 else uint32 if taps <= 32 else uint64


def held_type(bits: DType) -> DType:
    """The type in which bits are set and tested."""
    return uint64 if bits == uint64 else uint32


def bit_of(tap: Expr, bits: DType) -> Expr:
    """The number with the bit of a tap set, in the type that bits are held in."""
    held = held_type(bits)
    return Call("shl", (const(1, held), cast(tap, held)), held)


def _pool(op: str, sizes: Sequence[int], attrs: Attrs) -> Pool:
    options = {"stride": attrs["stride"], "padding": (0, 0)}
    pool = Pool(*make_windows(op, sizes, attrs["kernel"], options))
    if pool.high.covers > 1 or pool.wide.covers > 1:
        raise ArgumentError(
            f"{op}: windows of {attrs['kernel']} at stride {attrs['stride']} overlap"
        )
    if pool.taps_count > MOST_BITS:
        raise ArgumentError(f"{op}: {pool.taps_count} elements a window, at most {MOST_BITS}")
    return pool


def _pooled(map_type: TensorType, pool: Pool, dtype: DType) -> TensorType:
    return TensorType((*map_type.shape[:2], pool.high.output, pool.wide.output), dtype)


# Typing rules


def _infer_bits(types: Types, attrs: Attrs, regions: Regions) -> Types:
    (on,) = types
    if on.rank != 4 or on.dtype != bool_:
        raise DTypeError(f"window_bits2d: operand is {on}, expected bools of four dimensions")
    pool = _pool("window_bits2d", on.shape[2:], attrs)
    return (_pooled(on, pool, bits_type(pool.taps_count)),)


def _infer_unpool(types: Types, attrs: Attrs, regions: Regions) -> Types:
    y, bits = types
    _check_float("masked_unpool2d", y)
    result = TensorType((*y.shape[:2], *attrs["input_size"]), y.dtype)
    _check_pooled("masked_unpool2d", y, bits, result, attrs)
    return (result,)


def _infer_pool(types: Types, attrs: Attrs, regions: Regions) -> Types:
    x, bits = types
    _check_float("masked_pool2d", x)
    pool = _pool("masked_pool2d", x.shape[2:], attrs)
    result = _pooled(x, pool, x.dtype)
    _check_pooled("masked_pool2d", result, bits, x, attrs)
    return (result,)


def _check_float(op: str, x: TensorType) -> None:
    if x.rank != 4 or not x.dtype.is_float:
        raise ShapeError(f"{op}: operand is {x}, expected floats of four dimensions")


def _check_pooled(
    op: str, pooled: TensorType, bits: TensorType, unpooled: TensorType, attrs: Attrs
) -> None:
    pool = _pool(op, unpooled.shape[2:], attrs)
    expected = _pooled(unpooled, pool, bits_type(pool.taps_count))
    if bits != expected or pooled.shape != expected.shape:
        raise ShapeError(f"{op}: values are {pooled} and bits {bits}, expected bits {expected}")


# Meanings


def meaning_bits(on: NumpyArray, **attrs: Any) -> NumpyArray:
    pool = _pool("window_bits2d", on.shape[2:], attrs)
    found = np.zeros((*on.shape[:2], pool.high.output, pool.wide.output), np.uint64)
    for number, outputs, inputs in pool.taps():
        found[..., *outputs] |= on[..., *inputs].astype(np.uint64) << np.uint64(number)
    return found.astype(bits_type(pool.taps_count).numpy)


def _meaning_unpool(y: NumpyArray, bits: NumpyArray, **attrs: Any) -> NumpyArray:
    pool = _pool("masked_unpool2d", attrs["input_size"], attrs)
    x = np.zeros((*y.shape[:2], *attrs["input_size"]), y.dtype)
    for number, outputs, inputs in pool.taps():
        x[..., *inputs] = np.where(_is_set(bits[..., *outputs], number), y[..., *outputs], 0)
    return x


@widened
def _meaning_pool(x: NumpyArray, bits: NumpyArray, **attrs: Any) -> NumpyArray:
    pool = _pool("masked_pool2d", x.shape[2:], attrs)
    y = np.zeros(bits.shape, x.dtype)
    for number, outputs, inputs in pool.taps():
        y[..., *outputs] += np.where(_is_set(bits[..., *outputs], number), x[..., *inputs], 0)
    return y


def _is_set(bits: NumpyArray, number: int) -> NumpyArray:
    return np.asarray((bits.astype(np.uint64) >> np.uint64(number)) & np.uint64(1) == 1)


# Gradients


@of_one_result
def _unpool_vjp(b: Any, node: Node, t: Value) -> Cotangents:
    return b.op("masked_pool2d", t, node.operands[1], **_windows(node)), None


@of_one_result
def _pool_vjp(b: Any, node: Node, t: Value) -> Cotangents:
    size = node.operands[0].shape[2:]
    return b.op("masked_unpool2d", t, node.operands[1], input_size=size, **_windows(node)), None


def _windows(node: Node) -> dict[str, Any]:
    return {name: node.attrs[name] for name in ("kernel", "stride")}


# Lowerings


def _lower_bits(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    pool = _pool("window_bits2d", ctx.node.operands[0].shape[2:], ctx.node.attrs)
    code = ctx.node.results[0].dtype
    pixel, axes, tap = _taps(ctx, pool, at)
    on = ctx.operand(0, (*at[:2], *pixel))
    bits = select(on, bit_of(tap, code), const(0, held_type(code)))
    return cast(reduce("sum", axes, bits), code)


def _lower_unpool(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    pool = _pool("masked_unpool2d", ctx.node.attrs["input_size"], ctx.node.attrs)
    n, c, h, w = at
    oh, ow = pool.high.covering(h, index(0)), pool.wide.covering(w, index(0))
    covered = alltrue(pool.high.is_covered(h, oh), pool.wide.is_covered(w, ow))
    tap = pool.tap(pool.high.tap_of(h, oh), pool.wide.tap_of(w, ow))
    y = ctx.operand(0, (n, c, oh, ow), covered)
    bits = ctx.operand(1, (n, c, oh, ow), covered)
    return select(_bit_is_set(bits, tap), y, const(0, y.dtype))


def _lower_pool(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    pool = _pool("masked_pool2d", ctx.node.operands[0].shape[2:], ctx.node.attrs)
    pixel, axes, tap = _taps(ctx, pool, at)
    x, bits = ctx.operand(0, (*at[:2], *pixel)), ctx.operand(1, at)
    value = select(_bit_is_set(bits, tap), x, const(0, x.dtype))
    return reduce("sum", axes, value)


def _taps(
    ctx: LoweringContext, pool: Pool, at: tuple[Expr, ...]
) -> tuple[tuple[Expr, Expr], tuple[Axis, ...], Expr]:
    """The pixel under a tap of an output's window, the axes of the taps and the tap's number."""
    kh, kw = variable(ctx.fresh("kh")), variable(ctx.fresh("kw"))
    axes = (Axis(kh.name, pool.high.kernel), Axis(kw.name, pool.wide.kernel))
    pixel = (pool.high.source(at[2], kh), pool.wide.source(at[3], kw))
    return pixel, axes, pool.tap(kh, kw)


def _bit_is_set(bits: Expr, tap: Expr) -> Expr:
    held = held_type(bits.dtype)
    chosen = Call("and", (cast(bits, held), bit_of(tap, bits.dtype)), held)
    return call("ne", chosen, const(0, held))


# Samples: (shape of the map, kernel, stride)

_CASES = (
    ((2, 3, 4, 6), (2, 2), (2, 2)),
    ((1, 2, 7, 5), (3, 2), (3, 2)),
    ((1, 2, 7, 9), (3, 3), (3, 4)),
    ((1, 1, 14, 13), (6, 6), (7, 6)),
    ((0, 2, 4, 4), (2, 2), (2, 2)),
)


def _cases() -> list[tuple[tuple[int, ...], NumpyArray, dict[str, Any]]]:
    """(shape of the map, bits, attributes)."""
    found: list[tuple[tuple[int, ...], NumpyArray, dict[str, Any]]] = []
    for shape, kernel, stride in _CASES:
        attrs = {"kernel": kernel, "stride": stride}
        found.append((shape, meaning_bits(truth(shape, seed=3), **attrs), attrs))
    return found


def _bits_samples() -> list[Sample]:
    return [Sample((truth(shape, seed=3),), attrs) for shape, _, attrs in _cases()]


def _unpool_samples() -> list[Sample]:
    return [
        Sample((real(bits.shape, seed=4), bits), {**attrs, "input_size": shape[2:]})
        for shape, bits, attrs in _cases()
    ]


def _pool_samples() -> list[Sample]:
    return [Sample((real(shape, seed=5), bits), attrs) for shape, bits, attrs in _cases()]


window_bits2d = define(
    "window_bits2d",
    infer=_infer_bits,
    meaning=meaning_bits,
    lower=_lower_bits,
    samples=_bits_samples,
    reduction=True,
    zero_gradient=True,
)

masked_unpool2d = define(
    "masked_unpool2d",
    infer=_infer_unpool,
    meaning=_meaning_unpool,
    vjp=_unpool_vjp,
    lower=_lower_unpool,
    samples=_unpool_samples,
    reduction=True,
)

masked_pool2d = define(
    "masked_pool2d",
    infer=_infer_pool,
    meaning=_meaning_pool,
    vjp=_pool_vjp,
    lower=_lower_pool,
    samples=_pool_samples,
    reduction=True,
    max_ulp=8,
)
