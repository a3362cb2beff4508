"""Lowered graphs compute what the NumPy meanings say: every operator's samples, random graphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from lowered import graph_of, run_lowered
from random_graphs import random_graph, with_gradients

from graphc.dtypes import float64
from graphc.ops import table
from graphc.ops.define import Op, Sample
from graphc.ops.evaluate import evaluate
from graphc.passes.base import Pipeline, run_pipeline
from graphc.passes.pipelines import DEFAULT, UNFUSED


def cases() -> Iterator[Any]:
    """(operator, sample) of every operator that lowering takes."""
    for name, record in table().items():
        if record.lower or record.nest or record.view or name in ("scan", "cond"):
            for number, sample in enumerate(record.samples()):
                yield pytest.param(record, sample, id=f"{name}-{number}")


@pytest.mark.parametrize(("record", "sample"), list(cases()))
def test_every_operator(record: Op, sample: Sample) -> None:
    graph = graph_of(record.name, sample)
    with np.errstate(all="ignore"):
        expected, _ = evaluate(graph, sample.arrays)
        found = run_lowered(graph, sample.arrays)
    for new, old in zip(found, expected, strict=True):
        assert new.dtype == old.dtype
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("pipeline", [DEFAULT, UNFUSED], ids=["fused", "unfused"])
def test_random_graphs(pipeline: Pipeline, seed: int) -> None:
    graph, arrays = random_graph(seed, dtype=float64)
    graph = run_pipeline(with_gradients(graph), pipeline, ())
    expected, _ = evaluate(graph, arrays)
    found = run_lowered(graph, arrays)
    for new, old in zip(found, expected, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-8, atol=1e-9)
