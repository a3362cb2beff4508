"""What launches are said to cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc.runtime.launches import ProgramLaunch
from graphc.runtime.program import Program


def launches(function: Any, *specs: graphc.Spec) -> list[ProgramLaunch]:
    program: Program = graphc.compile(function, *specs, backend="interpreter").program
    return program.launches


def test_a_product_counts_two_a_term() -> None:
    (product,) = launches(lambda x, w: x @ w, graphc.Spec((4, 5)), graphc.Spec((5, 6)))
    assert product.flops == 2 * 4 * 5 * 6
    assert product.bytes == 4 * (4 * 5 + 5 * 6 + 4 * 6)


def test_attention_counts_its_two_products() -> None:
    batch, heads, queries, keys, width = 2, 3, 8, 12, 16
    shapes = [(batch, heads, n, width) for n in (queries, keys, keys)]
    found = launches(F.scaled_dot_product_attention, *map(graphc.Spec, shapes))
    flops = sum(launch.flops for launch in found if "attention" in launch.ops)
    products = 2 * 2 * batch * heads * queries * keys * width
    assert products < flops < 1.3 * products


def test_an_update_in_place_moves_its_bytes_twice() -> None:
    step = graphc.TrainStep(
        graphc.nn.Linear(8, 4),
        lambda model, x: (model(x) ** 2).mean(),
        graphc.optim.SGD(lr=0.1),
        graphc.Spec((2, 8)),
        backend="interpreter",
    )
    updates = [
        launch
        for launch in step.program.launches
        if any(a.storage == "weight" for a in launch.arguments)
        and any(b.access == "inout" for b in launch.kernel.definition.buffers)
    ]
    assert updates
    for launch in updates:
        sizes = [b.nbytes for b in launch.kernel.definition.buffers]
        assert launch.bytes >= sum(sizes) + np.prod((4, 8)) * 4


@pytest.mark.parametrize("size", [0, 7])
def test_elementwise_counts_one_an_element(size: int) -> None:
    found = launches(lambda x: F.exp(x) + 1, graphc.Spec((size,)))
    assert sum(launch.flops for launch in found) == 2 * size
