"""From the scores of a CTC model to labels.

ctc_greedy        the best label of each step, repeats merged, blanks dropped
ctc_beam_search   the most likely labels over all alignments, by prefix beam search
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np

from graphc.errors import ArgumentError, ShapeError

Array = np.ndarray[Any, Any]
Labels: TypeAlias = "list[int]"
_NEVER = -math.inf


def ctc_greedy(log_probs: Any, lengths: Any = None, blank: int = 0) -> list[Labels]:
    """The labels of log_probs[T, N, C], a list for each row; `lengths` [N] says which steps count.

    Raises ShapeError for other shapes, ArgumentError for lengths beyond T or a blank beyond C.

    >>> scores = np.log(np.array([[.1, .9], [.1, .9], [.8, .2], [.3, .7]]))
    >>> ctc_greedy(scores[:, None])
    [[1, 1]]
    """
    rows = _rows(log_probs, lengths, blank)
    return [[int(k) for k, _ in groupby(row.argmax(1)) if k != blank] for row in rows]


def ctc_beam_search(
    log_probs: Any, lengths: Any = None, blank: int = 0, width: int = 16
) -> list[tuple[Labels, float]]:
    """The most likely labels of each row and the logarithm of their probability.

    Of log_probs[T, N, C]. After each step the `width` likeliest prefixes are kept; the probability
    is that of the alignments that were kept, so at most the true one.

    Graves, 2012, chapter 7; Hannun et al., 2014, without a language model.

    Blank alone is the likeliest way, but all ways to say 1 together are likelier:

    >>> scores = np.log(np.array([[.6, .4], [.6, .4]]))
    >>> [(labels, score)] = ctc_beam_search(scores[:, None])
    >>> labels, round(float(np.exp(score)), 2)
    ([1], 0.64)
    """
    if width < 1:
        raise ArgumentError(f"ctc_beam_search: width is {width}; expected at least 1")
    rows = _rows(log_probs, lengths, blank)
    return [_beam(row.astype(np.float64), blank, width) for row in rows]


def _rows(log_probs: Any, lengths: Any, blank: int) -> Iterator[Array]:
    """The scores [T, C] of each row, the steps that count. Raises as `ctc_greedy` says."""
    scores = np.asarray(log_probs)
    if scores.ndim != 3:
        raise ShapeError(f"log_probs has shape {list(scores.shape)}; expected [T, N, C]")
    steps, rows, classes = scores.shape
    if not 0 <= blank < classes:
        raise ArgumentError(f"blank is {blank}, of {classes} classes")
    counts = np.full(rows, steps) if lengths is None else np.asarray(lengths)
    if counts.shape != (rows,):
        raise ShapeError(f"lengths has shape {list(counts.shape)}; expected [{rows}]")
    if counts.dtype.kind not in "iu" or (rows and not 0 <= counts.min() <= counts.max() <= steps):
        raise ArgumentError(f"lengths are {counts.tolist()}; expected whole numbers, 0 to {steps}")
    return (scores[:count, row] for row, count in enumerate(counts))


class _Ends:
    """Logarithms of the probability that a prefix's alignments end in a blank, or in its label."""

    def __init__(self) -> None:
        self.blank = self.label = _NEVER

    @property
    def total(self) -> float:
        return float(np.logaddexp(self.blank, self.label))


Prefix = tuple[int, ...]


def _beam(scores: Array, blank: int, width: int) -> tuple[Labels, float]:
    start = _Ends()
    start.blank = 0.0
    beam: dict[Prefix, _Ends] = {(): start}
    for row in scores:
        grown: defaultdict[Prefix, _Ends] = defaultdict(_Ends)
        for prefix, ends in beam.items():
            _extend(grown, prefix, ends, row, blank)
        # Equally likely prefixes in the order of their labels: no result depends on chance.
        best = sorted(grown.items(), key=lambda item: (-item[1].total, item[0]))
        beam = dict(best[:width])
    prefix, ends = min(beam.items(), key=lambda item: (-item[1].total, item[0]))
    return list(prefix), ends.total


def _extend(
    grown: defaultdict[Prefix, _Ends], prefix: Prefix, ends: _Ends, row: Array, blank: int
) -> None:
    """The prefix by one more step: a blank, its last label again, or another label."""
    last = prefix[-1] if prefix else None
    stays = grown[prefix]
    stays.blank = np.logaddexp(stays.blank, ends.total + row[blank])
    if last is not None:
        stays.label = np.logaddexp(stays.label, ends.label + row[last])
    for label, score in enumerate(row):
        if label != blank:
            longer = grown[(*prefix, label)]
            # The same label twice needs a blank in between.
            before = ends.blank if label == last else ends.total
            longer.label = np.logaddexp(longer.label, before + score)
