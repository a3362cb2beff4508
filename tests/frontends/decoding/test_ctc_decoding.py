"""Decoding of CTC scores beside all alignments by hand."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from graphc.decoding import ctc_beam_search, ctc_greedy
from graphc.errors import ArgumentError, ShapeError

Array = np.ndarray[Any, Any]


def scores(seed: int, steps: int, rows: int = 1, classes: int = 3) -> Array:
    x = 2 * np.random.default_rng(seed).normal(size=(steps, rows, classes))
    return np.asarray(x - np.logaddexp.reduce(x, axis=2, keepdims=True))


def collapsed(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def all_ways(log_probs: Array, blank: int) -> dict[tuple[int, ...], float]:
    """The probability of each labelling of log_probs[T, C]."""
    steps, classes = log_probs.shape
    found: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(classes), repeat=steps):
        probability = np.exp(sum(log_probs[t, label] for t, label in enumerate(path)))
        found[collapsed(path, blank)] += float(probability)
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("blank", [0, 2])
def test_a_wide_beam_finds_the_most_likely_labels(seed: int, blank: int) -> None:
    log_probs = scores(seed, 6)
    ways = all_ways(log_probs[:, 0], blank)
    ((labels, likelihood),) = ctc_beam_search(log_probs, blank=blank, width=1000)
    best = max(ways.values())
    assert ways[tuple(labels)] == pytest.approx(best, rel=1e-12)
    assert likelihood == pytest.approx(np.log(best), rel=1e-12)


def test_a_narrow_beam_finds_less_but_no_more() -> None:
    log_probs = scores(1, 12, classes=5)
    ((_, wide),) = ctc_beam_search(log_probs, width=200)
    ((_, narrow),) = ctc_beam_search(log_probs, width=2)
    assert narrow <= wide < 0


def test_the_best_path_is_not_always_the_best_labelling() -> None:
    """Graves, 2012, figure 7.3: two steps of blank win alone, all ways to say 1 win together."""
    log_probs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))[:, None]
    assert ctc_greedy(log_probs) == [[]]
    ((labels, likelihood),) = ctc_beam_search(log_probs)
    assert labels == [1] and likelihood == pytest.approx(np.log(0.64))


def test_rows_end_where_their_lengths_say() -> None:
    path = np.array([[1, 2], [1, 0], [0, 2], [1, 2]])
    log_probs = np.log(np.eye(3)[path] * 0.9 + 0.1 / 3)
    assert ctc_greedy(log_probs) == [[1, 1], [2, 2]]
    assert ctc_greedy(log_probs, np.array([3, 2])) == [[1], [2]]
    assert ctc_greedy(log_probs, np.array([0, 1])) == [[], [2]]
    assert [labels for labels, _ in ctc_beam_search(log_probs, np.array([3, 0]))] == [[1], []]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.zeros((3, 2)),), ShapeError, r"\[3, 2\]; expected \[T, N, C\]"),
        ((np.zeros((3, 2, 4)), np.array([1])), ShapeError, r"expected \[2\]"),
        ((np.zeros((3, 2, 4)), [3, -1]), ArgumentError, r"lengths are \[3, -1\]; .* 0 to 3"),
        ((np.zeros((3, 2, 4)), [4, 1]), ArgumentError, r"lengths are \[4, 1\]"),
        ((np.zeros((3, 2, 4)), [1.5, 1]), ArgumentError, "expected whole numbers"),
        ((np.zeros((3, 2, 4)), None, 4), ArgumentError, "blank is 4, of 4 classes"),
        ((np.zeros((3, 2, 4)), None, 0, 0), ArgumentError, "width is 0"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ctc_beam_search(*arguments)
