"""The memory report says what the plan says."""

from graphc.inspect.memory_report import by_line, memory_report, sparkline
from graphc.planning.memory_plan import MemoryPlan, PlannedBuffer, ResidentBuffer

PLAN = MemoryPlan(
    name="tiny",
    alignment=64,
    arena_bytes=3072,
    lower_bound_bytes=3072,
    buffers=(
        PlannedBuffer("a", 1024, 0, ((0, 1),), ("net.py:3",)),
        PlannedBuffer("b", 2048, 1024, ((1, 2),), ("net.py:4", "net.py:5")),
        PlannedBuffer("c", 1024, 0, ((1, 3),), ("net.py:9",)),
    ),
    resident=(ResidentBuffer("w", "state", 4096), ResidentBuffer("x", "input", 512)),
    steps=("first", "second", "third", "last"),
    scratch_bytes=100,
    threads=2,
)


def test_totals_and_the_peak() -> None:
    assert PLAN.peak_bytes == 4096 + 512 + 3072 + 200
    peak = PLAN.peak()
    assert peak is not None
    assert (peak.position, peak.step, peak.live_bytes) == (1, "second", 3072)
    assert PLAN.with_threads(4).peak_bytes == PLAN.peak_bytes + 200


def test_lines_hold_shared_bytes_once() -> None:
    assert by_line(PLAN) == [("net.py:4", 2048, 1), ("net.py:3", 1024, 1)]


def test_report_names_the_lines() -> None:
    text = memory_report(PLAN)
    assert "live at step 1 (second): 3.00 KiB" in text
    assert "net.py:4, net.py:5" in text
    assert "held at the peak, by line of the model" in text
    assert sparkline([m.live_bytes for m in PLAN.timeline()], 72) in text


def test_report_of_nothing() -> None:
    empty = MemoryPlan("empty", 64, 0, 0, (), (), ())
    assert "no steps" in memory_report(empty)
