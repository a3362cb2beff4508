"""Reads the text of any stage: a graph, a kernel or a schedule.

>>> parse("kernel @f(in x: f32[4]) { }").name
'f'
>>> parse("program @f")
Traceback (most recent call last):
    ...
graphc.errors.ParseError: line 1, column 1: expected graph, kernel or schedule, found 'program'
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.ir import Graph
from graphc.ir.parse import parse_graph
from graphc.lexing import Scanner
from graphc.loops import Kernel, Schedule
from graphc.loops.parse import parse_kernel, parse_schedule


def parse(
    text: str, constants: Mapping[str, np.ndarray[Any, Any]] | None = None
) -> Graph | Kernel | Schedule:
    """What a dump shows, equal to what was dumped.

    `constants` gives the elements of a graph's large constants, {digest: elements}, as
    `Graph.constants` has them. Raises ParseError.
    """
    words = Scanner(text)
    if words.at("graph"):
        return parse_graph(text, constants)
    if words.at("kernel"):
        return parse_kernel(text)
    if words.at("schedule"):
        return parse_schedule(text)
    raise words.error("graph, kernel or schedule")
