"""What launches are said to cost."""

from __future__ import annotations

from typing import Any

import pytest

import graphc
import graphc.functional as F
from graphc.runtime.launches import ProgramLaunch
from graphc.runtime.program import Program


def launches(function: Any, *specs: graphc.Spec) -> list[ProgramLaunch]:
    program: Program = graphc.compile(function, *specs, backend="interpreter").program
    return program.launches


def test_a_product_counts_two_a_term() -> None:
    (product, _) = launches(lambda x, w: x @ w, graphc.Spec((4, 5)), graphc.Spec((5, 6)))
    assert product.flops == 2 * 4 * 5 * 6
    assert product.bytes == 4 * (4 * 5 + 5 * 6 + 4 * 6)


def test_attention_counts_its_two_products() -> None:
    batch, heads, queries, keys, width = 2, 3, 8, 12, 16
    shapes = [(batch, heads, n, width) for n in (queries, keys, keys)]
    found = launches(F.scaled_dot_product_attention, *map(graphc.Spec, shapes))
    flops = sum(launch.flops for launch in found if "attention" in launch.ops)
    products = 2 * 2 * batch * heads * queries * keys * width
    assert products < flops < 1.3 * products


@pytest.mark.parametrize("size", [0, 7])
def test_elementwise_counts_one_an_element(size: int) -> None:
    found = launches(lambda x: F.exp(x) + 1, graphc.Spec((size,)))
    assert sum(launch.flops for launch in found) == 2 * size
