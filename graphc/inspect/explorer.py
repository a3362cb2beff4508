"""Stages as a page of their own: a drawing to move in, boxes to search and click.

What a box tells: its type, operands, attributes, the lines of the model, the reason of its
fusion, bytes and operations, its neighbours, and the code of a group or a launch's kernel. The
page is one file: it loads nothing and sends nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from html import escape

from graphc.inspect import page
from graphc.inspect.drawing import Drawing, draw_graph, draw_schedule
from graphc.inspect.svg import svg_of
from graphc.ir import Graph
from graphc.loops import Schedule


def graph_page(graph: Graph) -> str:
    """A graph as an HTML file."""
    return page_of(draw_graph(graph))


def schedule_page(schedule: Schedule) -> str:
    """A schedule as an HTML file."""
    return page_of(draw_schedule(schedule))


def page_of(drawing: Drawing) -> str:
    """The page of a drawing."""
    boxes = [asdict(box) for box in drawing.boxes]
    facts = json.dumps({"boxes": boxes, "notes": drawing.notes}, ensure_ascii=False)
    # "<" would end the element early where it begins "</script>" or "<!--".
    data = facts.replace("<", "\\u003c")
    return page.PAGE.substitute(
        title=escape(drawing.title),
        style=page.STYLE,
        drawing=svg_of(drawing),
        facts=data,
        script=page.SCRIPT,
    )
