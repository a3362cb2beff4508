"""What every operator's record promises, on every one of its samples.

The typing rule agrees with the meaning; the naive kernel computes the meaning within the record's
error; a decomposition has the same meaning; gradients equal finite differences, twice; a graph of
the operator prints and parses back.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from gradients import check_first_order, check_second_order, floats, in_double
from single_operator import graph_of, meaning_of, run_naive, type_of

from graphc.ir import Graph
from graphc.ir.parse import parse_graph
from graphc.ops import Builder, Op, table
from graphc.ops.define import Sample
from graphc.ops.evaluate import evaluate
from graphc.ops.verify import verify

Array = np.ndarray[Any, Any]

# Which of 0 and -0 is the greater is left to the target.
ZEROS_ALIKE = {"maximum", "minimum", "clamp", "max", "min"}


def cases() -> Iterator[Any]:
    """(operator, sample) for every sample; the id names the operator and numbers the sample."""
    for name, record in table().items():
        for number, sample in enumerate(record.samples()):
            yield pytest.param(record, sample, id=f"{name}-{number}")


ALL = list(cases())
every_sample = pytest.mark.parametrize(("record", "sample"), ALL)


def chosen(condition: Callable[[Op, Sample], Any]) -> pytest.MarkDecorator:
    """The samples that a condition on (record, sample) holds for."""
    return pytest.mark.parametrize(
        ("record", "sample"), [case for case in ALL if condition(*case.values)]
    )


def test_every_operator_has_samples_and_a_meaning() -> None:
    for name, record in table().items():
        assert name == "grad" or (record.samples() and record.meaning), name


@every_sample
def test_the_typing_rule_agrees_with_the_meaning(record: Op, sample: Sample) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = meaning_of(record.name, sample)
    expected = [value.type for value in graph_of(record.name, sample).outputs]
    assert [type_of(result) for result in results] == expected


@chosen(lambda record, sample: record.lower or record.nest)
def test_the_naive_kernel_computes_the_meaning(record: Op, sample: Sample) -> None:
    for got, want, scale in zip(
        run_naive(record.name, sample),
        meaning_of(record.name, sample),
        scales(record, sample),
        strict=True,
    ):
        if want.dtype.kind == "f":
            expect_close(record, got, want, scale)
        else:
            np.testing.assert_array_equal(got, want)


def scales(record: Op, sample: Sample) -> list[Array | None]:
    """What ulp are counted of: None for the result itself; folds: the terms without their signs."""
    if not (record.reduction or record.contraction):
        return [None] * len(graph_of(record.name, sample).outputs)
    magnitudes = tuple(np.abs(x) if x.dtype.kind == "f" else x for x in sample.arrays)
    unsigned = Sample(magnitudes, sample.attrs, sample.regions)
    return [*meaning_of(record.name, unsigned)]


def expect_close(record: Op, got: Array, want: Array, scale: Array | None) -> None:
    """NaN, infinities and signs of zeros alike; the rest within max_ulp of a correct result.

    A float64 oracle may itself be an ulp off.
    """
    assert got.dtype == want.dtype
    special = ~np.isfinite(want) | ~np.isfinite(got)
    np.testing.assert_array_equal(got[special], want[special])
    zeros = (want == 0) & (got == 0)
    if scale is None and record.name not in ZEROS_ALIKE:
        np.testing.assert_array_equal(np.signbit(got[zeros]), np.signbit(want[zeros]))
    unit = ulp(want if scale is None else scale)[~special]
    error = np.abs(got[~special].astype(np.float64) - want[~special]) / unit
    inexact_oracle = want.dtype == np.float64 and record.max_ulp > 0.5
    allowed = int(record.max_ulp) + inexact_oracle
    assert np.all(error <= allowed), f"{np.max(error)} ulp, {allowed} allowed"


def ulp(values: Array) -> Array:
    """The distance of neighbours at each value, as float64; of the greatest for infinities."""
    limits = np.finfo(values.dtype)
    return np.asarray(np.spacing(np.minimum(np.abs(values), limits.max / 2)), np.float64)


@chosen(lambda record, sample: record.decompose)
def test_the_decomposition_has_the_same_meaning(record: Op, sample: Sample) -> None:
    for version, tolerance in ((sample, 2e-5), (in_double(sample), 1e-11)):
        graph = decomposed(record, version)
        found, _ = evaluate(graph, version.arrays)
        for got, want in zip(found, meaning_of(record.name, version), strict=True):
            assert got.dtype == want.dtype
            limit = tolerance if want.dtype == np.float64 else 2e-5
            np.testing.assert_allclose(got, want, rtol=limit, atol=limit)


def decomposed(record: Op, sample: Sample) -> Graph:
    graph = graph_of(record.name, sample)
    assert record.decompose is not None
    builder = Builder()
    results = record.decompose(builder, graph.nodes[0])
    return Graph(record.name, graph.inputs, tuple(builder.nodes), tuple(results))


def has_gradient(record: Op, sample: Sample) -> bool:
    return bool(sample.differentiable and not record.zero_gradient and floats(sample.arrays))


@chosen(has_gradient)
def test_the_gradient_equals_finite_differences(record: Op, sample: Sample) -> None:
    sample = in_double(sample)
    check_first_order(graph_of(record.name, sample), sample.arrays)


@chosen(has_gradient)
def test_the_second_gradient_equals_finite_differences(record: Op, sample: Sample) -> None:
    sample = in_double(sample)
    check_second_order(graph_of(record.name, sample), sample.arrays)


def test_floats_with_a_slope_are_differentiated_on_some_sample() -> None:
    """A record that is not flat has a sample for its gradient."""
    for name, record in table().items():
        flat = record.zero_gradient or not (record.vjp or record.decompose)
        assert flat or any(has_gradient(record, sample) for sample in record.samples()), name


@every_sample
def test_a_graph_of_the_operator_prints_and_parses_back(record: Op, sample: Sample) -> None:
    graph = graph_of(record.name, sample)
    parsed = parse_graph(str(graph), graph.constants)
    assert parsed == graph
    verify(parsed)
