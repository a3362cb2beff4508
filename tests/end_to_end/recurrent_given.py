"""Taggers of sequences with weights and batches that any Python makes alike; see given.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.end_to_end.given import uniform

Array = np.ndarray[Any, Any]

STEPS = 20
LENGTH, ROWS, FEATURES, HIDDEN, CLASSES = 25, 5, 8, 24, 6
# One layer, and two in both directions over sequences of several lengths.
LAYERS: dict[str, dict[str, Any]] = {"plain": {}, "deep": {"num_layers": 2, "bidirectional": True}}
CASES = [(kind, name) for kind in ("LSTM", "GRU", "RNN") for name in LAYERS]


def weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """By name, uniform in ±1 / sqrt(HIDDEN); exact in float32."""
    bound = 1 / math.sqrt(HIDDEN)
    drawn = {n: uniform(7, stream, shapes[n]) for stream, n in enumerate(sorted(shapes))}
    return {
        n: ((2 * u - 1) * bound).astype(np.float32).astype(np.float64) for n, u in drawn.items()
    }


def lengths(name: str, step: int) -> Array | None:
    """How many steps of each sequence count; None where all do."""
    if name == "plain":
        return None
    return (1 + uniform(8, step, (ROWS,)) * LENGTH).astype(np.int32)


def batches() -> list[tuple[Array, Array]]:
    """STEPS of (x[T, N, I], classes[T, N]): a class follows from a feature of three steps ago."""
    found = []
    for step in range(STEPS):
        x = 2 * uniform(9, step, (LENGTH, ROWS, FEATURES)) - 1
        x = x.astype(np.float32).astype(np.float64)
        ago = np.concatenate([np.zeros((3, ROWS)), x[:-3, :, 0]])
        found.append((x, np.floor((ago + 1) * 0.49999 * CLASSES).astype(np.int32)))
    return found
