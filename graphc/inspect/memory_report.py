"""A memory plan as a report: what the peak is made of, when it comes, and which lines hold it.

peak      12.50 MiB  cifar_cnn.step
...
live bytes by step, of 8.00 MiB at most
▁▂▃▅▆█▇▅▃▁

held at the peak, by line of the model
    bytes  buffers  line
 4.00 MiB        2  cnn.py:14
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.planning.memory_plan import MemoryPlan, PlannedBuffer
from graphc.planning.text import format_bytes, format_plan, format_table

_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = 72  # of the course; where there are more steps, each column shows its highest


def memory_report(plan: MemoryPlan, limit: int = 20) -> str:
    """The report's text: totals and who is live at the peak, the course, the lines that hold it.

    limit   rows of each table
    """
    return "\n\n".join((format_plan(plan, limit), _course(plan), _lines(plan, limit)))


def sparkline(values: Sequence[int], width: int) -> str:
    """Numbers as bars of 8 heights, at most `width` of them; a bar is the highest of its share.

    >>> sparkline([0, 1, 2, 4, 8, 4], 6), sparkline([0, 8, 0, 1], 2)
    ('▁▁▂▄█▄', '█▁')
    """
    count = min(width, len(values))
    shares = [len(values) * n // max(count, 1) for n in range(count + 1)]
    heights = [max(values[shares[n] : shares[n + 1]]) for n in range(count)]
    top = max(heights, default=0) or 1
    return "".join(
        _BARS[min(height * 8 // top, 8) - 1 if height * 8 >= top else 0] for height in heights
    )


def by_line(plan: MemoryPlan) -> list[tuple[str, int, int]]:
    """(line, bytes, buffers) at the peak, the most bytes first.

    A buffer that several lines made counts for the first; one with no line for "(no line)". What
    shares its bytes in place counts once.
    """
    peak = plan.peak()
    live = {buffer.name: buffer for buffer in plan.buffers}
    held: dict[str, list[PlannedBuffer]] = {}
    seen: set[int] = set()
    for name in () if peak is None else peak.buffers:
        buffer = live[name]
        if buffer.bytes and buffer.offset not in seen:
            seen.add(buffer.offset)
            line = buffer.source[0] if buffer.source else "(no line)"
            held.setdefault(line, []).append(buffer)
    rows = [(line, sum(b.bytes for b in buffers), len(buffers)) for line, buffers in held.items()]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def _course(plan: MemoryPlan) -> str:
    live = [moment.live_bytes for moment in plan.timeline()]
    most = format_bytes(max(live, default=0))
    return f"live bytes by step, of {most} at most\n{sparkline(live, _COLUMNS)}"


def _lines(plan: MemoryPlan, limit: int) -> str:
    rows = by_line(plan)
    table = [("bytes", "buffers", "line")]
    table += [(format_bytes(count), str(buffers), line) for line, count, buffers in rows[:limit]]
    left_out = f"\nand {len(rows) - limit} more lines" if len(rows) > limit else ""
    return f"held at the peak, by line of the model\n{format_table(table, numbers=2)}{left_out}"
