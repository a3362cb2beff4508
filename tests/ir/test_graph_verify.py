"""One planted violation of every invariant of a graph: each is refused, by the invariant's name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphc.dtypes import DType, float32, float64, int64
from graphc.errors import VerifyError
from graphc.ir import Array, Attribute, Attributes, Graph, Node, TensorType, Value
from graphc.ir.parse import parse_graph
from graphc.ir.verify import verify_structure
from graphc.ops.verify import verify

VECTOR = TensorType((3,), float32)
EMPTY = Attributes({})


def unary(x: Value, op: str = "exp", type: TensorType = VECTOR) -> Node:
    return Node(op, (x,), EMPTY, (Value(type),), ("net.py:4",))


X, W = Value(VECTOR, "x"), Value(VECTOR, "w")
NODE = unary(X)
OTHER = unary(X)
INNER = Value(VECTOR, "inner")
REGION = Graph("body", (INNER,), (), (INNER,))
GRAPH = Graph("net", (X,), (NODE,), NODE.results, (W,), (("w", NODE.result),))


def with_node(*nodes: Node) -> Graph:
    return replace(GRAPH, nodes=(*GRAPH.nodes, *nodes))


def typed(type: Any) -> Graph:
    return Graph("net", (Value(type, "x"),), (), ())


def holding(region: Graph) -> Graph:
    return with_node(replace(unary(X), regions=(region,)))


ROW = DType("float8", "f8", "float", "uint8", "float32")
VIOLATIONS = {
    "names: inputs": (replace(GRAPH, inputs=(X, Value(VECTOR, "x"))), "several inputs .* 'x'"),
    "names: state": (replace(GRAPH, state=(W, Value(VECTOR, "w"))), "several state .* 'w'"),
    "names: none": (replace(GRAPH, state=(Value(VECTOR),)), "state tensor 0 has no name"),
    "single definition: twice": (with_node(NODE), "is defined twice"),
    "single definition: input": (with_node(replace(NODE, results=(X,))), "'x'.* defined twice"),
    "single definition: both": (replace(GRAPH, inputs=(X, W)), "'w'.* defined twice"),
    "single definition: one node": (
        with_node(replace(OTHER, results=(OTHER.result, OTHER.result))),
        "defined twice",
    ),
    "defined before use: order": (
        with_node(unary(OTHER.result), OTHER),
        r"operand 0 \(f32\[3\]\) is not defined .*",
    ),
    "defined before use: own": (with_node(replace(OTHER, operands=OTHER.results)), "operand 0"),
    "defined before use: inner": (
        replace(holding(REGION), nodes=(*holding(REGION).nodes, unary(INNER))),
        "'inner'",
    ),
    "closed regions: reads": (
        holding(Graph("body", (), (unary(X),), ())),
        "graph @body, node .* operand 0 .*'x'.* belongs to a graph around this region",
    ),
    "closed regions: returns": (holding(Graph("body", (), (), (X,))), "output 0 .* belongs"),
    "closed regions: state": (holding(Graph("body", (), (), (), (INNER,))), "@body has state"),
    "results: output": (replace(GRAPH, outputs=(OTHER.result,)), "output 0 .* not defined"),
    "results: update": (replace(GRAPH, updates=(("w", OTHER.result),)), "update of 'w' .* not"),
    "updates: unknown": (replace(GRAPH, updates=(("v", X),)), "no state tensor is named 'v'"),
    "updates: twice": (replace(GRAPH, updates=(("w", X), ("w", X))), "'w' is updated twice"),
    "updates: type": (
        replace(GRAPH, state=(Value(TensorType((4,), float32), "w"),)),
        r"'w' is f32\[4\], its update f32\[3\]",
    ),
    "types: negative": (typed(TensorType((-1,), float32)), "extent -1"),
    "types: float": (typed(TensorType((2.0,), float32)), "extent 2.0"),  # type: ignore[arg-type]  # planted
    "types: bool": (typed(TensorType((True,), float32)), "extent True"),
    "types: row": (typed(TensorType((1,), ROW)), "not a tensor's type"),
    "types: none": (typed(None), "None is not a tensor's type"),
    "types: result": (with_node(unary(X, type=TensorType((-2,), float32))), "net.py:4.*extent -2"),
    "fields: operator": (with_node(replace(OTHER, op="")), "its operator is ''"),
    "fields: attributes": (with_node(replace(OTHER, attrs={})), "not frozen"),  # type: ignore[arg-type]  # planted
    "fields: operand": (with_node(replace(OTHER, operands=(3,))), "operand 3 is not a Value"),  # type: ignore[arg-type]  # planted
    "fields: source": (with_node(replace(OTHER, source=(7,))), "source line 7"),  # type: ignore[arg-type]  # planted
    "fields: region": (with_node(replace(OTHER, regions=("b",))), "region 'b'"),  # type: ignore[arg-type]  # planted
    "fields: name": (replace(GRAPH, name=3), "its name is 3"),  # type: ignore[arg-type]  # planted
    "fields: input": (replace(GRAPH, inputs=("x",)), "'x' is not a value"),  # type: ignore[arg-type]  # planted
}  # fmt: skip


@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_broken_invariant_is_refused_by_name(case: str) -> None:
    graph, message = VIOLATIONS[case]
    invariant = case.split(":")[0]
    for check in (verify_structure, verify):
        with pytest.raises(VerifyError, match=message) as caught:
            check(graph)
        assert str(caught.value).endswith(f"[{invariant}]")


def test_the_graph_that_the_violations_change_is_valid() -> None:
    verify(GRAPH)
    verify_structure(holding(REGION))


def test_every_invariant_of_the_docstring_has_a_violation() -> None:
    import graphc.ir.verify as module

    assert module.__doc__ is not None
    paragraph = module.__doc__.split("\n\n")[1]
    listed = {line[4:24].strip() for line in paragraph.splitlines()}
    assert listed == {case.split(":")[0] for case in VIOLATIONS}


def test_an_error_shows_the_node_and_its_line() -> None:
    bad = with_node(unary(X, type=TensorType((4,), float32)))
    with pytest.raises(VerifyError) as caught:
        verify(bad)
    assert str(caught.value) == (
        "graph @net, node %2: f32[4] = exp(%x)   # net.py:4: its rule gives (f32[3]) [typing rule]"
    )


def with_attrs(op: str, **attrs: Attribute) -> Node:
    return Node(op, (X,), Attributes(attrs), (Value(VECTOR),))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (unary(X, "frobnicate"), r"no operator 'frobnicate' \[operators\]"),
        (unary(X, type=TensorType((3,), float64)), r"\(f32\[3\]\) \[typing rule\]"),
        (replace(unary(X), results=()), r"its rule gives \(f32\[3\]\) \[typing rule\]"),
        (replace(unary(X), operands=(X, X)), r"refuses it .* \[typing rule\]"),
        (unary(X, "transpose"), r"axes is missing \[attributes\]"),
        (with_attrs("reshape", shape=(4,)), "refuses it"),
        (with_attrs("reshape", shape="x"), r"shape is 'x', expected tuple \[attributes\]"),
        (with_attrs("reshape", shape=None), "shape is None, expected tuple"),
        (with_attrs("reshape", shape=(3,), order="C"), "there is no order"),
        (with_attrs("cast", dtype="f64"), "dtype is 'f64', expected DType"),
        (with_attrs("clamp", min=0, max=True), "max is True, expected "),
        (replace(with_attrs("constant", value=1), operands=()), "value is 1, expected Array"),
    ],
)
def test_every_node_s_types_follow_from_its_rule(node: Node, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify(with_node(node))


def test_rules_are_checked_inside_regions() -> None:
    text = """
    graph @f(%p: bool[], %x: f32[2]) {
      %1: f32[2] = cond(%p, %x)
        graph @yes(%a: f32[2]) { %1: f32[2] = exp(%a)  # f.py:3
          return %1 }
        graph @no(%a: f32[2]) { return %a }
      return %1
    }"""
    verify(parse_graph(text))
    with pytest.raises(VerifyError, match=r"graph @yes, node .*f.py:3"):
        verify(parse_graph(text.replace("f32[2] = exp", "f32[3] = exp")))


def test_a_constant_without_elements_still_has_a_type() -> None:
    array = Array(np.arange(40))
    node = Node("constant", (), Attributes({"value": array}), (Value(TensorType((40,), int64)),))
    graph = parse_graph(str(Graph("g", (), (node,), node.results)))
    verify(graph)
