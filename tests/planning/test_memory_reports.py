"""Reports of memory plans."""

from __future__ import annotations

from tests.planning.planted import RIGHT

PLAN = RIGHT.plan


def test_a_plan_prints_its_totals_and_who_is_live_at_the_peak() -> None:
    text = str(PLAN)
    assert "lower bound" in text
    peak = PLAN.peak()
    assert peak is not None and all(name in text for name in peak.buffers)
