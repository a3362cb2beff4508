"""Sums of columns join the sweep over their elements: what is joined, what is not, and the bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc.passes.pipelines import DEFAULT

Function = Callable[..., Any]
Shapes = Sequence[tuple[int, ...]]


def normalised(x: Any, w: Any, b: Any) -> Any:
    y = F.layer_norm(x, (x.shape[-1],), w, b)
    return F.sum(y * y)


def activated(x: Any, a: Any, b: Any, c: Any) -> Any:
    return F.sum(F.gelu(x * a + b) * c)


def root_mean_square(x: Any, w: Any) -> Any:
    return F.sum(F.rms_norm(x, (x.shape[-1],), w) * x)


def gradients(function: Function, count: int) -> Function:
    gradient: Function = graphc.grad(function, argnums=tuple(range(count)))
    return gradient


CASES: dict[str, tuple[Function, Shapes, str]] = {
    "layer norm": (gradients(normalised, 3), [(1024, 300), (300,), (300,)], "row by row"),
    "three dimensions": (gradients(normalised, 3), [(8, 130, 261), (261,), (261,)], "row by row"),
    "rms norm": (gradients(root_mean_square, 2), [(1024, 256), (256,)], "row by row"),
    "elementwise": (gradients(activated, 4), [(640, 416), (416,), (416,), (416,)], "elementwise"),
    "a result beside": (
        lambda x: (F.exp(x), F.sum(F.exp(x) * x, 0)), [(1024, 300)], "elementwise",
    ),
    "a sum alone": (lambda x: F.sum(x * x, 0), [(1024, 257)], ""),
    "transposed": (
        lambda x: (F.exp(F.transpose(x, (1, 0))), F.sum(F.exp(F.transpose(x, (1, 0))), 0)),
        [(300, 1024)],
        "",
    ),
}  # fmt: skip


def arrays_of(shapes: Shapes) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize(("function", "shapes", "reason"), CASES.values(), ids=CASES)
def test_the_bits_are_those_of_separate_launches(
    function: Function, shapes: Shapes, reason: str
) -> None:
    specs, arrays = [graphc.Spec(shape) for shape in shapes], arrays_of(shapes)
    apart = graphc.compile(function, *specs, passes=DEFAULT[:-1], threads=1)
    expected = apart(*arrays)
    for threads in (1, 2):
        fused = graphc.compile(function, *specs, threads=threads)
        for one, other in zip(_several(fused(*arrays)), _several(expected), strict=True):
            np.testing.assert_array_equal(one, other)
    joined = [launch.reason for launch in fused.launches if "sums of its columns" in launch.reason]
    assert [text.startswith(reason) for text in joined] == [True] * bool(reason)


def _several(values: Any) -> tuple[Any, ...]:
    return values if isinstance(values, tuple) else (values,)


def test_what_only_the_sums_read_is_not_stored() -> None:
    specs = [graphc.Spec(shape) for shape in ((640, 416), (416,), (416,), (416,))]
    program = graphc.compile(gradients(activated, 4), *specs, threads=1)
    launch = next(x for x in program.launches if "sums of its columns" in x.reason)
    wide = 640 * 416 * 4
    assert launch.bytes < 2.5 * wide  # x is read and its gradient stored; the sums are short


def test_what_reads_the_sums_is_no_part_of_their_sweep() -> None:
    def centred(x: Any) -> Any:
        return x - F.sum(x, 0) * (1.0 / x.shape[0])

    program = graphc.compile(centred, graphc.Spec((1024, 300)), threads=1)
    assert not any("sums of its columns" in launch.reason for launch in program.launches)
    (x,) = arrays_of([(1024, 300)])
    np.testing.assert_allclose(program(x), x - x.mean(axis=0), atol=1e-5)


def test_the_order_of_a_sum_is_that_of_its_graph() -> None:
    """Chunks of 16 rows in order, then the chunks in order."""
    (x,) = arrays_of([(1024, 300)])
    program = graphc.compile(lambda x: F.sum(x, 0), graphc.Spec(x.shape), threads=2)
    expected = np.zeros(300, np.float32)
    for chunk in x.reshape(64, 16, 300):
        partial = np.zeros(300, np.float32)
        for row in chunk:
            partial += row
        expected += partial
    np.testing.assert_array_equal(program(x), expected)
