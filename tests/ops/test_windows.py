"""The geometry of windows, against its definition: output o, tap k reads o * s - p + k * d."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.errors import ArgumentError, ShapeError
from graphc.loops import Expr, index
from graphc.loops.evaluate import evaluate_expr
from graphc.ops.windows import Window, make_windows, output_extent


@st.composite
def windows(draw: st.DrawFn) -> Window:
    small = st.integers(1, 4)
    size, kernel, stride, dilation = draw(st.integers(1, 9)), draw(small), draw(small), draw(small)
    padding, ceil_mode = draw(st.integers(0, 3)), draw(st.booleans())
    if size + 2 * padding < dilation * (kernel - 1) + 1:
        size += dilation * (kernel - 1) + 1
    output = output_extent(size, kernel, stride, padding, dilation, ceil_mode)
    return Window(size, kernel, stride, padding, dilation, output)


def reads(window: Window) -> set[tuple[int, int, int]]:
    """(output, tap, element) of every tap on an element."""
    found = set()
    for output in range(window.output):
        for tap in range(window.kernel):
            element = output * window.stride - window.padding + tap * window.dilation
            if 0 <= element < window.size:
                found.add((output, tap, element))
    return found


def number(expr: Expr) -> int:
    return int(evaluate_expr(expr))


def holds(condition: Expr | None) -> bool:
    return condition is None or bool(evaluate_expr(condition))


@given(windows())
def test_slices_pair_outputs_with_elements(window: Window) -> None:
    found = set()
    for tap in range(window.kernel):
        outputs, elements = window.slices(tap)
        pairs = zip(range(99)[outputs], range(99)[elements], strict=True)
        found |= {(output, tap, element) for output, element in pairs}
    assert found == reads(window)


@settings(max_examples=30, deadline=None)
@given(windows())
def test_source_and_target_are_the_same_relation(window: Window) -> None:
    forward, backward = set(), set()
    for tap in range(window.kernel):
        k = index(tap)
        for output in range(window.output):
            if holds(window.inside(index(output), k)):
                forward.add((output, tap, number(window.source(index(output), k))))
        for element in range(window.size):
            if holds(window.reaches(index(element), k)):
                backward.add((number(window.target(index(element), k)), tap, element))
    assert forward == backward == reads(window)


@settings(max_examples=30, deadline=None)
@given(windows())
def test_covering_finds_every_output_of_an_element_in_order(window: Window) -> None:
    found = []
    for element in range(window.size):
        for candidate in range(window.covers):
            output = window.covering(index(element), index(candidate))
            if holds(window.is_covered(index(element), output)):
                tap = window.tap_of(index(element), output)
                found.append((number(output), number(tap), element))
    assert sorted(found, key=lambda item: (item[2], item[0])) == found
    assert set(found) == reads(window) and len(found) == len(set(found))


def test_windows_that_never_leave_the_input_have_no_conditions() -> None:
    window = Window(size=8, kernel=2, stride=2, padding=0, dilation=1, output=4)
    i, k = index(1), index(0)
    assert window.inside(i, k) is None and window.is_covered(i, window.covering(i, k)) is None
    assert window.covers == 1
    pointwise = Window(size=5, kernel=1, stride=1, padding=0, dilation=1, output=5)
    assert pointwise.reaches(i, k) is None


# Checked by hand against torch.nn.functional.max_pool2d: size, kernel, stride, padding, dilation.
@pytest.mark.parametrize(
    ("options", "floored", "ceiled"),
    [
        ((5, 2, 2, 0, 1), 2, 3),
        ((5, 3, 2, 1, 1), 3, 3),
        ((6, 2, 3, 1, 1), 3, 3),
        ((7, 3, 3, 0, 2), 1, 2),
    ],
)
def test_ceil_mode(options: tuple[int, int, int, int, int], floored: int, ceiled: int) -> None:
    assert output_extent(*options) == floored
    assert output_extent(*options, ceil_mode=True) == ceiled


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"stride": (0, 1)}, ArgumentError, "test: stride is 0, expected at least 1"),
        ({"dilation": (1, 0)}, ArgumentError, "test: dilation is 0, expected at least 1"),
        ({"padding": (0, -1)}, ArgumentError, "test: padding is -1, expected at least 0"),
        ({"dilation": (1, 3)}, ShapeError, "does not fit into width 4 with padding 0"),
    ],
)
def test_options_outside_their_meaning(change: Any, error: type[Exception], words: str) -> None:
    attrs = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)} | change
    with pytest.raises(error) as caught:
        make_windows("test", (4, 4), (3, 3), attrs)
    assert words in str(caught.value)


def test_bounds_are_clipped_to_the_input() -> None:
    window = Window(size=5, kernel=3, stride=2, padding=1, dilation=1, output=3)
    assert [window.bounds(output) for output in range(3)] == [(0, 2), (1, 4), (3, 5)]
