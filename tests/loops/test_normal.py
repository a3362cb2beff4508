"""The normal distribution's density and integral against math.erfc, in ulp of the exact value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from graphc import dtypes
from graphc.loops.evaluate import evaluate_formula
from graphc.loops.formulas import formula
from tests.loops.test_formulas import fma, ulps

__all__ = ["fma"]

erfc = np.vectorize(math.erfc, otypes=[np.float64])


def run(name: str, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return evaluate_formula(formula(name, dtypes.get(x.dtype)), x)


def arguments(low: float, high: float) -> np.ndarray[Any, Any]:
    return np.random.default_rng(2).uniform(low, high, 100_000).astype(np.float32)


@pytest.mark.parametrize(
    ("low", "high", "bound"), [(0, 14, 2.6), (-2, 0, 5.5), (-3, -2, 10), (-12.9, -3, 1100)]
)
def test_the_integral_is_exact_near_0_and_keeps_digits_below(
    low: float, high: float, bound: float, fma: str
) -> None:
    x = arguments(low, high)
    exact = erfc(-x.astype(np.float64) / math.sqrt(2)) / 2
    assert ulps(run("normal_cdf", x), exact).max() <= bound


def test_the_density_is_as_exact_as_the_square(fma: str) -> None:
    x = arguments(-13, 13)
    wide = x.astype(np.float64)
    exact = np.exp(wide * wide * -0.5) / math.sqrt(2 * math.pi)
    assert (ulps(run("normal_density", x), exact) / (1.2 + wide * wide / 2)).max() <= 1.7


def test_double_precision() -> None:
    x = arguments(-6, 6).astype(np.float64)
    exact = erfc(-x / math.sqrt(2)) / 2
    np.testing.assert_allclose(run("normal_cdf", x), exact, rtol=0, atol=4e-16)
    density = np.exp(x * x * -0.5) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(run("normal_density", x), density, rtol=2e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype: Any) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 3e38, -3e38, 0.0, -0.0, 1e-40], dtype)
    integral = [1, 0, np.nan, 1, 0, 0.5, 0.5, 0.5]
    np.testing.assert_array_equal(run("normal_cdf", x), np.array(integral, dtype))
    peak = dtype(1 / math.sqrt(2 * math.pi))
    density = [0, 0, np.nan, 0, 0, peak, peak, peak]
    np.testing.assert_allclose(run("normal_density", x), np.array(density, dtype), rtol=1e-7)
