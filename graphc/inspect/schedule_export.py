"""Schedules for other programs: JSON and DOT (Graphviz). Views: nothing reads them back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from graphc.inspect.drawing import draw_schedule
from graphc.lexing import escape
from graphc.loops import Branch, Launch, Repeat, Schedule, Step, Storage


def schedule_json(schedule: Schedule) -> str:
    """Storages, kernels as text, and the tree of steps, as JSON."""
    found = {
        "name": schedule.name,
        "inputs": list(schedule.inputs),
        "outputs": list(schedule.outputs),
        "storages": [_storage(storage) for storage in schedule.storages],
        "kernels": {name: str(kernel) for name, kernel in schedule.kernels.items()},
        "steps": _steps(schedule, schedule.steps),
    }
    return json.dumps(found, indent=1)


def _storage(storage: Storage) -> dict[str, Any]:
    return {
        "name": storage.name,
        "purpose": storage.purpose,
        "dtype": storage.dtype.short,
        "shape": list(storage.shape),
        "order": list(storage.order),
        "bytes": storage.nbytes,
        "source": list(storage.source),
    }


def _steps(schedule: Schedule, steps: Sequence[Step]) -> list[dict[str, Any]]:
    return [_step(schedule, step) for step in steps]


def _step(schedule: Schedule, step: Step) -> dict[str, Any]:
    match step:
        case Launch():
            return {"launch": step.name, **_launch(schedule, step)}
        case Repeat(index=index, count=count, steps=inner):
            return {"repeat": index, "count": count, "steps": _steps(schedule, inner)}
        case Branch(flag=flag, yes=yes, no=no):
            arms = {"yes": _steps(schedule, yes), "no": _steps(schedule, no)}
            return {"branch": flag.storage, "offset": str(flag.offset), **arms}


def _launch(schedule: Schedule, launch: Launch) -> dict[str, Any]:
    buffers = schedule.kernels[launch.kernel].buffers
    return {
        "kernel": launch.kernel,
        "ops": list(launch.ops),
        "source": list(launch.source),
        "reason": launch.reason,
        "flops": launch.flops,
        "bytes": launch.bytes,
        "arguments": [
            {
                "buffer": buffer.name,
                "access": buffer.access,
                "storage": argument.storage,
                "offset": str(argument.offset),
                "shape": list(buffer.shape),
                "dtype": buffer.dtype.short,
            }
            for buffer, argument in zip(buffers, launch.arguments, strict=True)
        ],
    }


_SHAPES = {"input": "ellipse", "state": "cylinder", "update": "cylinder", "output": "ellipse"}


def schedule_dot(schedule: Schedule) -> str:
    """The launches as a Graphviz drawing, arrows from who writes to who reads next."""
    drawing = draw_schedule(schedule)
    lines = [f"digraph {_quoted(drawing.title)} {{", '  node [shape=box, fontname="monospace"];']
    for box in drawing.boxes:
        shape = _SHAPES.get(box.kind)
        extra = f", shape={shape}" if shape else ""
        source = box.facts.get("lines of the model", "")
        tip = source if isinstance(source, str) else ", ".join(source)
        extra += f", tooltip={_quoted(tip)}" if tip else ""
        lines.append(f"  {_quoted(box.key)} [label={_quoted(*box.lines)}{extra}];")
    for arrow in drawing.arrows:
        ends = f"{_quoted(arrow.source)} -> {_quoted(arrow.target)}"
        lines.append(f"  {ends} [tooltip={_quoted(arrow.label)}];")
    return "\n".join([*lines, "}"])


def _quoted(*lines: str) -> str:
    """A DOT string of lines; backslashes are doubled, as labels have escapes of their own."""
    shown = [escape(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(shown) + '"'
