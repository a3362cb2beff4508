"""What a drawing shows: boxes with facts about them, and arrows; of a graph or of a schedule.

A graph's boxes are its nodes, inputs, state tensors, outputs and updates; constants of one element
are left out. A schedule's are its launches and the storages that they start from; an arrow goes
from each launch that wrote a storage to those that read it next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.ir import Graph, Node, Value
from graphc.ir.export import to_networkx
from graphc.ir.text import format_attribute, format_graph, value_ids
from graphc.loops import Branch, Launch, Literal, Repeat, Schedule, Step
from graphc.planning.text import format_bytes

_SHOWN_ATTRIBUTE = 60  # characters


@dataclass(frozen=True)
class Box:
    """One thing in a drawing.

    kind    node, group, input, state, output, update, launch: what it looks like
    lines   its text; the first is its name
    facts   what a reader may want to know, in order: {what: text or several}
    code    a text in full: a group's nodes, a launch's kernel
    """

    key: str
    kind: str
    lines: tuple[str, ...]
    facts: dict[str, str | list[str]] = field(default_factory=dict)
    code: str = ""


@dataclass(frozen=True)
class Arrow:
    source: str
    target: str
    label: str = ""


@dataclass(frozen=True)
class Drawing:
    """Boxes in an order in which every arrow goes forward.

    notes   what passes said of their choices
    """

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    notes: tuple[str, ...] = ()


# Graphs


def draw_graph(graph: Graph) -> Drawing:
    """The graph's own nodes; what a group, loop or branch holds is the code of its box."""
    view = to_networkx(graph)
    ids = value_ids(graph)
    boxes = {
        key: _graph_box(key, facts, ids)
        for key, facts in view.nodes(data=True)
        if not _is_literal(facts)
    }
    arrows = dict.fromkeys(
        Arrow(source, target, str(facts["value"].type))
        for source, target, facts in view.edges(data=True)
        if source in boxes and target in boxes
    )
    notes = tuple(f"{r.text}  ({', '.join(r.source)})" for r in graph.remarks)
    return Drawing(graph.name, tuple(boxes.values()), tuple(arrows), notes)


def _is_literal(facts: dict[str, Any]) -> bool:
    node = facts.get("node")
    return node is not None and node.op == "constant" and node.result.type.size == 1


def _graph_box(key: str, facts: dict[str, Any], ids: dict[Value, str]) -> Box:
    kind = facts["kind"]
    if kind == "node":
        return _node_box(key, facts["node"], ids)
    value = facts["value"]
    type = str(value.type)
    name = facts["name"] if kind == "update" else value.name or f"%{ids[value]}"
    shown = f"update {name}" if kind == "update" else f"output %{ids[value]}"
    lines = (name if kind in ("input", "state") else shown, type)
    return Box(key, kind, lines, {"type": type, "bytes": format_bytes(value.type.nbytes)})


def _node_box(key: str, node: Node, ids: dict[Value, str]) -> Box:
    types = [str(value.type) for value in node.results]
    attributes = dict(node.attrs)
    name = str(attributes.pop("name", node.op)) if node.op == "group" else node.op
    reason = str(attributes.pop("reason", ""))
    facts: dict[str, str | list[str]] = {
        "type": [f"%{ids[v]}: {v.type}" for v in node.results],
        "operands": [f"%{ids[v]}: {v.type}" for v in node.operands],
        "attributes": [f"{key} = {_attribute(value)}" for key, value in attributes.items()],
        "lines of the model": list(node.source),
        "reason": reason,
        "result bytes": format_bytes(sum(value.type.nbytes for value in node.results)),
    }
    kind = "group" if node.regions else "node"
    code = "\n\n".join(format_graph(region) for region in node.regions)
    return Box(key, kind, (name, *types[:2]), _filled(facts), code)


def _attribute(value: Any) -> str:
    text = format_attribute(value)
    return text if len(text) <= _SHOWN_ATTRIBUTE else text[:_SHOWN_ATTRIBUTE] + "…"


def _filled(facts: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
    return {name: value for name, value in facts.items() if value}


# Schedules


def draw_schedule(schedule: Schedule) -> Drawing:
    """The launches in order, those of repeats and branches once."""
    writer = _ScheduleDrawing(schedule)
    writer.write(schedule.steps, "")
    for storage in schedule.storages:
        if storage.purpose in ("state", "output") and writer.is_written(storage.name):
            writer.end(storage.name, storage.purpose)
    return Drawing(schedule.name, tuple(writer.boxes), tuple(dict.fromkeys(writer.arrows)))


class _ScheduleDrawing:
    """Follows the steps, keeping who wrote each storage since it was last wholly written."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.boxes: list[Box] = []
        self.arrows: list[Arrow] = []
        self.count = 0
        self.writers: dict[str, list[str]] = {}

    def is_written(self, storage: str) -> bool:
        return any(key.startswith("launch") for key in self.writers.get(storage, ()))

    def write(self, steps: Sequence[Step], around: str) -> None:
        for step in steps:
            match step:
                case Launch():
                    self._launch(step, around)
                case Repeat(index=index, count=count, steps=inner):
                    self.write(inner, f"{around} repeat {index} < {count}".strip())
                case Branch(flag=flag, yes=yes, no=no):
                    self.write(yes, f"{around} if {flag.storage}".strip())
                    self.write(no, f"{around} unless {flag.storage}".strip())

    def _launch(self, launch: Launch, around: str) -> None:
        key = f"launch {self.count}"
        self.count += 1
        kernel = self.schedule.kernels[launch.kernel]
        self._read(launch, key)
        times = (around,) if around else ()
        lines = (launch.name, *times, format_bytes(launch.bytes))
        facts = _launch_facts(self.schedule, launch, around)
        self.boxes.append(Box(key, "launch", lines, facts, str(kernel)))
        for buffer, argument in zip(kernel.buffers, launch.arguments, strict=True):
            if buffer.access != "in":
                name = argument.storage
                whole = buffer.size == self.schedule.by_name[name].size and not around
                starts = isinstance(argument.offset, Literal) and argument.offset.value == 0
                kept = [] if whole and starts else self.writers.get(name, [])
                self.writers[name] = [*(k for k in kept if k != key), key]

    def _read(self, launch: Launch, key: str) -> None:
        kernel = self.schedule.kernels[launch.kernel]
        for buffer, argument in zip(kernel.buffers, launch.arguments, strict=True):
            if buffer.access != "out":
                label = f"{argument.storage}: {buffer.dtype.short}{list(buffer.shape)}"
                for writer in self._writers(argument.storage):
                    self.arrows.append(Arrow(writer, key, label))

    def _writers(self, name: str) -> list[str]:
        """Who wrote the storage; for one that nobody did, a box of its own where it has one."""
        storage = self.schedule.by_name[name]
        if name not in self.writers and storage.purpose != "temporary":
            key = f"storage {name}"
            kind = storage.purpose if storage.purpose in ("input", "state") else "input"
            self.boxes.append(Box(key, kind, self._storage_lines(name), self._storage_facts(name)))
            self.writers[name] = [key]
        return self.writers.get(name, [])

    def end(self, name: str, purpose: str) -> None:
        """The box of a state tensor's new value, or of an output."""
        key = f"new {name}"
        kind = "update" if purpose == "state" else "output"
        self.boxes.append(Box(key, kind, self._storage_lines(name), self._storage_facts(name)))
        self.arrows += [Arrow(writer, key) for writer in self.writers[name]]

    def _storage_lines(self, name: str) -> tuple[str, ...]:
        storage = self.schedule.by_name[name]
        return name, f"{storage.dtype.short}{list(storage.shape)}"

    def _storage_facts(self, name: str) -> dict[str, str | list[str]]:
        storage = self.schedule.by_name[name]
        return _filled(
            {
                "purpose": storage.purpose,
                "order in memory": str(storage.order) if storage.order else "",
                "bytes": format_bytes(storage.nbytes),
                "lines of the model": list(storage.source),
            }
        )


def _launch_facts(schedule: Schedule, launch: Launch, around: str) -> dict[str, str | list[str]]:
    return _filled(
        {
            "operators": ", ".join(launch.ops),
            "lines of the model": list(launch.source),
            "reason": launch.reason,
            "runs": around,
            "bytes": f"{format_bytes(launch.bytes)} ({launch.bytes})",
            "flops": f"{launch.flops:,}" if launch.flops else "",
            "kernel": launch.kernel,
            "arguments": list(_arguments(schedule, launch)),
        }
    )


def _arguments(schedule: Schedule, launch: Launch) -> Iterator[str]:
    buffers = schedule.kernels[launch.kernel].buffers
    for buffer, argument in zip(buffers, launch.arguments, strict=True):
        type = f"{buffer.dtype.short}{list(buffer.shape)}"
        yield f"{buffer.access} {argument.storage}: {type}, {format_bytes(buffer.nbytes)}"
