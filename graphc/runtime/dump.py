"""What a program's stages are written as: each format by name, from whatever part makes it.

    graphs      text, json, dot, svg, html
    schedules   text, json, dot, svg, html
    kernels     text, llvm and asm of this machine, cuda, ptx

Drawings stand on a floor above this one, and so do backends: both are looked up by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from graphc.backend import find
from graphc.errors import ArgumentError
from graphc.ir import Graph
from graphc.loops import Schedule

_GRAPH_FORMATS: Mapping[str, str] = {
    "json": "graphc.ir.export:format_json",
    "dot": "graphc.ir.export:format_dot",
    "svg": "graphc.inspect.svg:graph_svg",
    "html": "graphc.inspect.explorer:graph_page",
}
_SCHEDULE_FORMATS: Mapping[str, str] = {
    "json": "graphc.inspect.schedule_export:schedule_json",
    "dot": "graphc.inspect.schedule_export:schedule_dot",
    "svg": "graphc.inspect.svg:schedule_svg",
    "html": "graphc.inspect.explorer:schedule_page",
}
# The backend that writes kernels so; it need not be the one that the program is compiled for.
_KERNEL_FORMATS: Mapping[str, str] = {"llvm": "cpu", "asm": "cpu", "cuda": "cuda", "ptx": "cuda"}
_COMMENTS: Mapping[str, str] = {"llvm": ";", "asm": "#", "cuda": "//", "ptx": "//"}


def dump_stage(name: str, stage: Graph | Schedule, format: str) -> str:
    """A stage's text, or another format. Raises ArgumentError for a format that it has not."""
    if format == "text":
        return str(stage)
    homes = _GRAPH_FORMATS if isinstance(stage, Graph) else _SCHEDULE_FORMATS
    return _look_up(homes, name, format)(stage)


def dump_kernels(schedule: Schedule, format: str) -> str:
    """All kernels, one after the other. Raises ArgumentError for a format that they have not."""
    if format == "text":
        return "\n\n".join(map(str, schedule.kernels.values()))
    if format not in _KERNEL_FORMATS:
        raise _no_format("kernels", format, _KERNEL_FORMATS)
    backend, comment = find(_KERNEL_FORMATS[format]), _COMMENTS[format]
    return "\n".join(
        f"{comment} {name}\n{backend.kernel_code(kernel, format)}"
        for name, kernel in schedule.kernels.items()
    )


def _look_up(homes: Mapping[str, str], stage: str, format: str) -> Callable[[object], str]:
    if format not in homes:
        raise _no_format(stage, format, homes)
    module, _, name = homes[format].partition(":")
    found: Callable[[object], str] = getattr(import_module(module), name)
    return found


def _no_format(stage: str, format: str, known: Mapping[str, str]) -> ArgumentError:
    return ArgumentError(
        f"stage {stage!r} has no format {format!r}; there are {', '.join(('text', *known))}"
    )
