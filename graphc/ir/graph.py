"""The tensor graph, the language in which a model is written down, differentiated and fused.

    Graph    inputs, state, nodes in topological order, outputs, updates (state name -> new value)
    Node     op . operands . attributes . regions (closed sub-graphs) . results . source lines
    Value    type (shape, dtype) and a name; its identity is the object itself

Everything is immutable: a pass builds a new graph and shares the values it leaves alone.
Elementwise operators take operands of one shape; broadcasting is a node of its own, so that no
rule has to undo it. A region is closed: what it reads of the graph around it is an operand.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias, Union

import numpy as np

import graphc.dtypes as dtypes
from graphc.dtypes import DType
from graphc.errors import ArgumentError


@dataclass(frozen=True)
class TensorType:
    """Shape and element type of a value. Prints as ``f32[64,3,32,32]``."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def rank(self) -> int:
        return len(self.shape)

    @cached_property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.short}[{','.join(map(str, self.shape))}]"


class Array:
    """A constant's elements: read-only, compared and hashed by dtype, shape and bytes.

    An Array read from a text may be known by its digest only; it compares equal to the one with
    the elements, and `data` raises ArgumentError. Raises DTypeError for a type without a row.
    """

    __slots__ = ("_data", "digest", "dtype", "shape")
    digest: str

    def __init__(self, data: Any) -> None:
        array = np.array(data, order="C")
        self.dtype = dtypes.get(array.dtype)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        array.setflags(write=False)
        self._data: np.ndarray[Any, Any] | None = array
        self.shape: tuple[int, ...] = array.shape
        header = f"{array.dtype.str}{array.shape}".encode()
        self.digest = hashlib.sha256(header + array.tobytes()).hexdigest()[:24]

    @classmethod
    def without_data(cls, digest: str, dtype: DType, shape: tuple[int, ...]) -> Array:
        """An Array of which only the digest is known."""
        array = cls.__new__(cls)
        array._data, array.digest, array.dtype, array.shape = None, digest, dtype, shape
        return array

    @property
    def has_data(self) -> bool:
        return self._data is not None

    @property
    def data(self) -> np.ndarray[Any, Any]:
        if self._data is None:
            raise ArgumentError(f"{self} has no elements; pass them to parse as `constants`")
        return self._data

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Array({self.dtype}{list(self.shape)}, {self.digest})"


Attribute: TypeAlias = Union[bool, int, float, str, DType, Array, "tuple[Attribute, ...]", None]


class Attributes(Mapping[str, Attribute]):
    """A node's attributes: an immutable, hashable mapping in the order of the names."""

    __slots__ = ("_hash", "_items")

    def __init__(self, items: Mapping[str, Attribute]) -> None:
        for name, value in items.items():
            _check_attribute(name, value)
        self._items = dict(sorted(items.items()))
        self._hash = hash(tuple(_hash_key(value) for value in self._items.items()))

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Attributes):
            return NotImplemented
        return _hash_key(tuple(self._items.items())) == _hash_key(tuple(other._items.items()))

    def __repr__(self) -> str:
        return f"Attributes({self._items})"


def _hash_key(value: Any) -> object:
    """A key under which 1, 1.0 and True differ, and NaN equals itself and -0.0 not 0.0."""
    if isinstance(value, tuple):
        return tuple(_hash_key(item) for item in value)
    if isinstance(value, float):
        return ("float", value.hex())
    return (type(value).__name__, value)


def _check_attribute(name: str, value: Any) -> None:
    if isinstance(value, tuple):
        for item in value:
            _check_attribute(name, item)
    elif not (value is None or isinstance(value, bool | int | float | str | DType | Array)):
        raise ArgumentError(
            f"attribute {name!r} is {type(value).__name__}; expected None, bool, int, float, "
            "str, an element type, an Array or a tuple of these"
        )


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor: a graph's input, a state tensor, or a node's result."""

    type: TensorType
    name: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an operator."""

    op: str
    operands: tuple[Value, ...]
    attrs: Attributes
    results: tuple[Value, ...]
    source: tuple[str, ...] = ()
    regions: tuple[Graph, ...] = ()

    @property
    def result(self) -> Value:
        """The one result of a node that has exactly one."""
        (value,) = self.results
        return value


@dataclass(frozen=True)
class Remark:
    """What a pass says of its choice: why nodes were fused, or why they were not."""

    origin: str  # the pass
    text: str
    source: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Graph:
    """A program over tensors. Equality is that of the printed text, source lines included."""

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    state: tuple[Value, ...] = ()
    updates: tuple[tuple[str, Value], ...] = ()
    remarks: tuple[Remark, ...] = field(default=())

    @cached_property
    def producers(self) -> Mapping[Value, Node]:
        """The node that computes each value."""
        return {value: node for node in self.nodes for value in node.results}

    @cached_property
    def users(self) -> Mapping[Value, tuple[Node, ...]]:
        """The nodes that read each value (once each), in the order of the graph."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.operands):
                found.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in found.items()}

    @property
    def results(self) -> tuple[Value, ...]:
        """All that a call leaves behind: the outputs, then the new values of the state."""
        return self.outputs + tuple(value for _, value in self.updates)

    @cached_property
    def constants(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """{digest: elements} of every constant in the graph and its regions."""
        found: dict[str, np.ndarray[Any, Any]] = {}
        for node in self.every_node():
            for value in node.attrs.values():
                if isinstance(value, Array):
                    found[value.digest] = value.data
        return found

    def every_node(self) -> Iterator[Node]:
        """The nodes, each followed by those of its regions."""
        for node in self.nodes:
            yield node
            for region in node.regions:
                yield from region.every_node()

    def with_remarks(self, *remarks: Remark) -> Graph:
        return replace(self, remarks=self.remarks + remarks)

    def to_networkx(self) -> Any:
        """The graph as a networkx.MultiDiGraph; see `graphc.ir.export.to_networkx`."""
        from graphc.ir.export import to_networkx

        return to_networkx(self)

    def __str__(self) -> str:
        from graphc.ir.text import format_graph

        return format_graph(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return self is other or self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)

    @cached_property
    def canonical(self) -> tuple[Any, ...]:
        """The graph with every value replaced by its number: what equality compares."""
        return _canonical(self, with_source=True)

    @cached_property
    def structural_hash(self) -> str:
        """A digest of the graph without its source lines: the key of caches."""
        return hashlib.sha256(repr(_canonical(self, with_source=False)).encode()).hexdigest()


def _canonical(graph: Graph, with_source: bool) -> tuple[Any, ...]:
    numbers: dict[Value, int] = {}
    for value in (*graph.inputs, *graph.state):
        numbers[value] = len(numbers)
    nodes = []
    for node in graph.nodes:
        operands = tuple(numbers[value] for value in node.operands)
        for value in node.results:
            numbers[value] = len(numbers)
        nodes.append(
            (
                node.op,
                operands,
                _hash_key(tuple(node.attrs.items())),
                tuple(value.type for value in node.results),
                tuple(_canonical(region, with_source) for region in node.regions),
                node.source if with_source else (),
            )
        )
    return (
        graph.name,
        tuple((value.type, value.name) for value in graph.inputs),
        tuple((value.type, value.name) for value in graph.state),
        tuple(nodes),
        tuple(numbers[value] for value in graph.outputs),
        tuple((name, numbers[value]) for name, value in graph.updates),
    )
