"""CTC loss: torch's values and gradients (bench/ctc_reference.py), every way by hand, edges."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn
from graphc.errors import ArgumentError, DTypeError, IndexFault, ShapeError

Array = np.ndarray[Any, Any]
CASES = json.loads((Path(__file__).parent / "ctc_reference.json").read_text())["cases"]


def scores(case: dict[str, Any]) -> Array:
    shape = (case["steps"], 2, 4) if isinstance(case["inputs"], list) else (case["steps"], 4)
    return np.asarray(2 * np.sin(1.3 * np.arange(int(np.prod(shape))) + 0.7)).reshape(shape)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_losses_and_gradients_are_torchs(case: dict[str, Any], reduction: str) -> None:
    x = scores(case)
    targets, inputs, counts = (np.array(case[k]) for k in ("targets", "inputs", "counts"))

    def loss(x: Any, targets: Any, inputs: Any, counts: Any) -> Any:
        options = case.get("blank", 0), reduction, case.get("zero_infinity", False)
        return F.ctc_loss(F.log_softmax(x, -1), targets, inputs, counts, *options)

    def total(*arguments: Any) -> Any:
        return F.sum(loss(*arguments))

    arrays = (x, targets, inputs, counts)
    specs = [graphc.Spec(array.shape, str(array.dtype)) for array in arrays]
    expected = np.array(case[reduction]["loss"])
    np.testing.assert_allclose(graphc.compile(loss, *specs)(*arrays), expected, rtol=1e-12)
    if np.isfinite(expected).all():
        gradient = graphc.compile(graphc.grad(total), *specs)(*arrays)
        wanted = np.array(case[reduction]["gradient"])
        np.testing.assert_allclose(gradient, wanted, rtol=1e-9, atol=1e-13)


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    """Repeats merged, then blanks removed."""
    return tuple(label for label, _ in itertools.groupby(path) if label != 0)


@pytest.mark.parametrize("labels", [(), (1,), (1, 2), (1, 1), (2, 1, 2)])
def test_the_loss_is_the_sum_of_all_ways(labels: tuple[int, ...]) -> None:
    x = scores({"steps": 5, "inputs": 5})[:, :3]
    log_probs = x - np.log(np.exp(x).sum(1, keepdims=True))
    ways = [p for p in itertools.product(range(3), repeat=5) if collapsed(p) == labels]
    total = sum(np.exp(sum(log_probs[t, label] for t, label in enumerate(p))) for p in ways)
    targets = np.array([*labels, 0])
    arrays = (log_probs[:, None], targets[None], np.array([5]), np.array([len(labels)]))
    found = nn.CTCLoss(reduction="none")(*arrays)
    np.testing.assert_allclose(found, [-np.log(total)], rtol=1e-12)


def test_gradients_are_finite_differences() -> None:
    """Of log_probs that are no softmax; a row of one step, an empty target, a row too short."""
    x = scores({"steps": 4, "inputs": [0]})
    x = np.concatenate([x, x[:, ::-1]], 1)
    targets = np.array([[1, 2], [3, 0], [0, 0], [1, 1]])
    inputs, counts = np.array([4, 1, 3, 2]), np.array([2, 1, 0, 2])

    def loss(x: Any) -> Any:
        return F.ctc_loss(x, targets, inputs, counts, reduction="sum", zero_infinity=True)

    spec = graphc.Spec(x.shape, "float64")
    value, slope = graphc.compile(loss, spec), graphc.compile(graphc.grad(loss), spec)(x)
    expected = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = 1e-6
        expected[at] = (value(x + step) - value(x - step)) / 2e-6
    np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-5)
    assert np.all(slope[:, 3] == 0) and np.all(slope[1:, 1] == 0)


def test_long_rows_neither_overflow_nor_vanish() -> None:
    """float32, 400 steps, scores far apart, and probabilities that are zero."""
    random = np.random.default_rng(0)
    x = (30 * random.normal(size=(400, 2, 6))).astype(np.float32)
    log_probs = np.asarray(x - np.logaddexp.reduce(x.astype(np.float64), axis=2, keepdims=True))
    log_probs[7, :, 5] = -np.inf
    targets = random.integers(1, 5, (2, 100))
    lengths = np.array([400, 390]), np.array([100, 60])

    def loss(x: Any) -> Any:
        return F.ctc_loss(x, targets, *lengths)

    found = {}
    for dtype in ("float32", "float64"):
        spec = graphc.Spec(x.shape, dtype)
        both = graphc.compile(graphc.value_and_grad(loss), spec)(log_probs.astype(dtype))
        assert all(np.isfinite(part).all() for part in both)
        found[dtype] = both
    np.testing.assert_allclose(found["float32"][0], found["float64"][0], rtol=1e-5)


def test_a_row_that_is_too_short() -> None:
    x = np.zeros((2, 1, 3), np.float32)
    targets, inputs, counts = np.array([[1, 1]]), np.array([2]), np.array([2])
    assert nn.CTCLoss()(x, targets, inputs, counts) == np.inf
    assert nn.CTCLoss(zero_infinity=True)(x, targets, inputs, counts) == 0
    none = nn.CTCLoss(reduction="none")
    assert none(x, targets, np.array([0]), np.array([0])).tolist() == [0]  # no step, no label


@pytest.mark.parametrize(("steps", "count"), [(3, 1), (-1, 1), (2, -1), (2, 2)])
def test_lengths_known_when_the_program_runs_are_checked_then(steps: int, count: int) -> None:
    numbers = graphc.Spec((1,), "int32")
    program = graphc.compile(
        F.ctc_loss, graphc.Spec((2, 1, 3)), graphc.Spec((1, 1), "int32"), numbers, numbers
    )
    x, label = np.full((2, 1, 3), -1.0), np.ones((1, 1), np.int32)
    assert np.isfinite(program(x, label, [2], [1]))
    with pytest.raises(IndexFault, match="an index lies outside 0 to"):
        program(x, label, [steps], [count])


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_scores_that_are_not_numbers_show(zero_infinity: bool) -> None:
    x = np.full((2, 2, 3), -1.0)
    x[1, 0] = np.nan

    def loss(x: Any) -> Any:
        ones = np.array([1, 1])
        return F.ctc_loss(x, np.array([[1], [1]]), 2 * ones, ones, 0, "none", zero_infinity)

    for found in (loss(x), graphc.compile(loss, graphc.Spec(x.shape, "float64"))(x)):
        assert np.isnan(found).tolist() == [True, False]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"reduction": "max"}, ArgumentError, "reduction is 'max'"),
        ({"blank": 4}, ArgumentError, "blank is 4, of 4 classes"),
        ({"targets": np.zeros((3, 2), int)}, ShapeError, "targets is i64[3,2], for 2 rows"),
        ({"targets": np.zeros((2, 2))}, DTypeError, "targets is f64[2,2]; expected whole"),
        ({"input_lengths": np.array([1])}, ShapeError, "has shape [1]; expected [2], one for each"),
        ({"input_lengths": [3, 4]}, ArgumentError, "sequence 1 has length 4, expected 0 to 3"),
        ({"target_lengths": [-1, 1]}, ArgumentError, "target_lengths: sequence 0 has length -1"),
        ({"target_lengths": [1, 3]}, ArgumentError, "sequence 1 has length 3, expected 0 to 2"),
        ({"target_lengths": [1.0, 1.0]}, DTypeError, "is f64[2]; expected whole numbers"),
        (
            {"targets": np.zeros(3, int), "target_lengths": [2, 2]},
            ArgumentError,
            "ends of targets: sequence 1 has length 4, expected 0 to 3",
        ),
        ({"log_probs": np.zeros(4)}, ShapeError, "expected [T, N, C] or [T, C]"),
    ],
)
def test_wrong_arguments_are_named(changes: Any, error: type[Exception], words: str) -> None:
    arguments: dict[str, Any] = {
        "log_probs": np.zeros((3, 2, 4)),
        "targets": np.zeros((2, 2), int),
        "input_lengths": np.array([3, 3]),
        "target_lengths": np.array([1, 1]),
    }
    options = {"blank": 0, "reduction": "mean"}
    given = {**arguments, **options, **changes}
    fixed = {k: given.pop(k) for k in ("blank", "reduction")}
    loss = nn.CTCLoss(**fixed)
    with pytest.raises(error) as caught:
        loss(*given.values())
    assert words in str(caught.value)
