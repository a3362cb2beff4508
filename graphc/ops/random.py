"""Random numbers from counters: every element is a function of (key, stream, its index) alone.

So masks and noise do not change with threads, layout, fusion or recomputation. One block of
Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as
1, 2, 3, SC 2011; `graphc.loops.formulas.random_bits`) gives an element its two words of 32 bits:

    words = threefry(key, (index, stream + use))

`index` counts elements in row-major order; `use` keeps what one key is asked for apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.dtypes import DType, float32, float64, int32, int64, uint32, uint64
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir import TensorType
from graphc.loops import Expr, add, bitcast, call, cast, const, index, mul, select
from graphc.ops.define import Attrs, LoweringContext, Regions, Sample, Types, define
from graphc.ops.numerics import NumpyArray, quiet
from graphc.ops.rules import expect_count

# Streams are numbers below the first use.
FIRST_BLOCK = 0
SECOND_BLOCK = 1 << 30
FOLD = 1 << 31

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA

# Typing rules


def _expect_key(op: str, key: TensorType) -> None:
    if key != TensorType((2,), uint32):
        raise DTypeError(f"{op}: key is {key}, expected u32[2]")


def _expect_draw(op: str, types: Types, attrs: Attrs) -> TensorType:
    """The type of a tensor of random numbers (u32 where there is no `dtype`)."""
    expect_count(op, types, 1)
    _expect_key(op, types[0])
    if not 0 <= attrs["stream"] < SECOND_BLOCK:
        raise ArgumentError(f"{op}: stream is {attrs['stream']}, expected 0 to {SECOND_BLOCK - 1}")
    result = TensorType(tuple(attrs["shape"]), attrs.get("dtype", uint32))
    if result.size > 1 << 32:
        raise ShapeError(f"{op}: {result} has more than 2^32 elements")
    return result


def _infer_bits(types: Types, attrs: Attrs, regions: Regions) -> Types:
    return (_expect_draw("random_bits", types, attrs),)


def _infer_float(op: str, types: Types, attrs: Attrs) -> Types:
    result = _expect_draw(op, types, attrs)
    if result.dtype not in (float32, float64):
        raise DTypeError(f"{op}: dtype is {result.dtype}, expected float32 or float64")
    return (result,)


def _infer_uniform(types: Types, attrs: Attrs, regions: Regions) -> Types:
    return _infer_float("random_uniform", types, attrs)


def _infer_normal(types: Types, attrs: Attrs, regions: Regions) -> Types:
    return _infer_float("random_normal", types, attrs)


def _infer_fold_in(types: Types, attrs: Attrs, regions: Regions) -> Types:
    expect_count("fold_in", types, 2)
    key, number = types
    _expect_key("fold_in", key)
    if number.shape != () or number.dtype not in (uint32, int64):
        raise DTypeError(f"fold_in: number is {number}, expected u32[] or i64[]")
    return (key,)


# Meanings


def threefry(
    key: NumpyArray, counter0: NumpyArray, counter1: NumpyArray
) -> tuple[NumpyArray, NumpyArray]:
    """The two words of each block.

    key u32[2]; counter0, counter1 u32 of any shapes that broadcast.

    >>> zero = np.zeros(1, np.uint32)
    >>> [hex(int(word[0])) for word in threefry(np.zeros(2, np.uint32), zero, zero)]
    ['0x6b200159', '0x99ba4efe']
    """
    keys = (key[:1], key[1:], key[:1] ^ key[1:] ^ np.uint32(_PARITY))
    a, b = counter0 + keys[0], counter1 + keys[1]
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            a = a + b
            b = (b << np.uint32(bits) | b >> np.uint32(32 - bits)) ^ a
        a = a + keys[(group + 1) % 3]
        b = b + keys[(group + 2) % 3] + np.uint32(group + 1)
    return a, b


def _blocks(
    key: NumpyArray, shape: Sequence[int], stream: int, use: int = FIRST_BLOCK
) -> tuple[NumpyArray, NumpyArray]:
    counters = np.arange(math.prod(shape), dtype=np.uint32)
    first, second = threefry(key, counters, np.full(1, stream + use, np.uint32))
    return first.reshape(shape), second.reshape(shape)


def _meaning_bits(key: NumpyArray, shape: tuple[int, ...], stream: int) -> NumpyArray:
    return _blocks(key, shape, stream)[0]


def _fraction(words: tuple[NumpyArray, NumpyArray], dtype: DType, above: int = 0) -> NumpyArray:
    """(bits + above) 2^-n, exact, from the highest n bits: 24 of the first word, or 53 of both."""
    first, second = words
    if dtype == float32:
        return ((first >> np.uint32(8)) + np.uint32(above)).astype(np.float32) * np.float32(2**-24)
    both = first.astype(np.uint64) << np.uint64(32) | second
    return ((both >> np.uint64(11)) + np.uint64(above)).astype(np.float64) * 2.0**-53


def _meaning_uniform(
    key: NumpyArray, shape: tuple[int, ...], dtype: DType, stream: int
) -> NumpyArray:
    return _fraction(_blocks(key, shape, stream), dtype)


@quiet
def _meaning_normal(
    key: NumpyArray, shape: tuple[int, ...], dtype: DType, stream: int
) -> NumpyArray:
    """sqrt(-2 log u) cos(2 pi v), each step rounded to `dtype`.

    Box and Muller, A note on the generation of random normal deviates, 1958; u is in (0, 1].
    """
    words = _blocks(key, shape, stream)
    u = _fraction(words, dtype, above=1)
    if dtype == float32:
        v = _fraction(words[::-1], dtype)
    else:
        v = _fraction(_blocks(key, shape, stream, SECOND_BLOCK), dtype)
    logarithm = np.log(u.astype(np.float64)).astype(dtype.numpy)
    angle = v * dtype.numpy.type(2 * math.pi)
    cosine = np.cos(angle.astype(np.float64)).astype(dtype.numpy)
    return np.asarray(np.sqrt(logarithm * dtype.numpy.type(-2)) * cosine)


def _meaning_fold_in(key: NumpyArray, number: NumpyArray) -> NumpyArray:
    whole = int(number) % 2**64
    low = np.full(1, whole % 2**32, np.uint32)
    high = np.full(1, FOLD | (whole >> 32) % FOLD, np.uint32)
    return np.concatenate(threefry(key, low, high))


# Lowerings


def _words(
    ctx: LoweringContext, counter0: Expr, counter1: Expr, formulas: Sequence[str]
) -> list[Expr]:
    key = (ctx.operand(0, (index(0),)), ctx.operand(0, (index(1),)))
    return [call(formula, *key, counter0, counter1) for formula in formulas]


def _element_words(
    ctx: LoweringContext, at: tuple[Expr, ...], formulas: Sequence[str], use: int = FIRST_BLOCK
) -> list[Expr]:
    position = index(0)
    for i, extent in zip(at, ctx.node.results[0].shape, strict=True):
        position = add(mul(position, extent), i)
    stream = const(ctx.node.attrs["stream"] + use, uint32)
    return _words(ctx, cast(position, uint32), stream, formulas)


BOTH = ("random_bits", "random_bits_high")


def _lower_bits(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    return _element_words(ctx, at, BOTH[:1])[0]


def _lower_fraction(words: Sequence[Expr], dtype: DType, above: int = 0) -> Expr:
    """`_fraction`; the bits are few enough to be converted as signed, which is the faster way."""
    if dtype == float32:
        bits = bitcast(call("shr", words[0], const(8, uint32)), int32)
    else:
        first, second = (cast(word, uint64) for word in words)
        both = call("or", call("shl", first, const(32, uint64)), second)
        bits = bitcast(call("shr", both, const(11, uint64)), int64)
    if above:
        bits = call("add", bits, const(above, bits.dtype))
    scale = 2.0**-24 if dtype == float32 else 2.0**-53
    return call("mul", cast(bits, dtype), const(scale, dtype))


def _lower_uniform(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    dtype = ctx.node.result.dtype
    formulas = BOTH[:1] if dtype == float32 else BOTH
    return _lower_fraction(_element_words(ctx, at, formulas), dtype)


def _lower_normal(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    dtype = ctx.node.result.dtype
    words = _element_words(ctx, at, BOTH)
    u = _lower_fraction(words, dtype, above=1)
    if dtype == float32:
        v = _lower_fraction(words[1:], dtype)
    else:
        v = _lower_fraction(_element_words(ctx, at, BOTH, SECOND_BLOCK), dtype)
    radius = call("sqrt", call("mul", call("log", u), const(-2, dtype)))
    return call("mul", radius, call("cos", call("mul", v, const(_turn(dtype), dtype))))


def _turn(dtype: DType) -> float:
    """2 pi, rounded to the type."""
    return float(dtype.numpy.type(2 * math.pi))


def _lower_fold_in(ctx: LoweringContext, at: tuple[Expr, ...]) -> Expr:
    number = cast(ctx.operand(1, ()), uint64)
    high = cast(call("shr", number, const(32, uint64)), uint32)
    counter1 = call("or", high, const(FOLD, uint32))
    first, second = _words(ctx, cast(number, uint32), counter1, BOTH)
    return select(call("eq", at[0], index(0)), first, second)


# Samples

_KEY = np.array([0x13198A2E, 0x03707344], np.uint32)
_SHAPES = ((3, 5), (), (19,), (0, 2), (1, 4, 1))


def _draws(**attrs: Any) -> list[Sample]:
    return [
        Sample((_KEY,), {"shape": shape, "stream": stream, **attrs}, differentiable=False)
        for stream, shape in enumerate(_SHAPES)
    ]


def _float_samples() -> list[Sample]:
    return _draws(dtype=float32) + _draws(dtype=float64)


def _fold_in_samples() -> list[Sample]:
    numbers = [np.array(7, np.uint32), *(np.array(n) for n in (0, 2**40 + 3, -1))]
    return [Sample((_KEY, number), differentiable=False) for number in numbers]


random_bits = define(
    "random_bits",
    infer=_infer_bits,
    meaning=_meaning_bits,
    lower=_lower_bits,
    samples=_draws,
    max_ulp=0,
    zero_gradient=True,
)

random_uniform = define(
    "random_uniform",
    infer=_infer_uniform,
    meaning=_meaning_uniform,
    lower=_lower_uniform,
    samples=_float_samples,
    max_ulp=0,
    zero_gradient=True,
)

random_normal = define(
    "random_normal",
    infer=_infer_normal,
    meaning=_meaning_normal,
    lower=_lower_normal,
    samples=_float_samples,
    max_ulp=5,
    zero_gradient=True,
)

fold_in = define(
    "fold_in",
    infer=_infer_fold_in,
    meaning=_meaning_fold_in,
    lower=_lower_fold_in,
    samples=_fold_in_samples,
    max_ulp=0,
    zero_gradient=True,
)
