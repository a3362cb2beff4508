"""Arguments that the generated tests run operators on: fixed seeds, shapes of every kind, edges.

Samples come as float32 where the operator takes floats; the gradient check widens them to
float64. Values that a derivative is checked at keep away from kinks and ties: `real` leaves a
gap around given points, `distinct` leaves one between any two elements.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from graphc.dtypes import ALL, DType, bool_, float32, float64, int64
from graphc.ir import Attribute
from graphc.ops.define import Sample
from graphc.ops.numerics import NumpyArray

Shape = tuple[int, ...]
Samples = Callable[[], Sequence[Sample]]

FLOATS = (float32, float64)
INTEGERS = tuple(dtype for dtype in ALL if dtype.is_integer)
NUMBERS = FLOATS + INTEGERS
LOGICAL = (*INTEGERS, bool_)

# Rank 0, size 1, vector tails, several dimensions, and none at all.
SHAPES: tuple[Shape, ...] = ((2, 3), (), (1,), (19,), (1, 4, 1), (0, 3))


def generator(*key: object) -> np.random.Generator:
    """Random numbers that depend on `key` only."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def real(
    shape: Shape,
    low: float = -2.0,
    high: float = 2.0,
    dtype: DType = float32,
    seed: int = 0,
    avoid: Iterable[float] = (),
    gap: float = 0.05,
) -> NumpyArray:
    """Uniform floats in [low, high), none closer than `gap` to a point of `avoid`."""
    values = generator("real", shape, low, high, seed).uniform(low, high, shape)
    for point in avoid:
        side = np.where(values < point, -gap, gap)
        values = np.where(np.abs(values - point) < gap, point + side, values)
    return np.asarray(values, dtype.numpy)


def distinct(
    shape: Shape, low: float = -2.0, high: float = 2.0, dtype: DType = float32, seed: int = 0
) -> NumpyArray:
    """Floats in [low, high) in random order, evenly spaced, so that any two differ."""
    size = int(np.prod(shape))
    steps = generator("distinct", shape, seed).permutation(size) + 0.37
    values = low + (high - low) * steps / max(size, 1)
    return np.asarray(values.reshape(shape), dtype.numpy)


def whole(
    shape: Shape, low: int = -9, high: int = 9, dtype: DType = int64, seed: int = 0
) -> NumpyArray:
    """Integers in [low, high); an unsigned type takes their low bits."""
    values = generator("whole", shape, low, high, seed).integers(low, high, shape)
    return np.asarray(values).astype(dtype.numpy)


def truth(shape: Shape, seed: int = 0) -> NumpyArray:
    """Random bools."""
    return np.asarray(generator("truth", shape, seed).integers(0, 2, shape) == 1)


def values(
    shape: Shape,
    dtype: DType,
    low: float = -9.0,
    high: float = 9.0,
    seed: int = 0,
    avoid: Iterable[float] = (),
) -> NumpyArray:
    """Random elements of any type."""
    if dtype.is_float:
        return real(shape, low, high, dtype, seed, avoid)
    return truth(shape, seed) if dtype == bool_ else whole(shape, int(low), int(high), dtype, seed)


def edges(dtype: DType) -> NumpyArray:
    """Values [n] where an operation may go wrong: NaN, infinities, -0, extremes."""
    if dtype == bool_:
        return np.array([False, True])
    if dtype.is_float:
        limits = np.finfo(dtype.numpy)
        small = [0.0, float(limits.smallest_subnormal), float(limits.tiny), 0.5, 1.0, 1.5, 2.5]
        large = [3.0, float(limits.max), np.inf]
        return np.array([s * v for v in small + large for s in (1, -1)] + [np.nan], dtype.numpy)
    bounds = np.iinfo(dtype.numpy)
    chosen = {0, 1, 2, 7, bounds.max, bounds.max - 1, bounds.min, bounds.min + 1, bounds.max // 2}
    if dtype.is_signed:
        chosen |= {-1, -2, -7}
    return np.array(sorted(chosen), dtype.numpy)


def edge_pairs(dtype: DType) -> tuple[NumpyArray, NumpyArray]:
    """Every pair of edge values, as two arrays [n, n]."""
    a, b = np.meshgrid(edges(dtype), edges(dtype), indexing="ij")
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


def unary(
    low: float = -2.0,
    high: float = 2.0,
    dtypes: Sequence[DType] = FLOATS,
    avoid: Iterable[float] = (),
    attrs: Mapping[str, Attribute] | None = None,
    differentiable: bool = True,
) -> Samples:
    """Samples of an operator of one operand: every shape, every type, edge values."""

    def make() -> list[Sample]:
        first = dtypes[0]
        plain = [(values(s, first, low, high, 1, avoid), first) for s in SHAPES]
        plain += [(values((7,), dtype, low, high, 2, avoid), dtype) for dtype in dtypes[1:]]
        found = [Sample((x,), attrs or {}, (), differentiable and d.is_float) for x, d in plain]
        return found + [Sample((edges(d),), attrs or {}, (), False) for d in dtypes]

    return make


def binary(
    low: float = -2.0,
    high: float = 2.0,
    dtypes: Sequence[DType] = NUMBERS,
    avoid_second: Iterable[float] = (),
    differentiable: bool = True,
) -> Samples:
    """Samples of an operator of two operands of one type: shapes, types, pairs of edges."""

    def make() -> list[Sample]:
        found = [_pair(s, dtypes[0], low, high, avoid_second, differentiable) for s in SHAPES]
        for dtype in dtypes[1:]:
            found.append(_pair((7,), dtype, low, high, avoid_second, differentiable))
        return found + [Sample(edge_pairs(dtype), {}, (), False) for dtype in dtypes]

    return make


def _pair(
    shape: Shape, dtype: DType, low: float, high: float, avoid: Iterable[float], smooth: bool
) -> Sample:
    a = values(shape, dtype, low, high, 3)
    b = values(shape, dtype, low, high, 4, avoid)
    return Sample((a, b), {}, (), smooth and dtype.is_float)


def shape_samples(*cases: tuple[tuple[int, ...], Mapping[str, Attribute]]) -> Samples:
    """Samples of (operand's shape, attributes), and the first of them with every type."""

    def make() -> Sequence[Sample]:
        found = [Sample((values(shape, float32, seed=7),), attrs) for shape, attrs in cases]
        shape, attrs = cases[0]
        others = [values(shape, dtype, seed=8) for dtype in ALL[1:]]
        return found + [Sample((x,), attrs, (), x.dtype == np.float64) for x in others]

    return make
