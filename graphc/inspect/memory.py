"""Memory plans to look at: live bytes by step as text, the arena over time as an SVG picture."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from graphc.planning.memory_plan import MemoryPlan, PlannedBuffer
from graphc.planning.text import format_bytes, format_table

_WIDTH, _HEIGHT = 960, 480  # of a picture, in pixels


def format_timeline(plan: MemoryPlan, width: int = 40) -> str:
    """One line a step: its position, live bytes, a bar of at most `width` signs, and its name."""
    moments = plan.timeline()
    most = max((moment.live_bytes for moment in moments), default=0) or 1
    rows = [("step", "live", "", "name")]
    rows += [
        (
            str(moment.position),
            format_bytes(moment.live_bytes),
            "#" * -(-moment.live_bytes * width // most),
            moment.step,
        )
        for moment in moments
    ]
    return format_table(rows, numbers=2)


def arena_svg(plan: MemoryPlan) -> str:
    """The arena as an SVG picture: steps from left to right, offsets from bottom to top.

    Each rectangle is a buffer during one of its lifetimes; its title names it, its bytes, offset,
    steps and source.
    """
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}">'
    )
    return "\n".join((head, *_rectangles(plan), "</svg>"))


def _rectangles(plan: MemoryPlan) -> Iterator[str]:
    across = _WIDTH / max(len(plan.steps), 1)
    up = _HEIGHT / max(plan.arena_bytes, 1)
    for number, buffer in enumerate(plan.buffers):
        for first, last in buffer.spans:
            top = _HEIGHT - (buffer.offset + buffer.bytes) * up
            yield (
                f'<rect x="{first * across:.2f}" y="{top:.2f}" '
                f'width="{(last - first + 1) * across:.2f}" height="{buffer.bytes * up:.2f}" '
                f'fill="hsl({number * 137 % 360} 60% 70%)" stroke="black" stroke-width="0.5">'
                f"<title>{escape(_title(buffer, first, last))}</title></rect>"
            )


def _title(buffer: PlannedBuffer, first: int, last: int) -> str:
    source = f", {', '.join(buffer.source)}" if buffer.source else ""
    size = format_bytes(buffer.bytes)
    return f"{buffer.name}: {size} at {buffer.offset}, steps {first}-{last}{source}"
