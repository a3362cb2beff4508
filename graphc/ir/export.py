"""Graphs for other programs: JSON, DOT (Graphviz) and networkx.

These are views: they show a graph, and nothing reads them back. Values go by the ids of the text
form (`graphc.ir.text`).

>>> from graphc.ir.parse import parse_graph
>>> graph = parse_graph("graph @f(%x: f32[2]) { %1: f32[2] = exp(%x) # f.py:1\\n return %1 }")
>>> sorted(to_networkx(graph).edges())
[('input 0', 'node 0'), ('node 0', 'output 0')]
>>> print(format_dot(graph))
digraph "f" {
  node [shape=box, fontname="monospace"];
  "input 0" [label="%x\\nf32[2]", shape=ellipse];
  "node 0" [label="exp", tooltip="f.py:1"];
  "output 0" [label="output 0", shape=ellipse];
  "input 0" -> "node 0" [label="f32[2]"];
  "node 0" -> "output 0" [label="f32[2]"];
}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from graphc.dtypes import DType
from graphc.ir.graph import Array, Attribute, Graph, Node, Value
from graphc.ir.text import INLINE_ELEMENTS, format_attribute, value_ids
from graphc.lexing import escape

_SHOWN_ATTRIBUTE = 40  # characters in a drawing


# JSON


def format_json(graph: Graph) -> str:
    """The graph as JSON, in ASCII.

    Attributes are JSON values; floats that JSON has not are the strings "nan", "inf" and "-inf",
    element types their short names, arrays objects with dtype, shape, digest and, up to 16 of
    them, elements.
    """
    return json.dumps(_graph_object(graph), indent=1, allow_nan=False)


def _graph_object(graph: Graph) -> dict[str, Any]:
    ids = value_ids(graph)
    return {
        "name": graph.name,
        "inputs": [_value_object(value, ids) for value in graph.inputs],
        "state": [_value_object(value, ids) for value in graph.state],
        "nodes": [_node_object(node, ids) for node in graph.nodes],
        "outputs": [ids[value] for value in graph.outputs],
        "updates": [{"state": name, "value": ids[value]} for name, value in graph.updates],
        "remarks": [
            {"origin": remark.origin, "text": remark.text, "source": list(remark.source)}
            for remark in graph.remarks
        ],
    }


def _value_object(value: Value, ids: dict[Value, str]) -> dict[str, Any]:
    return {
        "id": ids[value],
        "name": value.name,
        "dtype": value.dtype.short,
        "shape": list(value.shape),
    }


def _node_object(node: Node, ids: dict[Value, str]) -> dict[str, Any]:
    return {
        "op": node.op,
        "operands": [ids[value] for value in node.operands],
        "attributes": {name: _attribute_object(value) for name, value in node.attrs.items()},
        "results": [_value_object(value, ids) for value in node.results],
        "source": list(node.source),
        "regions": [_graph_object(region) for region in node.regions],
    }


def _attribute_object(value: Attribute) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return format_attribute(value)
        case DType():
            return value.short
        case Array():
            return _array_object(value)
        case tuple():
            return [_attribute_object(item) for item in value]
        case _:
            return value


def _array_object(array: Array) -> dict[str, Any]:
    found = {"dtype": array.dtype.short, "shape": list(array.shape), "digest": array.digest}
    if not array.has_data or array.size > INLINE_ELEMENTS:
        return found
    elements = [_attribute_object(element) for element in array.data.reshape(-1).tolist()]
    return {**found, "elements": elements}


# networkx


def to_networkx(graph: Graph) -> Any:
    """A networkx.MultiDiGraph of the graph's own nodes; regions stay inside their node.

    Its nodes are "input 0", "state 0", "node 0", "output 0" and "update 0", counted in the
    graph's order, with the attribute `kind`, and `value` (Value), `node` (Node) or, of an update,
    `name`. An edge is a use of a value: `value`, and `operand`, its position there.
    """
    import networkx

    view = networkx.MultiDiGraph(name=graph.name)
    for key, attributes in _vertices(graph):
        view.add_node(key, **attributes)
    for source, target, attributes in _edges(graph):
        view.add_edge(source, target, **attributes)
    return view


def _vertices(graph: Graph) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind, values in (("input", graph.inputs), ("state", graph.state)):
        for position, value in enumerate(values):
            yield f"{kind} {position}", {"kind": kind, "value": value}
    for position, node in enumerate(graph.nodes):
        yield f"node {position}", {"kind": "node", "node": node}
    for position, value in enumerate(graph.outputs):
        yield f"output {position}", {"kind": "output", "value": value}
    for position, (name, value) in enumerate(graph.updates):
        yield f"update {position}", {"kind": "update", "value": value, "name": name}


def _edges(graph: Graph) -> Iterator[tuple[str, str, dict[str, Any]]]:
    makers = {value: f"input {position}" for position, value in enumerate(graph.inputs)}
    makers |= {value: f"state {position}" for position, value in enumerate(graph.state)}
    for position, node in enumerate(graph.nodes):
        for operand, value in enumerate(node.operands):
            yield makers[value], f"node {position}", {"value": value, "operand": operand}
        makers |= dict.fromkeys(node.results, f"node {position}")
    for position, value in enumerate(graph.outputs):
        yield makers[value], f"output {position}", {"value": value, "operand": 0}
    for position, (_, value) in enumerate(graph.updates):
        yield makers[value], f"update {position}", {"value": value, "operand": 0}


# DOT


def format_dot(graph: Graph) -> str:
    """The graph as a Graphviz drawing; regions are clusters with a dashed edge to their node."""
    return "\n".join([f"digraph {_quoted(graph.name)} {{", *_dot_lines(graph), "}"])


def _dot_lines(graph: Graph) -> Iterator[str]:
    yield '  node [shape=box, fontname="monospace"];'
    yield from (f"  {line}" for line in _dot_body(graph, ""))


def _dot_body(graph: Graph, prefix: str) -> Iterator[str]:
    """Vertices and edges; `prefix` keeps those of a region apart from all others."""
    ids = value_ids(graph)
    for key, attributes in _vertices(graph):
        yield f"{_quoted(prefix + key)} [{_dot_vertex(key, attributes, ids)}];"
        node = attributes.get("node")
        for number, region in enumerate(node.regions if node else ()):
            yield from _dot_region(region, prefix + key, number)
    for source, target, attributes in _edges(graph):
        ends = f"{_quoted(prefix + source)} -> {_quoted(prefix + target)}"
        yield f"{ends} [label={_quoted(str(attributes['value'].type))}];"


def _dot_region(region: Graph, owner: str, number: int) -> Iterator[str]:
    prefix = f"{owner}.{number} "
    yield f"subgraph {_quoted('cluster ' + prefix)} {{"
    yield f"  label={_quoted('@' + region.name)};"
    yield f"  {_quoted(prefix)} [shape=point];"
    yield from (f"  {line}" for line in _dot_body(region, prefix))
    yield "}"
    yield f"{_quoted(prefix)} -> {_quoted(owner)} [style=dashed];"


def _dot_vertex(key: str, attributes: dict[str, Any], ids: dict[Value, str]) -> str:
    match attributes["kind"]:
        case "node":
            return _dot_node(attributes["node"])
        case "input" | "state" as kind:
            value = attributes["value"]
            shape = "ellipse" if kind == "input" else "cylinder"
            return f"label={_quoted('%' + ids[value], str(value.type))}, shape={shape}"
        case "update":
            return f"label={_quoted('update', attributes['name'])}, shape=cylinder"
        case _:
            return f"label={_quoted(key)}, shape=ellipse"


def _dot_node(node: Node) -> str:
    lines = [node.op]
    for name, value in node.attrs.items():
        shown = format_attribute(value)
        cut = shown if len(shown) <= _SHOWN_ATTRIBUTE else shown[:_SHOWN_ATTRIBUTE] + "…"
        lines.append(f"{name}={cut}")
    tooltip = f", tooltip={_quoted(*node.source)}" if node.source else ""
    return f"label={_quoted(*lines)}{tooltip}"


def _quoted(*lines: str) -> str:
    """A DOT string of lines. Backslashes are doubled, as labels have escapes of their own."""
    shown = [escape(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(shown) + '"'
