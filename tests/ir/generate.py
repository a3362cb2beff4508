"""Random graphs for tests of structure and text: any operator, any types, any names.

The operators are made up, so nothing here depends on the table of operators; for graphs that can
run, see tests/random_graphs.py. Names, strings and source lines may hold any character.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from graphc.dtypes import ALL, DType, float32, float64
from graphc.ir import Array, Attribute, Attributes, Graph, Node, Remark, TensorType, Value

dtypes = st.sampled_from(ALL)
shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
types = st.builds(TensorType, shapes, dtypes)
plain_names = st.from_regex(r"[a-z][a-z0-9_]{0,5}(\.[a-z0-9_]{1,4}){0,2}", fullmatch=True)
HOSTILE = (
    "return", "update", "graph", "state", "nan", "f32", "none", "1", "%1", "@f", "a b", 'a"b',
    "a\nb", "\\", "\\n", "a.", "..", ".a", "a/b", "a//b", "# x", "}", ")", "é", "日本", "\u202e",
    "\x00", "\ud800", "𝒳", "a:3", "a,b", "", " ", "sha256.00",
)  # fmt: skip
texts = st.one_of(plain_names, st.sampled_from(HOSTILE), st.text(max_size=8))
names = texts.filter(bool)
lines = st.one_of(st.builds("{}.py:{}".format, plain_names, st.integers(1, 999)), texts)
sources = st.lists(lines, max_size=3).map(tuple)
EDGES = (0.0, -0.0, math.nan, math.inf, -math.inf, 0.1, 1e22, 5e-324, 1.7976931348623157e308)
floats = st.one_of(st.sampled_from(EDGES), st.floats(allow_nan=False))


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Of any type and bits, with up to 2 * 16 elements or a little more."""
    dtype: DType = draw(dtypes)
    shape = draw(st.lists(st.integers(0, 4), max_size=3).map(tuple))
    size = math.prod(shape)
    raw = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
    if dtype.kind == "bool":
        raw = bytes(byte & 1 for byte in raw)
    data: np.ndarray[Any, Any] = np.ndarray(shape, dtype.numpy, raw)
    if dtype in (float32, float64) and draw(st.booleans()):
        data = np.full(shape, draw(floats), np.float64)
        with np.errstate(over="ignore"):
            data = data.astype(dtype.numpy)
    return Array(data)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(1 << 70), 1 << 70), floats, texts, dtypes
)
attribute_values: st.SearchStrategy[Attribute] = st.recursive(
    st.one_of(scalars, arrays()), lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8
)
attributes = st.dictionaries(texts, attribute_values, max_size=3).map(Attributes)


def declared(draw: st.DrawFn, named: bool) -> tuple[Value, ...]:
    """Values with distinct names; inputs may have none."""
    found = draw(st.lists(names, max_size=3, unique=True))
    nameless = 0 if named else draw(st.integers(0, 2))
    return tuple(Value(draw(types), name) for name in [*found, *[""] * nameless])


@st.composite
def graphs(draw: st.DrawFn, depth: int = 0, region: bool = False) -> Graph:
    """A graph that `verify_structure` accepts, with regions up to two deep."""
    inputs = declared(draw, named=False)
    state = () if region else declared(draw, named=True)
    known = [*inputs, *state]
    nodes = []
    for _ in range(draw(st.integers(0, 4))):
        node = draw_node(draw, known, depth)
        nodes.append(node)
        known.extend(node.results)
    picked = st.lists(st.sampled_from(known), max_size=3).map(tuple) if known else st.just(())
    updates = draw_updates(draw, state, known)
    remarks = draw(st.lists(st.builds(Remark, texts, texts, sources), max_size=2).map(tuple))
    return Graph(draw(texts), inputs, tuple(nodes), draw(picked), state, updates, remarks)


def draw_node(draw: st.DrawFn, known: list[Value], depth: int) -> Node:
    operands = draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
    results = tuple(Value(type) for type in draw(st.lists(types, max_size=3)))
    inner = graphs(depth + 1, region=True)
    regions = (
        draw(st.lists(inner, max_size=2)) if depth < 2 and draw(st.integers(0, 5)) == 0 else []
    )
    return Node(
        draw(names), tuple(operands), draw(attributes), results, draw(sources), tuple(regions)
    )


def draw_updates(
    draw: st.DrawFn, state: tuple[Value, ...], known: list[Value]
) -> tuple[tuple[str, Value], ...]:
    updates = []
    for tensor in state:
        fitting = [value for value in known if value.type == tensor.type]
        if draw(st.booleans()):
            updates.append((tensor.name, draw(st.sampled_from(fitting))))
    return tuple(updates)
