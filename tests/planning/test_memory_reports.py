"""Reports of memory plans."""

from __future__ import annotations

from xml.etree import ElementTree

from graphc.inspect.memory import arena_svg, format_timeline
from tests.planning.planted import RIGHT

PLAN = RIGHT.plan


def test_timeline_has_a_line_for_every_step() -> None:
    head, *lines = format_timeline(PLAN, width=10).splitlines()
    assert head.split() == ["step", "live", "name"]
    assert [int(line.split()[0]) for line in lines] == list(range(len(PLAN.steps)))
    assert max(line.count("#") for line in lines) == 10


def test_picture_holds_every_lifetime_inside_its_frame() -> None:
    root = ElementTree.fromstring(arena_svg(PLAN))
    found = [{key: item.attrib[key] for key in ("x", "y", "width", "height")} for item in root]
    assert len(found) == sum(len(buffer.spans) for buffer in PLAN.buffers)
    for box in found:
        x, y, width, height = (float(box[key]) for key in ("x", "y", "width", "height"))
        assert x >= 0 and y >= -0.01 and x + width <= 960.01 and y + height <= 480.01


def test_a_plan_prints_its_totals_and_who_is_live_at_the_peak() -> None:
    text = str(PLAN)
    assert "lower bound" in text
    peak = PLAN.peak()
    assert peak is not None and all(name in text for name in peak.buffers)
