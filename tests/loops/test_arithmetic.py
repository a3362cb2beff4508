"""Primitive operations: total, and exact to the bit."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphc import dtypes
from graphc.dtypes import DType
from graphc.errors import CompileError
from graphc.loops.arithmetic import apply

Array = NDArray[Any]
inf, nan = math.inf, math.nan


def nearest_single(exact: Fraction) -> float:
    """A rational rounded once to float32, ties to even; by comparison with both neighbours."""
    if exact == 0:
        return 0.0
    guess = np.float32(exact.numerator / exact.denominator)
    around = [np.nextafter(guess, np.float32(-inf)), guess, np.nextafter(guess, np.float32(inf))]

    def order(candidate: np.float32) -> tuple[Fraction, int]:
        return abs(Fraction(float(candidate)) - exact), int(candidate.view(np.uint32)) & 1

    return float(min(around, key=order))


def products_near_ties(count: int) -> tuple[Array, Array, Array]:
    """a * b + c whose exact value lies next to the middle between two float32: where rounding
    first to float64 and then to float32 goes wrong."""
    random = np.random.default_rng(1)
    a = random.integers(1 << 23, 1 << 24, count).astype(np.float32)
    b = np.ldexp(random.integers(1 << 23, 1 << 24, count), -80).astype(np.float32)
    c = (random.integers(1 << 23, 1 << 24, count) | 1).astype(np.float32)
    half_ulp = np.ldexp(np.float32(1), -1)
    return a, b, np.where(random.random(count) < 0.5, c, c + half_ulp).astype(np.float32)


def singles(*values: float) -> tuple[Array, Array, Array]:
    a, b, c = (np.array([value], np.float32) for value in values)
    return a, b, c


def test_single_fma_rounds_once() -> None:
    random = np.random.default_rng(0)
    a, b, c = (random.standard_normal(2000).astype(np.float32) for _ in range(3))
    near = [(a, b, c), (a, b, -(a * b)), products_near_ties(2000)]
    near.append(singles(1 + 2**-23, 2**-54, 1 + 2**-23))
    # 1 + 2^-24 + 2^-60: the middle and a little; by way of float64 the little is lost.
    near.append(singles(2**-24 + 2**-36, 1 - 2**-12, 1.0))
    for x, y, z in near:
        got = apply("fma", dtypes.float32, x, y, z)
        for i in range(x.size):
            exact = Fraction(float(x[i])) * Fraction(float(y[i])) + Fraction(float(z[i]))
            assert float(got[i]) == nearest_single(exact)


def test_double_fma_rounds_once() -> None:
    random = np.random.default_rng(0)
    for scale in (0, 500, -500, 1000, -530):
        a, b, c = (np.ldexp(random.standard_normal(300), scale) for _ in range(3))
        with np.errstate(all="ignore"):
            addends = (c, -(a * b), np.ldexp(c, -60), np.zeros(300))
        for third in addends:
            got = apply("fma", dtypes.float64, a, b, third)
            for x, y, z, result in zip(*(v.tolist() for v in (a, b, third, got)), strict=True):
                if not math.isfinite(z):
                    continue
                exact = Fraction(x) * Fraction(y) + Fraction(z)
                try:
                    expected = exact.numerator / exact.denominator
                except OverflowError:
                    expected = inf if exact > 0 else -inf
                assert result == expected


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64])
def test_fma_special_values(dtype: DType) -> None:
    number = dtype.numpy.type
    rows = [
        (-0.0, 1.0, -0.0, -0.0),
        (-0.0, 1.0, 0.0, 0.0),
        (1.0, 1.0, -1.0, 0.0),
        (inf, 0.0, 1.0, nan),
        (inf, 1.0, -inf, nan),
        (2.0, 3.0, inf, inf),
        (nan, 1.0, 1.0, nan),
    ]
    a, b, c, expected = (np.array(column, number) for column in zip(*rows, strict=True))
    got = apply("fma", dtype, a, b, c)
    np.testing.assert_array_equal(got, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got)[numbers], np.signbit(expected)[numbers])


def test_fma_that_overflows_only_on_the_way() -> None:
    big = np.array([1.5e308])
    assert apply("fma", dtypes.float64, big, np.array([2.0]), -big)[0] == 1.5e308


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (3e9, dtypes.int32, 2**31 - 1),
        (-3e9, dtypes.int32, -(2**31)),
        (2147483647.0, dtypes.int32, 2**31 - 1),
        (9.3e18, dtypes.int64, 2**63 - 1),
        (-inf, dtypes.int64, -(2**63)),
        (2.0**64, dtypes.uint64, 2**64 - 1),
        (1.9e19, dtypes.uint64, 2**64 - 1),
        (1.8e19, dtypes.uint64, 18 * 10**18),
        (-1.5, dtypes.uint32, 0),
        (-0.5, dtypes.uint8, 0),
        (255.9, dtypes.uint8, 255),
        (256.0, dtypes.uint8, 255),
        (-1.9, dtypes.int32, -1),
        (nan, dtypes.int32, 0),
        (nan, dtypes.bool_, True),
        (-0.0, dtypes.bool_, False),
    ],
)
def test_casts_from_float_saturate(value: float, dtype: DType, expected: int) -> None:
    assert apply("cast", dtype, np.float64(value)) == expected
    assert apply("cast", dtype, np.array([value, value]))[1] == expected


def test_casts_between_integers_keep_low_bits() -> None:
    assert apply("cast", dtypes.uint8, np.int64(-1)) == 255
    assert apply("cast", dtypes.int32, np.int64(2**31)) == -(2**31)
    assert apply("cast", dtypes.int64, np.uint64(2**64 - 1)) == -1


def test_integer_division_is_total() -> None:
    least = np.int32(-(2**31))
    rows = [(7, 2, 3, 1), (-7, 2, -4, 1), (7, -2, -4, -1), (5, 0, 0, 0), (least, -1, least, 0)]
    a, b, quotient, remainder = (np.array(c, np.int32) for c in zip(*rows, strict=True))
    np.testing.assert_array_equal(apply("floordiv", dtypes.int32, a, b), quotient)
    np.testing.assert_array_equal(apply("mod", dtypes.int32, a, b), remainder)
    assert apply("floordiv", dtypes.uint64, np.uint64(2**64 - 1), np.uint64(10)) == 2**64 // 10
    assert apply("mod", dtypes.uint8, np.uint8(9), np.uint8(0)) == 0


@pytest.mark.parametrize("dtype", [dtypes.uint8, dtypes.uint32, dtypes.uint64])
def test_high_product(dtype: DType) -> None:
    random = np.random.default_rng(0)
    a, b = (random.integers(0, 1 << 63, 200, dtype=np.uint64).astype(dtype.numpy) for _ in "ab")
    a[:3], b[:3] = np.iinfo(dtype.numpy).max, [np.iinfo(dtype.numpy).max, 0, 1]
    expected = [x * y >> dtype.bits for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert apply("mulhi", dtype, a, b).tolist() == expected


def test_high_product_of_signed_integers_is_that_of_their_bits() -> None:
    high = apply("mulhi", dtypes.int32, np.array([-1], np.int32), np.array([-1], np.int32))
    assert high.dtype == np.int32 and high[0] == -2


def test_shifts_take_their_count_modulo_the_width() -> None:
    one = np.int32(1)
    assert apply("shl", dtypes.int32, one, np.int32(33)) == 2
    assert apply("shr", dtypes.int32, np.int32(-8), one) == -4
    assert apply("shr", dtypes.uint32, np.uint32(2**31), np.uint32(31)) == 1
    assert apply("shl", dtypes.uint64, np.uint64(3), np.uint64(64)) == 3


def test_max_and_min_choose_by_comparison() -> None:
    a = np.array([nan, 1.0, 0.0, -0.0, 2.0], np.float32)
    b = np.array([1.0, nan, -0.0, 0.0, 3.0], np.float32)
    np.testing.assert_array_equal(apply("max", dtypes.float32, a, b), [nan, nan, 0, 0, 3])
    assert np.signbit(apply("max", dtypes.float32, a, b)).tolist()[2:4] == [True, False]
    np.testing.assert_array_equal(apply("min", dtypes.float32, a, b), [nan, nan, 0, 0, 2])


def test_bitcast_keeps_the_bits() -> None:
    assert apply("bitcast", dtypes.uint32, np.float32(1)) == 0x3F800000
    assert apply("bitcast", dtypes.float64, np.array([1 << 62], np.int64))[0] == 2.0


def test_a_formula_is_no_primitive() -> None:
    with pytest.raises(CompileError, match="no operation 'exp'"):
        apply("exp", dtypes.float32, np.float32(1))
