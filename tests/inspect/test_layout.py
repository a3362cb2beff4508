"""Layouts: arrows go down, boxes do not overlap, straight chains are straight."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from graphc.inspect.layout import Layout, lay_out

Arrows = list[tuple[str, str]]


@st.composite
def drawings(draw: st.DrawFn) -> tuple[dict[str, tuple[float, float]], Arrows]:
    count = draw(st.integers(1, 14))
    extent = st.floats(10, 200)
    sizes = {f"b{n}": (draw(extent), draw(st.floats(10, 60))) for n in range(count)}
    pairs = list(itertools.combinations(sizes, 2))
    arrows = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30)) if pairs else []
    return sizes, arrows


@given(drawings())
def test_arrows_go_down_and_boxes_keep_apart(
    drawing: tuple[dict[str, tuple[float, float]], Arrows],
) -> None:
    sizes, arrows = drawing
    layout = lay_out(sizes, arrows)
    assert set(layout.centres) == set(sizes) and len(layout.ways) == len(arrows)
    for (source, target), way in zip(arrows, layout.ways, strict=True):
        assert layout.centres[source][1] < layout.centres[target][1]
        assert all(a[1] < b[1] for a, b in itertools.pairwise(way))
    for one, two in itertools.combinations(sizes, 2):
        assert not _overlap(layout, sizes, one, two)
    for key, (width, height) in sizes.items():
        x, y = layout.centres[key]
        assert width / 2 <= x <= layout.width - width / 2 + 1e-6
        assert height / 2 <= y <= layout.height - height / 2 + 1e-6


def _overlap(layout: Layout, sizes: dict[str, tuple[float, float]], one: str, two: str) -> bool:
    apart = [abs(a - b) for a, b in zip(layout.centres[one], layout.centres[two], strict=True)]
    reach = [(a + b) / 2 - 1e-6 for a, b in zip(sizes[one], sizes[two], strict=True)]
    return apart[0] < reach[0] and apart[1] < reach[1]


def test_a_chain_is_straight() -> None:
    sizes = {name: (40.0 + 10 * n, 20.0) for n, name in enumerate("abcd")}
    layout = lay_out(sizes, [("a", "b"), ("b", "c"), ("c", "d")])
    assert len({round(x, 6) for x, _ in layout.centres.values()}) == 1


def test_a_source_sits_above_its_first_reader() -> None:
    sizes = dict.fromkeys("abcw", (40.0, 20.0))
    layout = lay_out(sizes, [("a", "b"), ("b", "c"), ("w", "c")])
    assert layout.centres["w"][1] == layout.centres["b"][1]


def test_nothing_to_draw() -> None:
    layout = lay_out({}, [])
    assert layout.centres == {} and layout.ways == () and layout.width > 0
