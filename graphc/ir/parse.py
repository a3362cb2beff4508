"""Reads the text form of graphs; `graphc.ir.text` has its grammar.

The types in the text are taken as they are: whether they follow from the operators is for
`graphc.ops.verify` to say.

>>> graph = parse_graph("graph @f(%x: f32[2]) { %1: f32[2] = exp(%x) # f.py:1\\n return %1 }")
>>> graph.nodes[0].op, graph.nodes[0].source
('exp', ('f.py:1',))
>>> parse_graph("graph @f() { return %1 }")
Traceback (most recent call last):
    ...
graphc.errors.ParseError: line 1, column 22: value %1 is not defined
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from graphc.dtypes import DType
from graphc.errors import GraphcError
from graphc.ir.graph import Array, Attribute, Attributes, Graph, Node, TensorType, Value
from graphc.ir.text import RESERVED_OPS
from graphc.lexing import Scanner, Token, quote_unless_name

Constants: TypeAlias = "Mapping[str, np.ndarray[Any, Any]]"
Id: TypeAlias = int | str

_WORDS: dict[str, Attribute] = {"none": None, "true": True, "false": False}


def parse_graph(text: str, constants: Constants | None = None) -> Graph:
    """The graph that a text describes.

    `constants` gives the elements of arrays that the text names by digest, {digest: elements};
    without them the graph is equal all the same, but cannot run. Raises ParseError.
    """
    reader = _Reader(Scanner(text), constants or {})
    graph = reader.graph()
    reader.words.end()
    return graph


class _Scope:
    """The values of one graph by their ids."""

    def __init__(self, words: Scanner) -> None:
        self._words = words
        self._values: dict[Id, Value] = {}

    def define(self, id: Id, value: Value, token: Token) -> Value:
        if id in self._values:
            raise self._words.refuse(f"value %{_show(id)} is defined twice", token)
        self._values[id] = value
        return value

    def reference(self) -> Value:
        self._words.expect("%")
        token = self._words.token
        id = read_id(self._words)
        if id not in self._values:
            raise self._words.refuse(f"value %{_show(id)} is not defined", token)
        return self._values[id]


def _show(id: Id) -> str:
    return quote_unless_name(id) if isinstance(id, str) else str(id)


def read_id(words: Scanner) -> Id:
    """What follows the % of a value."""
    if words.token.kind == "number":
        return words.integer("a value's number or name")
    return words.name("a value's number or name")


class _Reader:
    def __init__(self, words: Scanner, constants: Constants) -> None:
        self.words = words
        self._constants = constants

    def graph(self) -> Graph:
        self.words.expect("graph")
        self.words.expect("@")
        name = self.words.name()
        scope = _Scope(self.words)
        inputs = self._declarations(scope)
        state = self._declarations(scope) if self.words.accept("state") else ()
        self.words.expect("{")
        nodes = []
        while not self.words.accept("return"):
            nodes.append(self._node(scope))
        outputs = self._outputs(scope)
        updates = []
        while self.words.accept("update"):
            updates.append(self._update(scope))
        self.words.expect("}")
        return Graph(name, inputs, tuple(nodes), outputs, state, tuple(updates))

    def _declarations(self, scope: _Scope) -> tuple[Value, ...]:
        self.words.expect("(")
        return self.words.listed(lambda: self._declaration(scope), ")")

    def _declaration(self, scope: _Scope) -> Value:
        self.words.expect("%")
        token = self.words.token
        id = read_id(self.words)
        name = id if isinstance(id, str) else ""
        if self.words.token.kind == "string":
            name = self.words.string()
        self.words.expect(":")
        return scope.define(id, Value(self._type(), name), token)

    def _type(self) -> TensorType:
        dtype = self.words.dtype()
        return TensorType(self.words.shape(), dtype)

    def _outputs(self, scope: _Scope) -> tuple[Value, ...]:
        if not self.words.at("%"):
            return ()
        outputs = [scope.reference()]
        while self.words.accept(","):
            outputs.append(scope.reference())
        return tuple(outputs)

    def _update(self, scope: _Scope) -> tuple[str, Value]:
        self.words.expect("%")
        name = self.words.name("the name of a state tensor")
        self.words.expect("=")
        return name, scope.reference()

    def _node(self, scope: _Scope) -> Node:
        """Results are defined last, so that no node reads its own."""
        declared: list[tuple[Id, Value, Token]] = []
        while self.words.at("%"):
            declared.append(self._result())
            if not self.words.accept(","):
                self.words.expect("=")
                break
        op = self.words.name("an operator, a result or 'return'", RESERVED_OPS)
        self.words.expect("(")
        operands = self.words.listed(scope.reference, ")")
        attrs = self._attributes()
        source = self.words.source()
        regions = []
        while self.words.at("graph"):
            with self.words.nested():
                regions.append(self.graph())
        results = tuple(scope.define(*entry) for entry in declared)
        return Node(op, operands, attrs, results, source, tuple(regions))

    def _result(self) -> tuple[Id, Value, Token]:
        self.words.expect("%")
        token = self.words.token
        id = read_id(self.words)
        self.words.expect(":")
        return id, Value(self._type()), token

    # Attributes

    def _attributes(self) -> Attributes:
        if not self.words.accept("{"):
            return Attributes({})
        found: dict[str, Attribute] = {}

        def item() -> None:
            token = self.words.token
            name = self.words.name("an attribute's name")
            if name in found:
                raise self.words.refuse(f"attribute {name!r} is given twice", token)
            self.words.expect("=")
            found[name] = self.attribute()

        self.words.listed(item, "}")
        return Attributes(found)

    def attribute(self) -> Attribute:
        token = self.words.token
        if token.kind == "string":
            return self.words.string()
        if token.kind == "name" and token.text in _WORDS:
            return _WORDS[self.words.advance().text]
        if self.words.at("("):
            return self._tuple()
        if self.words.at_dtype():
            dtype = self.words.dtype()
            return self._array(dtype, token) if self.words.at("[") else dtype
        if token.kind == "number" or self.words.at("-", "nan", "inf"):
            return self.words.number()
        raise self.words.error("an attribute's value")

    def _tuple(self) -> tuple[Attribute, ...]:
        self.words.expect("(")
        items: list[Attribute] = []
        with self.words.nested():
            while not self.words.accept(")"):
                items.append(self.attribute())
                if len(items) == 1 or not self.words.at(")"):
                    self.words.expect(",")
        return tuple(items)

    def _array(self, dtype: DType, start: Token) -> Array:
        shape = self.words.shape()
        if self.words.accept("@"):
            return self._named_array(dtype, shape, start)
        self.words.expect("{")
        elements = self.words.listed(lambda: self._element(dtype), "}")
        size = TensorType(shape, dtype).size
        if size != len(elements):
            raise self.words.refuse(f"expected {size} elements, found {len(elements)}", start)
        try:
            flat = np.frombuffer(b"".join(elements), dtype.numpy)
            return Array(flat.reshape(shape))
        except (ValueError, OverflowError):
            raise self.words.refuse(f"no array can have the shape {shape}", start) from None

    def _named_array(self, dtype: DType, shape: tuple[int, ...], start: Token) -> Array:
        token = self.words.token
        word = self.words.name("sha256. and a digest")
        if not re.fullmatch(r"sha256\.[0-9a-f]{24}", word):
            raise self.words.error("sha256. and 24 hexadecimal digits", token)
        digest = word.removeprefix("sha256.")
        if digest not in self._constants:
            return Array.without_data(digest, dtype, shape)
        array = _array_of(self._constants[digest], self.words, token)
        if (array.digest, array.dtype, array.shape) != (digest, dtype, shape):
            raise self.words.refuse(f"the elements given as {word} are {array}", start)
        return array

    def _element(self, dtype: DType) -> bytes:
        token = self.words.token
        if dtype.kind == "bool":
            word = self.words.accept("true", "false")
            if word is None:
                raise self.words.error("true or false")
            return np.bool_(word == "true").tobytes()
        if self.words.at("nan") and self.words.ahead(1).text == "(":
            return self._nan_bits(dtype)
        value = self.words.number()
        if dtype.is_integer and isinstance(value, float):
            raise self.words.error(f"an integer of type {dtype}", token)
        return self._stored(value, dtype, token)

    def _nan_bits(self, dtype: DType) -> bytes:
        self.words.expect("nan")
        self.words.expect("(")
        token = self.words.token
        bits = self.words.integer("the bits of a NaN", (1 << dtype.bits) - 1)
        self.words.expect(")")
        stored = bits.to_bytes(dtype.itemsize, "little")
        if not dtype.is_float or not np.isnan(np.frombuffer(stored, dtype.numpy)[0]):
            raise self.words.refuse(f"{bits:#x} is no NaN of type {dtype}", token)
        return stored

    def _stored(self, value: int | float, dtype: DType, token: Token) -> bytes:
        """The bytes of a number; refuses what the type cannot hold."""
        try:
            with np.errstate(over="ignore"):
                element = np.array(value if dtype.is_integer else float(value), dtype.numpy)
            exact = int(element) == value if dtype.is_integer else True
        except (OverflowError, ValueError):
            exact = False
        if not exact or (np.isinf(element) and not np.isinf(value)):
            raise self.words.refuse(f"{token.text[:40]} does not fit {dtype}", token)
        return element.tobytes()


def _array_of(elements: Any, words: Scanner, token: Token) -> Array:
    try:
        return Array(elements)
    except (GraphcError, ValueError) as problem:
        raise words.refuse(f"the elements given for it: {problem}", token) from None
