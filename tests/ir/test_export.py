"""Views of a graph for other programs: JSON, DOT and networkx."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from generate import HOSTILE, graphs
from hypothesis import given, settings

from graphc.dtypes import float32
from graphc.ir import Array, Attributes, Graph, Node, TensorType, Value
from graphc.ir.export import format_dot, format_json, to_networkx
from graphc.ir.parse import parse_graph

TEXT = """
graph @step(%x: f32[2], %p: bool[]) state(%w: f32[2]) {
  %1: f32[2] = mul(%x, %x)   # net.py:3, net.py:4
  %2: f32[2] = cond(%p, %1) {axes=(0,1), eps=nan, dtype=f32, value=f32[2]{0.5, -inf}}
    graph @yes(%a: f32[2]) { return %a }
    graph @no(%a: f32[2]) { %1: f32[2] = exp(%a) return %1 }
  return %2
  update %w = %1
}"""
# A DOT file as these have it: quoted words, brackets and arrows.
DOT_WORD = re.compile(r'"(?:[^"\\\n]|\\.)*"|digraph|subgraph|node|->|[\[\]{};=,]|\w+|\s+')


def test_json_shows_all_of_a_graph() -> None:
    shown = json.loads(format_json(parse_graph(TEXT)))
    assert shown["name"] == "step" and shown["outputs"] == ["2"]
    assert shown["updates"] == [{"state": "w", "value": "1"}]
    assert shown["inputs"][0] == {"id": "x", "name": "x", "dtype": "f32", "shape": [2]}
    product, choice = shown["nodes"]
    assert (product["op"], product["operands"]) == ("mul", ["x", "x"])
    assert product["source"] == ["net.py:3", "net.py:4"]
    assert choice["attributes"]["eps"] == "nan" and choice["attributes"]["axes"] == [0, 1]
    assert choice["attributes"]["value"]["elements"] == [0.5, "-inf"]
    assert choice["regions"][1]["nodes"][0]["op"] == "exp"


def test_json_leaves_the_elements_of_large_arrays_out() -> None:
    array = Array(np.zeros(100))
    node = Node("constant", (), Attributes({"value": array}), (Value(TensorType((), float32)),))
    shown = json.loads(format_json(Graph("g", (), (node,), ())))["nodes"][0]["attributes"]["value"]
    assert shown == {"dtype": "f64", "shape": [100], "digest": array.digest}


def test_networkx_has_a_vertex_for_every_node_and_an_edge_for_every_use() -> None:
    graph = parse_graph(TEXT)
    view = graph.to_networkx()
    assert [(source, target) for source, target in view.edges() if target == "node 0"] == [
        ("input 0", "node 0"),
        ("input 0", "node 0"),
    ]
    assert view.nodes["node 1"]["node"] is graph.nodes[1]
    assert view.nodes["update 0"]["name"] == "w"
    assert view.nodes["state 0"]["value"] is graph.state[0]
    assert list(view.predecessors("node 1")) == ["input 1", "node 0"]
    assert view.edges["node 0", "node 1", 0]["operand"] == 1


def test_dot_draws_regions_as_clusters() -> None:
    drawn = format_dot(parse_graph(TEXT))
    assert 'subgraph "cluster node 1.0 " {' in drawn and 'label="@no";' in drawn
    assert '"node 1.1 " -> "node 1" [style=dashed];' in drawn
    assert '"node 1.1 node 0" [label="exp"];' in drawn
    assert 'tooltip="net.py:3\\nnet.py:4"' in drawn


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_escapes_from_its_label(name: str) -> None:
    value = Value(TensorType((), float32), name)
    node = Node(name or "f", (value,), Attributes({name: name}), (), (name,))
    graph = Graph(name, (value,), (node,), (value,))
    check_dot(format_dot(graph))
    assert json.loads(format_json(graph))["name"] == name


def check_dot(drawn: str) -> None:
    position = 0
    while position < len(drawn):
        found = DOT_WORD.match(drawn, position)
        assert found is not None, drawn[position : position + 20]
        position = found.end()
    assert drawn.isascii() or drawn.replace("\n", "").isprintable()
    words = DOT_WORD.findall(drawn)
    assert words.count("{") == words.count("}") and words.count("[") == words.count("]")


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_every_graph_has_every_view(graph: Graph) -> None:
    check_dot(format_dot(graph))
    shown = json.loads(format_json(graph))
    assert [node["op"] for node in shown["nodes"]] == [node.op for node in graph.nodes]
    view = to_networkx(graph)
    uses = sum(len(node.operands) for node in graph.nodes) + len(graph.results)
    assert view.number_of_edges() == uses


def test_networkx_is_not_loaded_before_it_is_asked_for() -> None:
    code = "import sys, graphc.ir.export, graphc.ir.text; sys.exit('networkx' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
