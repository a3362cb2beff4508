"""The text of a graph: what it looks like, and that it reads back to an equal graph."""

from __future__ import annotations

import math

import numpy as np
import pytest
from generate import EDGES, HOSTILE, arrays, attributes, graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.dtypes import ALL, bool_, float32, int64
from graphc.errors import ArgumentError, DTypeError, GraphcError, ParseError
from graphc.ir import Array, Attribute, Attributes, Graph, Node, Remark, TensorType, Value
from graphc.ir.parse import parse_graph
from graphc.ir.verify import verify_structure

VECTOR = TensorType((3,), float32)

EXAMPLE = """\
graph @net.step(%x: f32[2,3], %1 "": i64[], %"a b": bool[]) state(%fc.weight: f32[3]) {
  %2: f32[3], %3: i64[3] = odd.op(%x, %fc.weight) {axes=(0,), eps=1e-05, kind="sum"}   # net.py:3
  %4: f32[3] = "return"(%2) {dtype=f32, value=f32[2]{0.1, nan}}   # net.py:4, "a file.py:9"
  %5: f32[3] = scan(%4, %4) {length=3}
    graph @body(%1: f32[3], %2: f32[3]) {
      %3: f32[3] = add(%1, %2)   # net.py:7
      return %3
    }
  return %5, %x
  update %fc.weight = %5
}"""


def with_attribute(value: Attribute) -> Graph:
    node = Node("f", (), Attributes({"a": value}), (Value(VECTOR),))
    return Graph("g", (), (node,), node.results)


def attribute_text(value: Attribute) -> str:
    return str(with_attribute(value)).split("{a=")[1].split("}\n")[0]


@settings(max_examples=150)
@given(graphs())
def test_a_graph_reads_back_equal(graph: Graph) -> None:
    verify_structure(graph)
    text = str(graph)
    again = parse_graph(text, graph.constants)
    assert again == graph
    assert hash(again) == hash(graph)
    assert again.structural_hash == graph.structural_hash
    assert again.constants.keys() == graph.constants.keys()
    verify_structure(again)


@given(graphs())
def test_text_without_elements_reads_back_equal_and_prints_the_same(graph: Graph) -> None:
    again = parse_graph(str(graph))
    assert again == graph
    shown = "\n".join(
        line for line in str(graph).splitlines() if not line.lstrip().startswith("//")
    )
    assert str(again).splitlines() == shown.splitlines()


@given(attributes)
def test_attributes_read_back_with_their_types(attrs: Attributes) -> None:
    graph = Graph("g", (), (Node("f", (), attrs, ()),), ())
    assert parse_graph(str(graph)).nodes[0].attrs == attrs


@given(arrays())
def test_elements_keep_their_bits(array: Array) -> None:
    graph = with_attribute(array)
    again = parse_graph(str(graph), graph.constants).nodes[0].attrs["a"]
    assert again.data.tobytes() == array.data.tobytes()
    assert (again.dtype, again.shape) == (array.dtype, array.shape)


def test_the_text_reads_like_a_program() -> None:
    text = EXAMPLE.replace('%1 "": i64[]', "%1: i64[]")
    assert parse_graph(EXAMPLE) == parse_graph(text)
    assert str(parse_graph(EXAMPLE)) == text
    body = parse_graph(EXAMPLE).nodes[2].regions[0]
    assert body.name == "body" and body.nodes[0].source == ("net.py:7",)


def test_a_long_header_has_one_value_a_line() -> None:
    inputs = tuple(Value(VECTOR, f"input_number_{i}") for i in range(5))
    state = tuple(Value(VECTOR, f"layer{i}.weight") for i in range(2))
    graph = Graph("g", inputs, (), inputs[:1], state)
    assert str(graph).splitlines()[5:10] == [
        "    %input_number_4: f32[3]",
        ") state(",
        "    %layer0.weight: f32[3],",
        "    %layer1.weight: f32[3]",
        ") {",
    ]
    assert parse_graph(str(graph)) == graph


def test_an_input_and_a_state_tensor_may_share_a_name() -> None:
    x, w = Value(VECTOR, "w"), Value(VECTOR, "w")
    graph = Graph("g", (x,), (), (w, x), (w,), (("w", x),))
    verify_structure(graph)
    assert str(graph).startswith('graph @g(%1 "w": f32[3]) state(%2 "w": f32[3]) {')
    again = parse_graph(str(graph))
    assert again == graph and again.outputs == (again.state[0], again.inputs[0])


@pytest.mark.parametrize("name", HOSTILE)
def test_every_kind_of_name_is_quoted_where_it_must(name: str) -> None:
    x, w = Value(VECTOR, name), Value(VECTOR, f"state {name}")
    node = Node(name or "f", (x,), Attributes({name: name}), (Value(VECTOR, name),), (name, name))
    remark = Remark(name, name, (name,))
    graph = Graph(name, (x,), (node,), node.results, (w,), ((w.name, x),), (remark,))
    again = parse_graph(str(graph))
    assert again == graph
    assert again.nodes[0].source == (name, name) and again.inputs[0].name == name
    assert len(str(graph).splitlines()) == 6


@pytest.mark.parametrize("value", EDGES)
def test_floats_read_back_exactly(value: float) -> None:
    again = parse_graph(str(with_attribute(value))).nodes[0].attrs["a"]
    assert isinstance(again, float)
    assert math.isnan(again) if math.isnan(value) else again.hex() == value.hex()


def test_one_and_true_and_one_point_zero_stay_apart() -> None:
    shown = [attribute_text(value) for value in (1, True, 1.0, "1", (1,), ((), (1, 2.0)))]
    assert shown == ["1", "true", "1.0", '"1"', "(1,)", "((),(1,2.0))"]


def test_up_to_sixteen_elements_are_shown() -> None:
    assert attribute_text(Array(np.arange(16))).startswith("i64[16]{0, 1, 2")
    large = Array(np.arange(17))
    assert attribute_text(large) == f"i64[17]@sha256.{large.digest}"
    assert attribute_text(Array(np.array([[0.1, -0.0]], np.float32))) == "f32[1,2]{0.1, -0.0}"
    assert attribute_text(Array(np.array([True]))) == "bool[1]{true}"
    odd = np.array([0x7FC00001, 0xFFC00000, 0x7FC00000], np.uint32).view(np.float32)
    assert attribute_text(Array(odd)) == "f32[3]{nan(0x7fc00001), nan(0xffc00000), nan}"


def test_a_constant_known_by_digest_waits_for_its_elements() -> None:
    graph = with_attribute(Array(np.arange(100)))
    digest = next(iter(graph.constants))
    waiting = parse_graph(str(graph)).nodes[0].attrs["a"]
    assert (waiting.dtype, waiting.shape, waiting.has_data) == (int64, (100,), False)
    with pytest.raises(ArgumentError, match="constants"):
        _ = waiting.data
    again = parse_graph(str(graph), {digest: np.arange(100)}).nodes[0].attrs["a"]
    assert np.array_equal(again.data, np.arange(100))
    for wrong in (np.arange(99), np.arange(100, dtype=np.int32), np.zeros(100, np.float16)):
        with pytest.raises(ParseError, match="elements given"):
            parse_graph(str(graph), {digest: wrong})


def test_arrays_have_an_element_type_of_the_table_in_the_machine_s_byte_order() -> None:
    assert Array(np.array([1.0], ">f4")) == Array(np.array([1.0], "<f4"))
    assert Array(True).dtype == bool_
    with pytest.raises(DTypeError, match="float16"):
        Array(np.zeros(2, np.float16))


REFUSED = (
    ("", "line 1, column 1: expected 'graph', found end of text"),
    ("graph f()", "line 1, column 7: expected '@', found 'f'"),
    ("graph @f(%x: f32[2]) {\n  return %y\n}", "line 2, column 11: value %y is not defined"),
    ("graph @f(%x: f32[2], %x: f32[2]) { return }", "value %x is defined twice"),
    ("graph @f() { %1: f32[2] = g(%1) return }", "value %1 is not defined"),
    ("graph @f(%x: f33[2]) { return }", "expected an element type .*found 'f33'"),
    ("graph @f(%x: f32[-2]) { return }", "expected an extent, found '-'"),
    ("graph @f(%x: f32[2.5]) { return }", "expected an extent, found '2.5'"),
    (f"graph @f(%x: f32[{'9' * 30}]) {{ return }}", "an extent of at most"),
    (f"graph @f(%x: f32[{','.join('1' * 40)}]) {{ return }}", "40 dimensions"),
    ("graph @f() { = g() return }", "expected an operator, a result or 'return', found '='"),
    ("graph @f() { g() {a=1, a=2} return }", "attribute 'a' is given twice"),
    ("graph @f() { g() {a=(1)} return }", "expected ','"),
    ("graph @f() { g() {a=1 b=2} return }", "expected ','"),
    ("graph @f() { g() {a=maybe} return }", "expected an attribute's value, found 'maybe'"),
    ("graph @f() { g() {a=f32[2]{1.0}} return }", "expected 2 elements, found 1"),
    ("graph @f() { g() {a=u8[1]{256}} return }", "256 does not fit uint8"),
    ("graph @f() { g() {a=u8[1]{-1}} return }", "does not fit uint8"),
    ("graph @f() { g() {a=i32[1]{1.0}} return }", "expected an integer of type int32"),
    ("graph @f() { g() {a=f32[1]{1e39}} return }", "1e39 does not fit float32"),
    ("graph @f() { g() {a=bool[1]{1}} return }", "expected true or false"),
    ("graph @f() { g() {a=f32[1]{nan(0x1)}} return }", "0x1 is no NaN"),
    ("graph @f() { g() {a=i32[1]{nan(0x1)}} return }", "0x1 is no NaN"),
    ("graph @f() { g() {a=f32[9]@sha256.12} return }", "24 hexadecimal digits"),
    ('graph @f() { g() {a="\\q"} return }', r"unknown escape \\q"),
    ('graph @f() { g() {a="\\Uffffffff"} return }', "no character"),
    ('graph @f() { g() {a="x} return }', 'expected a word, found \'"\''),
    ("graph @f() { g() # a b\n return }", "expected source lines"),
    ("graph @f() { g() # a,\n return }", "expected source lines"),
    ("graph @f() { return } graph", "expected the end of the text, found 'graph'"),
    ("graph @f() { g() {a=" + "9" * 5000 + "} return }", "more than 1000 digits"),
    ("graph @f() { g() {a=0." + "9" * 5000 + "} return }", "more than 1000 digits"),
    ("graph @f() { g() {a=" + "(" * 5000, "at most 64 levels of nesting"),
    ("graph @f() { g() " * 5000, "at most 64 levels of nesting"),
    ("graph @f() { g() {a=i32[0,4611686018427387904]{}} return }", "no array can have the shape"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_no_graph_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse_graph(text)


def test_only_text_is_parsed() -> None:
    with pytest.raises(ParseError, match="expected text, got bytes"):
        parse_graph(b"graph")  # type: ignore[arg-type]  # what a caller may do by mistake


PIECES = st.sampled_from(
    (
        *'%@{}()[],:=#"\\-. \n', "//", "graph", "return", "update", "state", "f32", "f32[2]",
        "nan", "%1", "1e999", "0x", "0xff", "@sha256.", "9" * 40, "é", "\x00", "none", "(1,)",
        "i64[0]{}",
    )
)  # fmt: skip


@settings(max_examples=200)
@given(graphs(), st.data())
def test_mutated_text_is_a_graph_or_a_parse_error(graph: Graph, data: st.DataObject) -> None:
    text = str(graph)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 5)))
        text = text[:start] + data.draw(PIECES) + text[stop:]
    check_reads_or_refuses(text)


@settings(max_examples=200)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join)))
def test_any_text_is_a_graph_or_a_parse_error(text: str) -> None:
    check_reads_or_refuses(text)


def check_reads_or_refuses(text: str) -> None:
    try:
        graph = parse_graph(text)
    except ParseError as problem:
        assert str(problem).startswith("line ")
        return
    assert parse_graph(str(graph)) == graph
    try:
        verify_structure(graph)
    except GraphcError as problem:
        assert "[names]" in str(problem) or "[updates]" in str(problem)


def test_every_row_of_element_types_has_a_text() -> None:
    for dtype in ALL:
        assert parse_graph(str(with_attribute(dtype))).nodes[0].attrs["a"] == dtype
