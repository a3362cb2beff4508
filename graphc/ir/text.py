"""Graphs as text that reads like a program; `graphc.ir.parse` reads it back to an equal graph.

    graph     = graph @name(value, ...) [state(value, ...)] { node... return [%id, ...] update... }
    value     = %id ["name"]: type               the name is given where it differs from the id
    node      = [%id: type, ... =] op(%id, ...) [{attribute, ...}] [# source, ...] graph...
    update    = update %name = %id               the name of a state tensor
    attribute = name=constant
    constant  = none | true | false | 3 | 0.5 | nan | -inf | "text" | f32 | (constant, ...)
              | f32[2]{0.5, 1.0}                 the elements of an Array
              | f32[3,3]@sha256.6f1c...          an Array of more than 16 elements: its digest

An id is a number, a bare name or a quoted one; names that are not plain identifiers are quoted
(`graphc.lexing`). Graphs after a node are its regions. A tuple of one is ``(3,)``. Remarks, which
are no part of a graph's meaning, follow it as comments.

>>> from graphc.dtypes import float32
>>> from graphc.ir import Attributes, Graph, Node, TensorType, Value
>>> x, y = (Value(TensorType((2, 3), float32), name) for name in ("x", ""))
>>> node = Node("sum", (x,), Attributes({"axes": (0,)}), (y,), ("net.py:3",))
>>> print(format_graph(Graph("net", (x,), (node,), (y,))))
graph @net(%x: f32[2,3]) {
  %1: f32[2,3] = sum(%x) {axes=(0,)}   # net.py:3
  return %1
}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphc.dtypes import DType
from graphc.ir.graph import Array, Attribute, Graph, Node, Remark, TensorType, Value
from graphc.lexing import escape, format_float, format_source, quote, quote_unless_name

INLINE_ELEMENTS = 16
RESERVED_OPS = frozenset({"return", "update", "graph"})
_LINE_LENGTH = 100


def format_graph(graph: Graph) -> str:
    """The text of a graph, without a line end after it.

    Never fails: a value that nothing defines prints as ``%?``, which does not parse.
    """
    return "\n".join(_graph_lines(graph))


def _graph_lines(graph: Graph) -> Iterator[str]:
    ids = value_ids(graph)
    yield from _header(graph, ids)
    for node in graph.nodes:
        yield "  " + format_node(node, ids)
        for region in node.regions:
            yield from (f"    {line}" for line in _graph_lines(region))
    yield f"  return {_references(graph.outputs, ids)}".rstrip()
    for name, value in graph.updates:
        yield f"  update %{quote_unless_name(name)} = {_references((value,), ids)}"
    yield "}"
    yield from map(_remark, graph.remarks)


def value_ids(graph: Graph) -> dict[Value, str]:
    """How each value is written: by its name if no other has it, else by a number."""
    declared = (*graph.inputs, *graph.state)
    uses = Counter(value.name for value in declared)
    results = [value for node in graph.nodes for value in node.results]
    ids = {
        value: quote_unless_name(value.name)
        for value in declared
        if value.name and uses[value.name] == 1
    }
    numbered = [value for value in (*declared, *results) if value not in ids]
    return ids | {value: str(number) for number, value in enumerate(numbered, start=1)}


def _header(graph: Graph, ids: dict[Value, str]) -> Iterator[str]:
    """On one line if it fits, else one value a line."""
    title = f"graph @{quote_unless_name(graph.name)}"
    lists = [[_declaration(value, ids) for value in graph.inputs]]
    if graph.state:
        lists.append([_declaration(value, ids) for value in graph.state])
    inputs, *state = (f"({', '.join(items)})" for items in lists)
    line = f"{title}{inputs}{''.join(f' state{items}' for items in state)} {{"
    if len(line) <= _LINE_LENGTH:
        yield line
        return
    for start, items in zip((f"{title}(", ") state("), lists, strict=False):
        yield start
        yield from (f"    {item}," for item in items[:-1])
        yield from (f"    {item}" for item in items[-1:])
    yield ") {"


def _declaration(value: Value, ids: dict[Value, str]) -> str:
    name = quote_unless_name(value.name)
    shown = "" if ids[value] == name or not value.name else f" {quote(value.name)}"
    return f"%{ids[value]}{shown}: {value.type}"


def _references(values: Sequence[Value], ids: dict[Value, str]) -> str:
    return ", ".join(f"%{ids.get(value, '?')}" for value in values)


def format_node(node: Node, ids: dict[Value, str]) -> str:
    """A node on one line, without its regions."""
    results = ", ".join(f"%{ids.get(value, '?')}: {value.type}" for value in node.results)
    attrs = ", ".join(
        f"{quote_unless_name(name)}={format_attribute(value)}" for name, value in node.attrs.items()
    )
    return (
        (f"{results} = " if results else "")
        + f"{quote_unless_name(node.op, RESERVED_OPS)}({_references(node.operands, ids)})"
        + (f" {{{attrs}}}" if attrs else "")
        + format_source(node.source)
    )


def _remark(remark: Remark) -> str:
    text = f"{escape(remark.origin)}: {escape(remark.text)}"
    return f"// {text}{format_source(remark.source)}"


def format_attribute(value: Attribute) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case int():
            return int.__repr__(value)
        case float():
            return format_float(value)
        case str():
            return quote(value)
        case DType():
            return value.short
        case Array():
            return format_array(value)
        case tuple():
            items = ",".join(map(format_attribute, value))
            return f"({items},)" if len(value) == 1 else f"({items})"


def format_array(array: Array) -> str:
    type = TensorType(array.shape, array.dtype)
    if not array.has_data or array.size > INLINE_ELEMENTS:
        return f"{type}@sha256.{array.digest}"
    elements = array.data.reshape(-1)
    return f"{type}{{{', '.join(map(_element, elements))}}}"


def _element(element: Any) -> str:
    """An element that reads back to the same bytes."""
    if not isinstance(element, np.floating):
        return str(element).lower()
    if np.isnan(element):
        return _nan(element)
    shortest = str(element)
    exact = element.dtype.type(float(shortest)).tobytes() == element.tobytes()
    return shortest if exact else format_float(float(element))


def _nan(element: np.floating[Any]) -> str:
    """``nan``, or its bits where they are not those of the usual NaN."""
    bits = element.tobytes()
    if bits == element.dtype.type(np.nan).tobytes():
        return "nan"
    return f"nan({int.from_bytes(bits, 'little'):#x})"
