"""Folds: units are neutral, NaN wins, ties go to the first index."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from graphc import dtypes
from graphc.dtypes import DType
from graphc.errors import VerifyError
from graphc.loops import combine
from graphc.loops.build import cast, reduce, variable
from graphc.loops.evaluate import evaluate_expr
from graphc.loops.expressions import Axis, Item, Load, Variable
from graphc.loops.kernel import Buffer

nan, inf = math.nan, math.inf


def step(name: str, held: list[float], new: list[float], dtypes_: list[DType]) -> list[float]:
    """One step of a fold on numbers."""
    a = [Variable(f"a{k}", dtype) for k, dtype in enumerate(dtypes_)]
    x = [Variable(f"x{k}", dtype) for k, dtype in enumerate(dtypes_)]
    scope = {v.name: v.dtype.numpy.type(n) for v, n in zip(a + x, held + new, strict=True)}
    results = combine.get(name).step(tuple(a), tuple(x))
    return [evaluate_expr(result, scope).item() for result in results]


@pytest.mark.parametrize(
    ("name", "dtype", "values"),
    [
        *itertools.product(
            ["sum", "prod", "max", "min"], [dtypes.float32, dtypes.float64], [[1.5, -2.0, inf]]
        ),
        *itertools.product(["sum", "prod", "max", "min"], [dtypes.int32, dtypes.uint8], [[0, 7]]),
        *itertools.product(["any", "all"], [dtypes.bool_], [[False, True]]),
    ],
)
def test_a_unit_is_neutral(name: str, dtype: DType, values: list[float]) -> None:
    (unit,) = combine.get(name).unit(dtype)
    for value in values:
        assert step(name, [unit.value], [value], [dtype]) == [value]


def test_max_and_min_keep_nan() -> None:
    for name in ("max", "min"):
        assert math.isnan(step(name, [nan], [1.0], [dtypes.float32])[0])
        assert math.isnan(step(name, [1.0], [nan], [dtypes.float32])[0])


PAIR = [dtypes.float32, dtypes.int64]


@pytest.mark.parametrize(
    ("held", "new", "index"),
    [
        ((1.0, 3), (2.0, 4), 4),
        ((2.0, 3), (1.0, 4), 3),
        ((2.0, 3), (2.0, 4), 3),
        ((2.0, 4), (2.0, 3), 3),
        ((nan, 3), (2.0, 4), 3),
        ((2.0, 3), (nan, 4), 4),
        ((nan, 3), (nan, 4), 3),
        ((nan, 4), (nan, 3), 3),
    ],
)
def test_argmax_takes_nan_then_the_greatest_then_the_first(
    held: tuple[float, int], new: tuple[float, int], index: int
) -> None:
    assert step("argmax", list(held), list(new), PAIR)[1] == index
    mirrored = [[-pair[0], pair[1]] for pair in (held, new)]
    assert step("argmin", mirrored[0], mirrored[1], PAIR)[1] == index


def test_argmax_of_only_its_unit_value_is_the_first_index() -> None:
    buffer = Buffer("x", (4,), dtypes.float32)
    i = variable("i")
    body = (Load("x", (i,), dtypes.float32), cast(i, dtypes.int64))
    fold = reduce("argmax", [Axis("i", 4)], *body)
    array = np.full(4, -inf, np.float32)
    assert evaluate_expr(Item(fold, 1, dtypes.int64), {}, [(buffer, array)]) == 0


def test_dot_of_integers_multiplies_and_adds() -> None:
    (result,) = combine.get("dot").step(
        (Variable("a", dtypes.int32),), (Variable("x", dtypes.int32), Variable("y", dtypes.int32))
    )
    scope = {"a": np.int32(1), "x": np.int32(1 << 30), "y": np.int32(6)}
    assert evaluate_expr(result, scope) == np.int32((6 << 30) % (1 << 32) - (1 << 32) + 1)


def test_an_unknown_fold_is_an_error() -> None:
    with pytest.raises(VerifyError, match="no fold 'median'"):
        combine.get("median")
