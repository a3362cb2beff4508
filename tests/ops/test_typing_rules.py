"""What typing rules refuse, and that their messages name what was given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from graphc import dtypes
from graphc.errors import ArgumentError, DTypeError, GraphcError, ShapeError
from graphc.ir import Array, TensorType, Value
from graphc.ops import make_node

NAMES = {row.short: row for row in dtypes.ALL}
LOSS = {"label_smoothing": 0.0, "reduction": "mean"}
HARD = LOSS | {"ignore_index": -100}


def value(text: str) -> Value:
    """A value of a printed type, such as f32[2,3]."""
    match = re.fullmatch(r"(\w+)\[([\d,]*)\]", text)
    assert match
    shape = tuple(int(extent) for extent in match[2].split(",") if extent)
    return Value(TensorType(shape, NAMES[match[1]]))


def build(op: str, operands: str, attrs: Mapping[str, Any]) -> tuple[str, ...]:
    node = make_node(op, [value(text) for text in operands.split()], attrs)
    return tuple(str(result.type) for result in node.results)


REFUSED: list[tuple[str, str, dict[str, Any], type[GraphcError], str]] = [
    ("add", "f32[2,3] f32[3]", {}, ShapeError, "add: operands are f32[2,3] and f32[3]"),
    ("add", "f32[2] f64[2]", {}, DTypeError, "add: operands are f32[2] and f64[2]"),
    ("add", "bool[2] bool[2]", {}, DTypeError, "add: operand is bool"),
    ("add", "f32[2]", {}, ArgumentError, "add: 1 operands were given, 2 expected"),
    ("div", "i32[2] i32[2]", {}, DTypeError, "div: operand is int32, expected one of float32"),
    ("exp", "i64[]", {}, DTypeError, "exp: operand is int64"),
    ("pow", "i64[2] i64[2]", {}, DTypeError, "pow: operand is int64"),
    ("and", "f32[2] f32[2]", {}, DTypeError, "and: operand is float32"),
    ("lt", "f32[2] i32[2]", {}, DTypeError, "lt: operands are f32[2] and i32[2]"),
    ("where", "f32[2] f32[2] f32[2]", {}, DTypeError, "the condition must be bool"),
    ("where", "bool[1] f32[2] f32[2]", {}, ShapeError, "bool[1], f32[2] and f32[2]"),
    ("where", "bool[2] f32[2] f64[2]", {}, DTypeError, "f32[2] and f64[2]"),
    ("clamp", "i32[2]", {"min": 0.5, "max": None}, ArgumentError, "clamp: min is 0.5"),
    ("clamp", "u8[2]", {"min": None, "max": 256}, ArgumentError, "clamp: max is 256"),
    ("bitcast", "f32[2]", {"dtype": dtypes.int64}, DTypeError, "bitcast: f32[2] to int64"),
    ("bitcast", "u8[2]", {"dtype": dtypes.bool_}, DTypeError, "bitcast: u8[2] to bool"),
    ("iota", "", {"shape": (2,), "axis": 1, "dtype": dtypes.int64}, ShapeError, "iota: axis 1"),
    ("broadcast", "f32[2]", {"shape": (2, 3)}, ShapeError, "broadcast: operand is f32[2]"),
    ("broadcast", "f32[2,1]", {"shape": (2,)}, ShapeError, "does not expand to (2,)"),
    ("reshape", "f32[2,3]", {"shape": (4, 2)}, ShapeError, "f32[2,3] (6 elements)"),
    ("reshape", "f32[2,3]", {"shape": (-2, -3)}, ShapeError, "shape (-2, -3)"),
    ("transpose", "f32[2,3]", {"axes": (0, 0)}, ShapeError, "axes (0, 0) are no permutation"),
    (
        "slice",
        "f32[4]",
        {"start": (1,), "stop": (5,), "step": (1,)},
        ShapeError,
        "slice: operand is f32[4], start (1,), stop (5,), step (1,)",
    ),
    (
        "slice",
        "f32[4]",
        {"start": (0, 0), "stop": (1, 1), "step": (1, 1)},
        ShapeError,
        "one start, stop and step for each axis",
    ),
    (
        "pad",
        "f32[4]",
        {"low": (-1,), "high": (0,), "interior": (0,), "value": 0},
        ArgumentError,
        "none may be negative",
    ),
    ("concat", "f32[2,3] f32[3,3]", {"axis": 1}, ShapeError, "f32[2,3] and f32[3,3]"),
    ("concat", "f32[2] i32[2]", {"axis": 0}, ShapeError, "f32[2] and i32[2]"),
    ("concat", "f32[2,2] f32[2]", {"axis": 1}, ShapeError, "f32[2,2] and f32[2]"),
    ("concat", "", {"axis": 0}, ArgumentError, "concat: no operands were given"),
    ("flip", "f32[2]", {"axes": (1,)}, ShapeError, "flip: axes (1,) of f32[2]"),
    ("sum", "f32[2,3]", {"axes": (1, 0)}, ShapeError, "sum: axes (1, 0) of f32[2,3]"),
    ("sum", "f32[2,3]", {"axes": (-1,)}, ShapeError, "sum: axes (-1,) of f32[2,3]"),
    ("sum", "bool[2]", {"axes": (0,)}, DTypeError, "sum: operand is bool"),
    ("any", "f32[2]", {"axes": (0,)}, DTypeError, "any: operand is float32"),
    ("argmax", "f32[2,0]", {"axis": 1}, ShapeError, "axis 1 of f32[2,0] has no element"),
    ("cumsum", "f32[2]", {"axis": 1, "reverse": False}, ShapeError, "cumsum: axes (1,)"),
    ("softmax", "f32[2]", {"axis": 1}, ShapeError, "softmax: axes (1,) of f32[2]"),
    ("cross_entropy", "f32[4,5] i64[5]", HARD, ShapeError, "f32[4,5] and i64[5]"),
    ("cross_entropy", "f32[4,5] f32[4]", HARD, DTypeError, "cross_entropy: target"),
    ("cross_entropy", "f32[4,5] i64[4] f32[4]", HARD, ShapeError, "weight must be f32[5]"),
    ("cross_entropy", "f32[4,5] i64[4]", HARD | {"reduction": "max"}, ArgumentError, "'max'"),
    (
        "cross_entropy",
        "f32[4,5] i64[4]",
        HARD | {"label_smoothing": 2.0},
        ArgumentError,
        "label_smoothing is 2.0",
    ),
    ("soft_cross_entropy", "f32[4,5] f32[4]", LOSS, ShapeError, "f32[4,5] and f32[4]"),
    (
        "layer_norm",
        "f32[4,5] f32[4]",
        {"axes": (1,), "eps": 1e-5, "affine": "weight"},
        ShapeError,
        "weight and bias must be f32[5]",
    ),
    (
        "layer_norm",
        "f32[4,5]",
        {"axes": (0,), "eps": 1e-5, "affine": "none"},
        ShapeError,
        "expected trailing ones",
    ),
    (
        "group_norm",
        "f32[2,5,3]",
        {"groups": 2, "eps": 1e-5, "affine": "none"},
        ArgumentError,
        "5 channels in 2 groups",
    ),
    ("batch_norm", "f32[5]", {"eps": 1e-5, "affine": "none"}, ShapeError, "expected x[N,C,...]"),
    ("batch_norm", "f32[2,5]", {"eps": 1e-5, "affine": "all"}, ArgumentError, "affine is 'all'"),
    ("batch_norm", "f32[2,5]", {"eps": 1e-5, "affine": "both"}, ArgumentError, "3 expected"),
    ("gelu", "f32[2]", {"approximate": "sigmoid"}, ArgumentError, "approximate is 'sigmoid'"),
    ("softplus", "f32[2]", {"beta": 0.0, "threshold": 20.0}, ArgumentError, "beta is 0.0"),
]


@pytest.mark.parametrize(("op", "operands", "attrs", "error", "words"), REFUSED)
def test_a_rule_refuses_and_names_what_was_given(
    op: str, operands: str, attrs: dict[str, Any], error: type[GraphcError], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)) as caught:
        build(op, operands, attrs)
    assert str(caught.value).startswith(op)


ACCEPTED: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("constant", "", {"value": Array(np.zeros((2, 0), np.float32))}, ("f32[2,0]",)),
    ("lt", "u64[2] u64[2]", {}, ("bool[2]",)),
    ("broadcast", "bool[3,1]", {"shape": (2, 3, 4)}, ("bool[2,3,4]",)),
    ("argmax", "u8[2,3]", {"axis": 0}, ("i64[3]",)),
    ("sum", "u8[2,3]", {"axes": (0, 1)}, ("u8[]",)),
    (
        "pad",
        "f32[3]",
        {"low": (1,), "high": (2,), "interior": (3,), "value": 0},
        ("f32[12]",),
    ),
    ("logsumexp", "f64[2,3,4]", {"axes": (0, 2), "keepdims": True}, ("f64[1,3,1]",)),
    ("logsumexp", "f64[2,3,4]", {"axes": (0, 2)}, ("f64[3]",)),
    ("cross_entropy", "f32[4,5,6] i32[4,6]", HARD | {"reduction": "none"}, ("f32[4,6]",)),
    ("cross_entropy", "f32[5] i64[]", HARD, ("f32[]",)),
    (
        "batch_norm",
        "f32[2,5,3]",
        {"eps": 1e-5, "affine": "none"},
        ("f32[2,5,3]", "f32[5]", "f32[5]"),
    ),
]


@pytest.mark.parametrize(("op", "operands", "attrs", "results"), ACCEPTED)
def test_a_rule_gives_the_types_of_results(
    op: str, operands: str, attrs: dict[str, Any], results: tuple[str, ...]
) -> None:
    assert build(op, operands, attrs) == results
