"""The sorting network against NumPy's stable sort, for rows of every length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from single_operator import meaning_of, run_naive

from graphc import dtypes
from graphc.errors import DTypeError, ShapeError
from graphc.ir import TensorType, Value
from graphc.ops import make_node
from graphc.ops.define import Sample


def sort(values: Any, descending: bool = False) -> Sample:
    return Sample((values,), {"axis": 0, "descending": descending})


@pytest.mark.parametrize("length", [*range(18), 31, 32, 33, 63, 65, 100])
def test_rows_of_every_length(length: int) -> None:
    values = np.random.default_rng(length).integers(0, 8, length)
    found, indices = run_naive("sort", sort(values))
    expected = np.argsort(values, kind="stable")
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(found, values[expected])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan]), max_size=20),
    st.booleans(),
)
def test_special_values_in_any_order(values: list[float], descending: bool) -> None:
    sample = sort(np.array(values, np.float32), descending)
    for got, want in zip(run_naive("sort", sample), meaning_of("sort", sample), strict=True):
        np.testing.assert_array_equal(got, want)


def test_nan_is_the_greatest_and_equals_keep_their_order() -> None:
    values = np.array([np.nan, 1, 2, 1, np.nan], np.float32)
    _, ascending = meaning_of("sort", sort(values))
    _, descending = meaning_of("sort", sort(values, descending=True))
    assert ascending.tolist() == [1, 3, 2, 0, 4]
    assert descending.tolist() == [0, 4, 2, 1, 3]


def test_operands_that_do_not_fit() -> None:
    attrs = {"axis": 0, "descending": False}
    with pytest.raises(DTypeError, match="sort: operand is bool"):
        make_node("sort", [Value(TensorType((3,), dtypes.bool_))], attrs)
    with pytest.raises(ShapeError, match=r"sort: axis 0 of f32\[\]"):
        make_node("sort", [Value(TensorType((), dtypes.float32))], attrs)
