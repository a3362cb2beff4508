"""Memory plans as plain text: totals, and the table of who is live at the peak."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.planning.memory_plan import MemoryPlan, PlannedBuffer

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def format_bytes(count: int) -> str:
    """A number of bytes in the largest unit that keeps it at least 1.

    >>> format_bytes(512), format_bytes(1536), format_bytes(3 << 30)
    ('512 B', '1.50 KiB', '3.00 GiB')
    """
    power = min(max(count.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    if power == 0:
        return f"{count} B"
    return f"{count / 1024**power:.2f} {_UNITS[power]}"


def format_table(rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Rows in columns, the first `numbers` of them flush right; the first row is the head.

    >>> print(format_table([("bytes", "name"), ("12", "a")], numbers=1))
    bytes  name
       12  a
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if number < numbers else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join(map(line, rows))


def format_plan(plan: MemoryPlan, limit: int = 40) -> str:
    """Totals of a plan, then the buffers that are live at the peak, the largest first."""
    return "\n".join((*totals(plan), "", *_peak(plan, limit)))


def totals(plan: MemoryPlan) -> list[str]:
    """What the peak is made of, a line each."""
    ratio = plan.arena_bytes / plan.lower_bound_bytes if plan.lower_bound_bytes else 1.0
    bound = f"lower bound {format_bytes(plan.lower_bound_bytes)}, {ratio:.3f} times it"
    rows = [("peak", plan.peak_bytes, f"{plan.peak_bytes} bytes, {plan.name}")]
    notes = {"state": _state_note(plan)}
    rows += [(name, count, notes.get(name, "")) for name, count in plan.resident_bytes.items()]
    rows += [("arena", plan.arena_bytes, bound)]
    scratch = f"{plan.threads} x {format_bytes(plan.scratch_bytes)}"
    rows += [("scratch", plan.scratch_bytes * plan.threads, scratch)]
    return [f"{name:<10}{format_bytes(count):>12}  {note}".rstrip() for name, count, note in rows]


def _state_note(plan: MemoryPlan) -> str:
    """How much of the state the optimizer's tensors take, which are named after it."""
    state = [buffer for buffer in plan.resident if buffer.purpose == "state"]
    own = sum(buffer.bytes for buffer in state if buffer.name.startswith("optimizer."))
    return f"{format_bytes(own)} of it the optimizer's" if own else ""


def _peak(plan: MemoryPlan, limit: int) -> list[str]:
    peak = plan.peak()
    if peak is None:
        return ["no steps"]
    by_name = {buffer.name: buffer for buffer in plan.buffers}
    live = sorted((by_name[name] for name in peak.buffers), key=lambda b: (-b.bytes, b.offset))
    head = f"live at step {peak.position} ({peak.step}): {format_bytes(peak.live_bytes)}"
    rows = [("bytes", "offset", "steps", "buffer", "source"), *map(_row, live[:limit])]
    left_out = [f"and {len(live) - limit} smaller ones"] if len(live) > limit else []
    return [head, format_table(rows, numbers=3), *left_out]


def _row(buffer: PlannedBuffer) -> tuple[str, ...]:
    lifetime = f"{buffer.first}-{buffer.last}"
    source = ", ".join(buffer.source)
    return (format_bytes(buffer.bytes), str(buffer.offset), lifetime, buffer.name, source)
