"""Recipes of random graphs: elementwise operators, integers, views, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphc.dtypes import DType, bool_, float64, int32, int64, uint8, uint32, uint64
from graphc.ir import Value
from tests.random_graphs_maker import Maker, broadcasts, is_ranked

Recipe = Callable[[Maker], None]

_SMOOTH = ("neg", "abs", "exp", "tanh", "sigmoid", "erf", "sin", "cos", "expm1")
_POSITIVE = ("log", "sqrt", "rsqrt", "log1p")
_JUMPING = ("sign", "floor", "ceil", "round")
_COMPARING = ("lt", "le", "gt", "ge", "eq", "ne")
_INTEGERS: tuple[DType, ...] = (int32, int64, uint8, uint32, uint64)

# Elementwise


def _unary(m: Maker) -> None:
    m.builder.op(m.choose(_SMOOTH), m.pick())


def _positive(m: Maker) -> None:
    b, x = m.builder, m.pick()
    b.op(m.choose(_POSITIVE), b.shift(b.mul(x, x), 0.5))


def _jump(m: Maker) -> None:
    m.builder.op(m.choose(_JUMPING), m.pick(lambda value: value in m.exact))


def _matched(m: Maker) -> tuple[Value, Value]:
    """Two values of one shape, the second broadcast where that needs it."""
    x = m.pick()
    y = m.pick(lambda value: broadcasts(value.shape, x.shape))
    return x, m.builder.broadcast(y, x.shape)


def _binary(m: Maker) -> None:
    x, y = _matched(m)
    m.builder.op(m.choose(["add", "sub", "mul", "mul", "maximum", "minimum"]), x, y)


def _divide(m: Maker) -> None:
    b = m.builder
    x, y = _matched(m)
    b.div(x, b.shift(b.op("abs", y), 0.5))


def _power(m: Maker) -> None:
    b, x = m.builder, m.pick()
    base = b.shift(b.op("abs", x), 0.5)
    b.op("pow", base, b.like([0.5, 1.0, 1.7, 2.0][m.integer(0, 4)], x))


def _literal(m: Maker) -> None:
    b, x = m.builder, m.pick()
    number = [0.0, -0.0, 1.0, -1.0, 2.0, 0.3][m.integer(0, 6)]
    b.op(m.choose(["add", "sub", "mul"]), x, b.like(number, x))


def _select(m: Maker) -> None:
    b = m.builder
    x, y = _matched(m)
    chooser = m.pick(lambda value: value in m.exact and broadcasts(value.shape, x.shape))
    test = b.compare(m.choose(_COMPARING), chooser, b.like(0.25, chooser))
    if m.coin():
        test = b.op(m.choose(["and", "or", "xor"]), test, b.op("not", b.compare("lt", x, x)))
    b.where(b.broadcast(test, x.shape), x, y)


def _rectify(m: Maker) -> None:
    b, x = m.builder, m.pick(m.is_signed)
    if m.coin():
        b.op("relu", x)
    else:
        b.where(b.compare("gt", x, b.like(0.0, x)), x, b.like(0.0, x))


def _clamp(m: Maker) -> None:
    m.builder.op("clamp", m.pick(lambda value: value in m.exact), min=-0.5, max=0.75)


# Integers and conversions


def _mix_integers(m: Maker) -> None:
    """Total arithmetic: division by zero and wrapping included."""
    b, dtype = m.builder, _INTEGERS[m.integer(0, len(_INTEGERS))]
    n = m.pick(dtype=int32)
    other = m.pick(lambda value: value.shape == n.shape, dtype=int32)
    n, other = (value if dtype == int32 else b.cast(value, dtype) for value in (n, other))
    ops = ["add", "sub", "mul", "floordiv", "mod", "maximum", "minimum", "and", "or", "xor"]
    result = b.op(m.choose(ops), n, other)
    if m.coin() and dtype in (int32, int64):
        b.op("clamp", result, min=-100, max=100)


def _convert(m: Maker) -> None:
    """An integer to another type of integers, where it may wrap."""
    start, end = (_INTEGERS[m.integer(0, len(_INTEGERS))] for _ in range(2))
    m.builder.cast(m.pick(dtype=start), end)


def _truncate(m: Maker) -> None:
    """Floats to integers, saturating."""
    b, x = m.builder, m.pick(lambda value: value in m.exact)
    b.cast(b.scale(x, 100.0), _INTEGERS[m.integer(0, len(_INTEGERS))])


def _cast(m: Maker) -> None:
    b = m.builder
    whole = b.op("clamp", m.pick(dtype=int32), min=-100, max=100)
    b.scale(b.cast(whole, m.dtype), 0.125)


def _by_way_of_float64(m: Maker) -> None:
    b = m.builder
    wide = b.cast(m.pick(), float64)
    b.cast(b.op("tanh", b.scale(wide, 0.75)), m.dtype)


def _any_or_all(m: Maker) -> None:
    b, x = m.builder, m.pick(lambda value: is_ranked(value) and value in m.exact)
    axes = m.axes(x)
    test = b.op(m.choose(["any", "all"]), b.compare("gt", x, b.like(0.5, x)), axes=axes)
    b.add(x, b.expand(b.cast(test, m.dtype), axes, x.shape))


def _exclude(m: Maker) -> None:
    """A mask of bools, written by one node and read by another."""
    b, x = m.builder, m.pick(lambda value: value in m.exact)
    mask = b.cast(b.op(m.choose(_JUMPING), x), bool_)
    b.where(b.op("not", mask), b.op("tanh", x), x)


# Views


def _broadcast(m: Maker) -> None:
    x, like = m.pick(), m.pick(is_ranked)
    m.builder.broadcast(x, (2, *like.shape) if m.random.random() < 0.3 else like.shape)


def _reshape(m: Maker) -> None:
    x = m.pick(is_ranked)
    flat = (x.type.size,)
    split = (*x.shape[:1], 1, *x.shape[1:])
    merged = (math.prod(x.shape[:2]), *x.shape[2:])
    m.builder.reshape(x, [flat, split, merged][m.integer(0, 3)])


def _transpose(m: Maker) -> None:
    x = m.pick(is_ranked)
    m.builder.transpose(x, [int(axis) for axis in m.random.permutation(x.type.rank)])


def _slice(m: Maker) -> None:
    x = m.pick(is_ranked)
    start = tuple(m.integer(0, max(1, extent)) for extent in x.shape)
    stop = tuple(m.integer(s, e) + 1 for s, e in zip(start, x.shape, strict=True))
    step = tuple(m.integer(1, 3) for _ in x.shape)
    m.builder.op("slice", x, start=start, stop=stop, step=step)


def _pad(m: Maker) -> None:
    x = m.pick(is_ranked)
    low, high, interior = (
        tuple(m.integer(0, most) for _ in x.shape) for most in (3, 3, 2 if m.integer(0, 3) else 3)
    )
    m.builder.op("pad", x, low=low, high=high, interior=interior, value=0.0)


def _concat(m: Maker) -> None:
    x = m.pick(is_ranked)
    axis = m.axis(x)
    y = m.pick(lambda v: _without(v.shape, axis) == _without(x.shape, axis) and is_ranked(v))
    m.builder.op("concat", *(x, y, x)[: m.integer(2, 4)], axis=axis)


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], -1, *shape[axis + 1 :])


def _flip(m: Maker) -> None:
    x = m.pick(is_ranked)
    m.builder.op("flip", x, axes=m.axes(x))


# Reductions


def _reduce(m: Maker) -> None:
    b, x = m.builder, m.pick(is_ranked)
    axes = m.axes(x)
    if m.random.random() < 0.6:
        b.mean(x, axes)
    else:
        b.op(m.choose(["sum", "max", "min"]), x, axes=axes)


def _product_of(m: Maker) -> None:
    b, x = m.builder, m.pick(is_ranked)
    b.op("prod", b.op("tanh", x), axes=m.axes(x))


def _argmax(m: Maker) -> None:
    b, x = m.builder, m.pick(lambda value: is_ranked(value) and m.is_ordered(value))
    axis = m.axis(x)
    position = b.op(m.choose(["argmax", "argmin"]), x, axis=axis)
    b.op("one_hot", position, depth=x.shape[axis], dtype=m.dtype)


def _accumulate(m: Maker) -> None:
    x = m.pick(is_ranked)
    m.builder.op("cumsum", x, axis=m.axis(x), reverse=m.coin())


def _sum_of_integers(m: Maker) -> None:
    b, n = m.builder, m.pick(is_ranked, dtype=int64 if m.coin() else int32)
    b.op(m.choose(["sum", "max", "min", "prod"]), n, axes=m.axes(n))


COMMON: tuple[Recipe, ...] = (
    *(_unary, _binary, _binary, _reduce, _literal, _transpose, _reshape, _broadcast),
)
RECIPES: tuple[Recipe, ...] = (
    *(_positive, _jump, _divide, _power, _select, _rectify, _clamp),
    *(_mix_integers, _convert, _truncate, _cast, _by_way_of_float64, _any_or_all, _exclude),
    *(_slice, _pad, _concat, _flip),
    *(_argmax, _accumulate, _product_of, _sum_of_integers),
)
