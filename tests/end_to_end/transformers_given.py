"""Small gpt and seq2seq with weights and batches that any Python makes alike; see given.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.end_to_end.given import uniform

Array = np.ndarray[Any, Any]

STEPS = 20
BATCH = 3
RATE = 3e-3
GPT: dict[str, Any] = {"vocabulary": 13, "context": 16, "layers": 2, "heads": 2, "width": 32}
SEQ2SEQ: dict[str, Any] = {
    "source_vocabulary": 17,
    "target_vocabulary": 19,
    "length": 10,
    "width": 16,
    "heads": 2,
    "feed_forward": 24,
    "layers": 2,
}


def weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """By name: those of normalisations around 1, others around 0; exact in float32."""
    found = {}
    for stream, (name, shape) in enumerate(sorted(shapes.items())):
        drawn = 2 * uniform(5, stream, shape) - 1
        bound = math.sqrt(6 / sum(shape)) if len(shape) > 1 else 0.1
        norm = ("ln_" in name or "norm" in name) and name.endswith("weight")
        found[name] = (drawn * bound + norm).astype(np.float32).astype(np.float64)
    return found


def codes(stream: int, count: int, length: int, low: int, high: int) -> Array:
    return (low + uniform(6, stream, (count, length)) * (high - low)).astype(np.int32)


def gpt_batches() -> list[tuple[Array, ...]]:
    """Texts in which each character says which follows, mostly."""
    found = []
    for step in range(STEPS):
        text = codes(step, BATCH, GPT["context"] + 1, 0, GPT["vocabulary"])
        text[:, 1::2] = (text[:, :-1:2] * 5 + 2) % GPT["vocabulary"]
        found.append((text[:, :-1], text[:, 1:]))
    return found


def seq2seq_batches() -> list[tuple[Array, ...]]:
    """Sources of several lengths, padded; their targets are made from them word by word."""
    found, length = [], SEQ2SEQ["length"]
    for step in range(STEPS):
        source = codes(100 + step, BATCH, length, 4, SEQ2SEQ["source_vocabulary"])
        target = np.zeros((BATCH, length + 1), np.int32)
        for row in range(BATCH):
            words = 3 + (step + row) % (length - 3)
            source[row, words:] = 0
            target[row, 0] = 1
            target[row, 1 : words + 1] = 4 + (source[row, :words] * 3) % 15
        found.append((source, target[:, :-1], target[:, 1:]))
    return found
