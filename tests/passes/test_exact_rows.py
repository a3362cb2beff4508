"""Every row of the arithmetic tables is exact: on NaN, infinities, both zeros and denormals too.

A graph is made from a row's own pattern, evaluated before and after the rewrite, and compared bit
for bit, the payload and sign of a NaN apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from graphc import dtypes
from graphc.dtypes import DType
from graphc.errors import GraphcError
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate
from graphc.passes.arithmetic_rules import ARITHMETIC, CASTS, LOGIC, SELECTION
from graphc.passes.patterns import Any, Apply, Literal, Pattern, Row, rules_of
from graphc.passes.rewrite import rewrite

ROWS = (*ARITHMETIC, *LOGIC, *SELECTION)
TYPES = (dtypes.float32, dtypes.float64, dtypes.int32, dtypes.uint8, dtypes.bool_)

_FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 3.0, 1e-40, -1e-40, 1e38, np.inf, -np.inf, np.nan]
_WHOLE = [0, 1, 2, 3, 7, 100, 255, -1, -2, 2**31 - 1, -(2**31)]


def edge_values(dtype: DType) -> np.ndarray:  # type: ignore[type-arg]
    if dtype.is_float:
        return np.array(_FLOATS, dtype.numpy)
    if dtype.kind == "bool":
        return np.array([False, True])
    return np.array(_WHOLE).astype(dtype.numpy)


class Writer:
    """Writes the graph that a pattern describes, over inputs that take all pairs of values."""

    def __init__(self, dtype: DType, number: float) -> None:
        self.builder = Builder(("row.py:1",))
        self.dtype = dtype
        self.number = number  # of a literal that may be any
        self.count = len(edge_values(dtype)) ** 2
        self.inputs: dict[str, Value] = {}

    def write(self, pattern: Pattern, dtype: DType) -> Value:
        match pattern:
            case Any(name):
                if name not in self.inputs:
                    self.inputs[name] = Value(TensorType((self.count,), dtype), name)
                return self.inputs[name]
            case Literal(number, _):
                chosen = self.number if number is None else number
                return self.builder.constant(chosen, dtype, (self.count,))
            case Apply(op, operands, _):
                kinds = [dtypes.bool_ if op == "where" and i == 0 else dtype for i in range(3)]
                values = [self.write(p, k) for p, k in zip(operands, kinds, strict=False)]
                return self.builder.op(op, *values)
        raise AssertionError(pattern)

    def arrays(self) -> list[np.ndarray]:  # type: ignore[type-arg]
        pairs = np.array(list(itertools.product(edge_values(self.dtype), repeat=2)))
        columns = itertools.cycle(pairs.T.astype(self.dtype.numpy))
        return [
            next(columns).astype(value.dtype.numpy, copy=False) for value in self.inputs.values()
        ]


def graph_of(row: Row, dtype: DType, number: float) -> tuple[Graph, Sequence[object]] | None:
    """The row's pattern over edge values; None where its operators do not take the type."""
    writer = Writer(dtype, number)
    try:
        result = writer.write(row.pattern, dtype)
    except (GraphcError, OverflowError):  # no such operator, or no such number, of this type
        return None
    inputs = tuple(writer.inputs.values())
    return Graph("row", inputs, tuple(writer.builder.nodes), (result,)), writer.arrays()


def assert_same_bits(new: np.ndarray, old: np.ndarray) -> None:  # type: ignore[type-arg]
    np.testing.assert_array_equal(new, old)
    if old.dtype.kind == "f":
        known = ~np.isnan(old)
        np.testing.assert_array_equal(np.signbit(new)[known], np.signbit(old)[known])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.pattern.op}: {row.reason}")
def test_exact(row: Row) -> None:
    fired = 0
    for dtype, number in itertools.product(TYPES, (2.0, 0.25, 3.0)):
        made = graph_of(row, dtype, number)
        if made is None:
            continue
        graph, arrays = made
        after = rewrite(graph, rules_of((row,)))
        fired += after.outputs != graph.outputs
        assert_same_bits(evaluate(after, arrays)[0][0], evaluate(graph, arrays)[0][0])
    assert fired


@pytest.mark.parametrize("first", dtypes.ALL, ids=str)
def test_casts_through_every_type(first: DType) -> None:
    """first -> middle -> last, of all element types: skipped only where nothing changes."""
    x = Value(TensorType((len(edge_values(first)),), first), "x")
    for middle, last in itertools.product(dtypes.ALL, repeat=2):
        b = Builder()
        result = b.op("cast", b.op("cast", x, dtype=middle), dtype=last)
        graph = Graph("casts", (x,), tuple(b.nodes), (result,))
        after = rewrite(graph, rules_of(CASTS))
        array = (edge_values(first),)
        assert_same_bits(evaluate(after, array)[0][0], evaluate(graph, array)[0][0])
