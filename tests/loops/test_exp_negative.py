"""exp_negative: exp of what is not positive, which drops what is hardly a normal number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc import dtypes
from graphc.loops.evaluate import evaluate_formula
from graphc.loops.formulas import formula
from tests.loops.test_formulas import ulps

LOWEST = {np.float32: -86.5, np.float64: -707.5}


def run(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return evaluate_formula(formula("exp_negative", dtypes.get(x.dtype)), x)


@pytest.mark.parametrize("dtype", LOWEST)
def test_it_is_within_an_ulp_of_exp(dtype: Any) -> None:
    x = np.random.default_rng(1).uniform(LOWEST[dtype], 0, 200_000).astype(dtype)
    near = -np.logspace(-30, 0, 1000).astype(dtype)
    for given in (x, near):
        exact = np.exp(given.astype(np.longdouble))
        assert ulps(run(given), exact).max() <= 1.0


@pytest.mark.parametrize("dtype", LOWEST)
def test_special_values(dtype: Any) -> None:
    low = LOWEST[dtype]
    x = np.array([0.0, -0.0, low - 0.5, 4 * low, -np.inf, np.finfo(dtype).min, np.nan], dtype)
    np.testing.assert_array_equal(run(x), np.array([1, 1, 0, 0, 0, 0, np.nan], dtype))
