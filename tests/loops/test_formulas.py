"""The mathematical functions: errors over dense sweeps, special values to the bit."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphc import dtypes
from graphc.dtypes import DType
from graphc.errors import DTypeError
from graphc.loops import arithmetic
from graphc.loops.build import call, const
from graphc.loops.evaluate import evaluate_expr, evaluate_formula
from graphc.loops.expressions import Call, Literal, Variable, children
from graphc.loops.formulas import TABLE, expand_call, formula, is_formula

Array = NDArray[Any]
inf, nan = math.inf, math.nan


def sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


REFERENCES: dict[str, Callable[[Array], Any]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "sin": np.sin,
    "cos": np.cos,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
}
# float32: the bound that is promised; the measured maximum is lower.
BOUNDS = dict.fromkeys(REFERENCES, 2.0) | {"sigmoid": 2.5}

WIDE_LONG_DOUBLE = np.finfo(np.longdouble).nmant >= 63


def ulps(got: Array, exact: Array) -> Array:
    """|got - exact| in ulps of exact, which is in a wider type."""
    limits = np.finfo(got.dtype)
    rounded = exact.astype(got.dtype)
    exponent = np.maximum(np.frexp(exact)[1] - 1, limits.minexp)
    ulp = np.ldexp(np.ones_like(exact), exponent - limits.nmant)
    equal = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    finite = np.isfinite(got) & np.isfinite(rounded)
    error = np.abs(got.astype(exact.dtype) - exact) / ulp
    return np.asarray(np.where(finite, error, np.where(equal, 0, inf)), np.float64)


def run(name: str, *arguments: Array) -> Array:
    return evaluate_formula(formula(name, dtypes.get(arguments[0].dtype)), *arguments)


def every_exponent(stride: int) -> Array:
    """float32 of all signs and exponents, denormals, infinities and NaN among them."""
    return np.arange(0, 1 << 32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)


def dense(low: float, high: float, count: int) -> Array:
    return np.random.default_rng(7).uniform(low, high, count).astype(np.float32)


@pytest.fixture(params=["fma", "product and sum"])
def fma(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With fma, and with a product and a sum in its place."""
    if request.param != "fma":
        monkeypatch.setitem(arithmetic.OPERATIONS, "fma", lambda a, b, c: a * b + c)
    return str(request.param)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", REFERENCES)
def test_single_precision_error(name: str, fma: str) -> None:
    stride = 40_009 if name == "erf" else 10_007
    x = np.concatenate([every_exponent(stride), dense(-10, 10, 60_000), dense(-1, 1, 60_000)])
    exact = np.asarray(REFERENCES[name](x.astype(np.float64)))
    error = ulps(run(name, x), exact)
    assert error.max() <= BOUNDS[name], (x[error.argmax()], error.max())


@pytest.mark.skipif(not WIDE_LONG_DOUBLE, reason="needs a long double of 64 bits")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [name for name in REFERENCES if name != "erf"])
def test_double_precision_error(name: str, fma: str) -> None:
    random = np.random.default_rng(3)
    bits = random.integers(0, 1 << 64, 40_000, dtype=np.uint64)
    x = np.concatenate(
        [bits.view(np.float64), random.uniform(-20, 20, 20_000), random.uniform(-745, 709, 20_000)]
    )
    error = ulps(run(name, x), np.asarray(REFERENCES[name](x.astype(np.longdouble))))
    assert error.max() <= 2.5, (x[error.argmax()], error.max())


def exact_erf(x: float) -> Decimal:
    """The Maclaurin series, which needs about 2 x^2 / ln 10 digits more than it returns."""
    square, term, total, n = Decimal(x) ** 2, Decimal(x), Decimal(x), 0
    while abs(term) > Decimal(10) ** -50:
        n += 1
        term *= -square / n
        total += term / (2 * n + 1)
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494")
    return 2 * total / pi.sqrt()


def test_double_precision_erf(fma: str) -> None:
    x = np.concatenate([np.linspace(0.001, 6, 300), np.linspace(0.99, 1.01, 60)])
    got = run("erf", x)
    with decimal.localcontext(prec=80):
        for argument, result in zip(x.tolist(), got.tolist(), strict=True):
            exact = exact_erf(argument)
            assert abs(Decimal(result) - exact) < Decimal(1.2 * math.ulp(float(exact)))


@pytest.mark.skipif(not WIDE_LONG_DOUBLE, reason="needs a long double of 64 bits")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_power_error(dtype: type, fma: str) -> None:
    random = np.random.default_rng(4)
    bases = [10 ** random.uniform(-3, 3, 20_000), 1 + random.uniform(-0.1, 0.1, 20_000)]
    exponents = [random.uniform(-12, 12, 20_000), random.uniform(-800, 800, 20_000)]
    x: Array = np.concatenate(bases).astype(dtype)
    y: Array = np.concatenate(exponents).astype(dtype)
    error = ulps(run("pow", x, y), np.power(x.astype(np.longdouble), y.astype(np.longdouble)))
    assert error.max() <= 1.25


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_huge_arguments_reduce_exactly(name: str) -> None:
    """Those nearest to a multiple of pi/2 among all float32 and float64 (Muller, Elementary
    Functions, table 11.1), where a reduction short of bits shows first."""
    single = np.array([16367173 * 2.0**72, 1e5, 3.4e38], np.float32)
    single_bound = ulps(run(name, single), REFERENCES[name](single.astype(np.float64)))
    assert single_bound.max() < 1.5
    if name == "cos":
        double = run(name, np.array([6381956970095103 * 2.0**797]))
        assert abs(double[0] - -4.68716592425462761112e-19) < 1e-34
    else:
        double = run(name, np.array([1e22]))
        assert double[0] == -0.8522008497671888


# name -> (argument, result); also for float64.
SPECIAL = {
    "exp": [(-inf, 0.0), (inf, inf), (0.0, 1.0), (-0.0, 1.0), (nan, nan), (1e4, inf), (-1e4, 0.0)],
    "exp2": [(-inf, 0.0), (inf, inf), (0.0, 1.0), (10.0, 1024.0), (-126.0, 2.0**-126), (nan, nan)],
    "expm1": [(-inf, -1.0), (inf, inf), (0.0, 0.0), (-0.0, -0.0), (nan, nan), (1e-40, 1e-40)],
    "log": [(0.0, -inf), (-0.0, -inf), (1.0, 0.0), (inf, inf), (-1.0, nan), (-inf, nan),
            (nan, nan)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -inf), (-2.0, nan), (inf, inf), (-inf, nan),
              (nan, nan), (1e-40, 1e-40)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (nan, nan), (1e-40, 1e-40),
             (3e38, 1.0)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (inf, 1.0), (-inf, 0.0), (nan, nan), (3e38, 1.0)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (nan, nan), (3e38, 1.0)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (inf, nan), (-inf, nan), (nan, nan), (1e-40, 1e-40)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (inf, nan), (-inf, nan), (nan, nan), (1e-40, 1.0)],
    "rsqrt": [(0.0, inf), (-0.0, -inf), (inf, 0.0), (-1.0, nan), (nan, nan), (4.0, 0.5)],
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name: str, dtype: type) -> None:
    arguments, results = np.array(SPECIAL[name]).T.astype(dtype)
    got = run(name, arguments)
    np.testing.assert_array_equal(got, results)
    numbers = ~np.isnan(results)
    np.testing.assert_array_equal(np.signbit(got)[numbers], np.signbit(results)[numbers])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_denormal_results(dtype: type) -> None:
    """exp and sigmoid go down to the least denormal, rounded once."""
    x = np.linspace(-745, -708, 500) if dtype == np.float64 else np.linspace(-103.9, -87.4, 500)
    x = x.astype(dtype)
    exact = np.exp(x.astype(np.longdouble))
    assert ulps(run("exp", x), exact).max() <= 1.1
    assert ulps(run("sigmoid", x), exact).max() <= 1.1


def power_table() -> list[tuple[float, float, float]]:
    """C99 F.9.4.4, as Python's math.pow follows it; where Python raises, by the text."""
    values = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 4.0, -1.5, inf, -inf, nan]
    return [(x, y, expected_power(x, y)) for x in values for y in values]


def expected_power(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except ValueError:
        if x == 0:  # and y is negative
            odd = y == math.trunc(y) and y % 2 == 1
            return math.copysign(inf, x) if odd else inf
        return nan


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_power_special_values(dtype: type) -> None:
    x, y, results = np.array(power_table()).T.astype(dtype)
    got = run("pow", x, y)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(results))
    numbers = ~np.isnan(results)
    np.testing.assert_array_equal(np.signbit(got)[numbers], np.signbit(results)[numbers])
    limits = np.isinf(results) | (results == 0) | (np.abs(results) == 1)
    np.testing.assert_array_equal(got[limits], results[limits])
    np.testing.assert_allclose(got[numbers], results[numbers], rtol=float(4 * np.finfo(dtype).eps))


# Known answers of the authors' Random123 1.14, tests/kat_vectors, threefry2x32 20.
THREEFRY = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("key", "counter", "words"), THREEFRY)
def test_random_bits(
    key: tuple[int, int], counter: tuple[int, int], words: tuple[int, int]
) -> None:
    arguments = [np.array(word, np.uint32) for word in (*key, *counter)]
    assert int(run("random_bits", *arguments)) == words[0]
    assert int(run("random_bits_high", *arguments)) == words[1]


def test_formulas_use_only_primitive_operations_on_atoms() -> None:
    primitive = set(arithmetic.OPERATIONS) | set(arithmetic.CONVERSIONS)
    for name, (_, types) in TABLE.items():
        for dtype in types:
            for let in formula(name, dtype).lets:
                assert isinstance(let.value, Call) and let.value.op in primitive
                assert all(isinstance(part, Variable | Literal) for part in children(let.value))


def test_a_formula_takes_only_its_types() -> None:
    with pytest.raises(DTypeError, match="exp takes float32 or float64, not int32"):
        formula("exp", dtypes.int32)


def test_expanded_calls_compute_the_same() -> None:
    """Arguments that are expressions are bound once; names are fresh."""
    x = Variable("x", dtypes.float32)
    expression = call("tanh", call("add", x, const(0.25, dtypes.float32)))
    names = iter(f"fresh{i}" for i in range(1000))
    lets, result = expand_call(expression, lambda prefix: next(names))
    scope: dict[str, Array] = {"x": np.linspace(-2, 2, 9, dtype=np.float32)}
    for let in lets:
        scope[let.name] = evaluate_expr(let.value, scope)
    assert isinstance(result, Variable)
    expected = evaluate_expr(expression, {"x": scope["x"]})
    np.testing.assert_array_equal(scope[result.name], expected)
    assert len(lets) == len(formula("tanh", dtypes.float32).lets) + 1


def test_every_name_has_a_formula_of_each_type_it_lists() -> None:
    for name, (_, types) in TABLE.items():
        for dtype in types:
            assert isinstance(dtype, DType) and formula(name, dtype).name == name
    assert is_formula("exp") and not is_formula("add")
