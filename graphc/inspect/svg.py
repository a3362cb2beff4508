"""Drawings as SVG: boxes in layers, arrows between them; facts on hover. Nothing from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from graphc.inspect.drawing import Arrow, Box, Drawing, draw_graph, draw_schedule
from graphc.inspect.layout import lay_out
from graphc.ir import Graph
from graphc.loops import Schedule

_LETTER, _LINE, _MARGIN = 6.7, 15.0, 8.0  # pixels, of a monospace font of 11
_LONGEST_LINE = 44
STYLE = """
.box rect { stroke: #444; stroke-width: 1; fill: #fff; }
.box text { font: 11px ui-monospace, Menlo, Consolas, monospace; fill: #111; }
.box .name { font-weight: bold; }
.input rect { fill: #dcecff; } .state rect { fill: #fff0cc; } .update rect { fill: #ffe0b0; }
.output rect { fill: #d8f3dc; } .group rect { fill: #eadcff; } .launch rect { fill: #f3f3f3; }
.arrow { fill: none; stroke: #777; stroke-width: 1; marker-end: url(#head); }
.arrow.far { stroke: #ccc; stroke-width: 0.7; stroke-dasharray: 4 3; }
"""


def graph_svg(graph: Graph) -> str:
    """A graph as an SVG file."""
    return svg_of(draw_graph(graph))


def schedule_svg(schedule: Schedule) -> str:
    """A schedule as an SVG file."""
    return svg_of(draw_schedule(schedule))


def svg_of(drawing: Drawing) -> str:
    """The SVG element of a drawing, with its style inside."""
    sizes = {box.key: box_size(box) for box in drawing.boxes}
    layout = lay_out(sizes, [(arrow.source, arrow.target) for arrow in drawing.arrows])
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width:.0f} '
        f'{layout.height:.0f}" width="{layout.width:.0f}" height="{layout.height:.0f}">'
    )
    parts = [head, f"<title>{escape(drawing.title)}</title>", f"<style>{STYLE}</style>", _MARKER]
    for number, (arrow, way) in enumerate(zip(drawing.arrows, layout.ways, strict=True)):
        parts.append(_arrow(arrow, way, number in layout.far))
    for box in drawing.boxes:
        parts.extend(_box(box, layout.centres[box.key], sizes[box.key]))
    return "\n".join([*parts, "</svg>"])


_MARKER = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
    'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#777"/></marker></defs>'
)


def box_size(box: Box) -> tuple[float, float]:
    """(width, height) in pixels that a box's text needs."""
    lines = [_cut(line) for line in box.lines]
    width = max(map(len, lines)) * _LETTER + 2 * _MARGIN
    return width, len(lines) * _LINE + _MARGIN


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


def _box(box: Box, centre: tuple[float, float], size: tuple[float, float]) -> Iterator[str]:
    left, top = centre[0] - size[0] / 2, centre[1] - size[1] / 2
    yield f'<g class="box {box.kind}" data-key="{escape(box.key)}">'
    yield f"<title>{escape(_hover(box))}</title>"
    yield (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}" rx="4"/>'
    )
    for number, line in enumerate(box.lines):
        name = ' class="name"' if number == 0 else ""
        x, y = left + _MARGIN, top + _LINE * (number + 0.75) + _MARGIN / 2
        yield f'<text x="{x:.1f}" y="{y:.1f}"{name}>{escape(_cut(line))}</text>'
    yield "</g>"


def _hover(box: Box) -> str:
    lines = [box.lines[0]]
    for what, fact in box.facts.items():
        lines.append(f"{what}: {fact if isinstance(fact, str) else ', '.join(fact)}")
    return "\n".join(lines)


def _arrow(arrow: Arrow, way: Sequence[tuple[float, float]], far: bool) -> str:
    title = f"<title>{escape(arrow.label)}</title>" if arrow.label else ""
    ends = f'data-source="{escape(arrow.source)}" data-target="{escape(arrow.target)}"'
    kind = "arrow far" if far else "arrow"
    return f'<path class="{kind}" {ends} d="{_curve(way)}">{title}</path>'


def _curve(way: Sequence[tuple[float, float]]) -> str:
    """Through the points, vertical at each: halfway down between two it goes across."""
    (x, y), *rest = way
    parts = [f"M{x:.1f} {y:.1f}"]
    for x2, y2 in rest:
        middle = (y + y2) / 2
        parts.append(f"C{x:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}")
        x, y = x2, y2
    return "".join(parts)
