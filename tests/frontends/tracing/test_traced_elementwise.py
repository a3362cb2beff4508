"""Elementwise functions and operators against NumPy; types as torch promotes them."""

import operator

import numpy as np
import pytest
from traced import check, normal, run_traced

import graphc
import graphc.functional as F
from graphc import dtypes
from graphc.errors import ArgumentError, DTypeError, ShapeError

UNARY = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "sin": np.sin, "cos": np.cos,
    "tan": np.tan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "abs": np.abs,
    "negative": np.negative, "sign": np.sign, "floor": np.floor, "ceil": np.ceil,
    "trunc": np.trunc, "round": np.rint, "square": np.square, "reciprocal": np.reciprocal,
    "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite,
}  # fmt: skip
POSITIVE = {"log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "sqrt": np.sqrt}
BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
    "floor_divide": np.floor_divide, "mod": np.mod, "maximum": np.maximum,
    "minimum": np.minimum, "logaddexp": np.logaddexp, "less": np.less,
    "less_equal": np.less_equal, "greater": np.greater, "greater_equal": np.greater_equal,
    "equal": np.equal, "not_equal": np.not_equal, "logical_and": np.logical_and,
    "logical_or": np.logical_or, "logical_xor": np.logical_xor,
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_unary_as_numpy(name):
    x = normal(3, 4) * 3
    check(getattr(F, name), UNARY[name](x), x)


@pytest.mark.parametrize("name", POSITIVE)
def test_unary_of_positive_numbers_as_numpy(name):
    x = np.abs(normal(3, 4)) + np.float32(0.1)
    check(getattr(F, name), POSITIVE[name](x), x)


@pytest.mark.parametrize("name", BINARY)
def test_binary_broadcasts_as_numpy(name):
    x, y = normal(3, 1, 4), normal(2, 1, seed=1)
    check(getattr(F, name), BINARY[name](x, y), x, y)


def test_erf_and_rsqrt():
    check(F.erf, np.float32([0.8427008, -0.8427008, 0]), np.float32([1, -1, 0]))
    check(F.rsqrt, np.float32([0.5, 2]), np.float32([4, 0.25]))


def test_logaddexp_of_infinities():
    x, y = np.float32([-np.inf, np.inf, 3]), np.float32([-np.inf, np.inf, -np.inf])
    check(F.logaddexp, np.logaddexp(x, y), x, y)


OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne,
]  # fmt: skip


@pytest.mark.parametrize("apply", OPERATORS)
def test_python_operators_with_numbers_on_either_side(apply):
    x = np.abs(normal(5)) + np.float32(0.5)
    assert np.array_equal(run_traced(lambda t: apply(t, 2), x), apply(x, np.float32(2)))
    assert np.array_equal(run_traced(lambda t: apply(2.5, t), x), apply(np.float32(2.5), x))


def test_arrays_on_the_left_give_tensors():
    x = normal(3)
    found = run_traced(lambda t: np.float32([1, 2, 3]) * t + np.float32([1, 1, 1]), x)
    np.testing.assert_allclose(found, np.float32([1, 2, 3]) * x + 1, rtol=1e-6)


def test_numpy_functions_of_one_element_are_taken_over():
    x = normal(3)
    np.testing.assert_allclose(run_traced(lambda t: np.exp(t), x), np.exp(x), rtol=1e-6)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 0.5, -1, 1.5, 4, 2.0])
def test_powers(exponent):
    x = np.abs(normal(4)) + np.float32(0.5)
    check(lambda t: t**exponent, x ** np.float32(exponent), x)


def test_power_of_integers_stays_whole():
    check(lambda t: t**2, np.int32([1, 4, 9]), np.int32([-1, 2, 3]))
    check(lambda t: t**3, np.int32([-1, 8, 27]), np.int32([-1, 2, 3]))
    check(lambda t: t**0, np.int32([1, 1, 1]), np.int32([-1, 0, 3]))
    check(lambda t: t**13, np.int64([-1, 8192, 1594323]), np.int64([-1, 2, 3]))
    check(lambda t: 2**t, np.int64([1, 2, 1024]), np.int64([0, 1, 10]))
    with pytest.raises(ArgumentError, match="is no integer"):
        F.power(np.int32([2]), -1)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "uint64"])
def test_powers_of_integers_wrap_as_numpys(dtype):
    x, y = np.array([0, 0, 1, 2, 3, 7, 10], dtype), np.array([0, 3, 200, 7, 81, 23, 3], dtype)
    check(lambda a, b: a**b, x**y, x, y)


def test_a_negative_power_of_an_integer_is_whole():
    x, y = np.int64([-1, -1, 1, 2, 0, -3]), np.int64([-3, -2, -5, -1, -1, 3])
    check(lambda a, b: a**b, np.int64([-1, 1, 1, 0, 0, -27]), x, y)


def test_integer_division_by_zero_is_zero():
    x, zero = np.int32([7, -7]), np.int32([0, 2])
    check(lambda a, b: a // b, np.int32([0, -4]), x, zero)
    check(lambda a, b: a % b, np.int32([0, 1]), x, zero)


@pytest.mark.parametrize(
    "low, high", [(-0.5, 0.5), (None, 0.25), (0.25, None), (-1, 1), (None, None)]
)
def test_clip(low, high):
    x = normal(6)
    expected = x if low is None and high is None else np.clip(x, low, high)
    check(lambda t: F.clip(t, low, high), expected, x)


def test_clip_by_tensors_and_of_integers():
    x, low = normal(6), np.zeros(6, np.float32)
    check(lambda t, m: F.clip(t, m, 1.0), np.clip(x, low, 1), x, low)
    check(lambda t: F.clip(t, 0, 5), np.int32([0, 5, 3]), np.int32([-1, 9, 3]))


def test_where_broadcasts_and_promotes():
    condition, x = np.array([[True], [False]]), normal(3)
    check(lambda c, t: F.where(c, t, 0), np.where(condition, x, np.float32(0)), condition, x)


def test_bits_and_logic():
    a, b = np.uint8([12, 10]), np.uint8([10, 3])
    check(lambda x, y: (x & y) ^ (x | y), (a & b) ^ (a | b), a, b)
    check(lambda x: ~x, ~a, a)
    check(lambda x: ~(x > 10), ~(a > 10), a)


def test_casts_saturate_and_nan_is_zero():
    x = np.float32([1e20, -1e20, np.nan, -1.9])
    check(lambda t: t.astype("int32"), np.int32([2**31 - 1, -(2**31), 0, -1]), x)


# Types


PROMOTIONS = [
    ("float32", "float64", "float64"), ("float32", "int64", "float32"),
    ("int32", "int64", "int64"), ("uint8", "int32", "int32"), ("bool", "uint8", "uint8"),
    ("bool", "float32", "float32"), ("int64", "float64", "float64"),
]  # fmt: skip


@pytest.mark.parametrize("first, second, expected", PROMOTIONS)
def test_arrays_promote_as_in_torch(first, second, expected):
    graph = graphc.trace(F.add, graphc.Spec((2,), first), graphc.Spec((2,), second))
    assert graph.outputs[0].dtype == dtypes.get(expected)


WEAK = [
    ("float32", 2, "float32"), ("float32", 2.5, "float32"), ("int32", 2, "int32"),
    ("int32", 2.5, "float32"), ("int64", True, "int64"), ("uint8", 3, "uint8"),
    ("bool", 2, "int64"), ("bool", 2.5, "float32"), ("float64", 2.5, "float64"),
    ("float32", np.float64(2.5), "float32"), ("int32", np.int64(2), "int32"),
]  # fmt: skip


@pytest.mark.parametrize("dtype, number, expected", WEAK)
def test_numbers_are_weak(dtype, number, expected):
    graph = graphc.trace(lambda x: x + number, graphc.Spec((2,), dtype))
    assert graph.outputs[0].dtype == dtypes.get(expected)


def test_fractional_functions_and_division_of_integers_give_float32():
    spec = graphc.Spec((2,), "int64")
    for function in (F.exp, F.sqrt, lambda x: x / 2, lambda x: x / x, F.mean):
        assert graphc.trace(function, spec).outputs[0].dtype == dtypes.float32


def test_unsigned_with_signed_is_an_error_that_names_the_line():
    with pytest.raises(DTypeError, match=r"uint32 and int32.*\(test_traced_elementwise.py:\d+\)"):
        graphc.trace(F.add, graphc.Spec((2,), "uint32"), graphc.Spec((2,), "int32"))


def test_a_number_out_of_range_is_an_error():
    with pytest.raises(ArgumentError, match="300 is no uint8 number"):
        graphc.trace(lambda x: x + 300, graphc.Spec((2,), "uint8"))


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ShapeError, match=r"add: shapes \[2\] and \[3\] do not broadcast"):
        graphc.trace(F.add, graphc.Spec((2,)), graphc.Spec((3,)))


def test_arithmetic_of_bools():
    a, b = np.array([True, True, False]), np.array([True, False, False])
    check(lambda x, y: x + y, a | b, a, b)
    check(lambda x, y: x * y, a & b, a, b)
    with pytest.raises(DTypeError, match="sub: operands are bools"):
        graphc.trace(lambda x: x - x, graphc.Spec((2,), "bool"))
