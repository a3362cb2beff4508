"""A batch to measure or to compare with."""

from __future__ import annotations

from typing import Any


def batch_of(step: Any, training: Any) -> tuple[Any, ...]:
    """The first batch of the training data, of the step's last bucket; () where there is none."""
    shapes = [tuple(spec.shape) for spec in step.batch_specs]
    batches = () if training is None else training
    several = len(step.buckets) > 1
    fitting = (b for b in batches if not several or [part.shape for part in b] == shapes)
    return tuple(next(iter(fitting), ()))
