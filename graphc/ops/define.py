"""What an operator is: one record, in one table.

    tanh = define(
        "tanh",
        infer=same_type,                    # the typing rule; its errors are the shape errors
        meaning=lambda x: np.tanh(x),       # NumPy: the oracle of every backend
        vjp=tanh_vjp,                       # reverse mode, written in graph nodes
        lower=lambda ctx, at: call("tanh", ctx.operand(0, at)),   # its value at one index
        samples=unary_samples(-3, 3),       # what every generated test runs on
        elementwise=True,
    )

Nothing else in the compiler names an operator: passes read the record's facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from graphc.errors import ArgumentError
from graphc.ir import Attribute, Attributes, Graph, Node, TensorType, Value
from graphc.loops import Buffer, Expr, Statement

Arrays = tuple["np.ndarray[Any, Any]", ...]
Types = Sequence[TensorType]
Attrs = Mapping[str, Any]
Regions = Sequence[Graph]
Cotangents = Sequence["Value | None"]


class Emitter(Protocol):
    """Where rules write nodes: `graphc.ops.build.Builder` offers it."""

    def emit(
        self,
        op: str,
        operands: Sequence[Value],
        attrs: Mapping[str, Attribute] | None = None,
        regions: Sequence[Graph] = (),
    ) -> tuple[Value, ...]: ...


class LoweringContext(Protocol):
    """What `lower` and `nest` see of one node while it becomes loops.

    `operand(i, index, guard, fill)` is operand i's element at `index` (a sequence of index
    expressions, one per dimension), read only where `guard` holds, else `fill` (0). The operand
    may be a buffer or a producer inlined at that index; the rule cannot tell, and need not.
    """

    node: Node

    def operand(
        self,
        position: int,
        index: Sequence[Expr],
        guard: Expr | None = None,
        fill: int | float | bool = 0,
    ) -> Expr: ...

    def fresh(self, prefix: str) -> str:
        """A variable name that nothing else in this kernel uses."""
        ...


class NestContext(LoweringContext, Protocol):
    """For `nest`: the results' buffers, to store to by name.

    A nest may also load from them what the same iteration of its parallel loops has stored.
    """

    results: tuple[Buffer, ...]


@dataclass(frozen=True)
class Linearised:
    """A region and its reverse mode, with the values that cross from one to the other.

    forward    the region; its outputs are followed by the results that the backward reads
    backward   (saved..., cotangents of the float outputs...) -> cotangents of the wanted inputs
    saved      inputs and outputs of the forward, those that are inputs first
    """

    forward: Graph
    backward: Graph
    saved: tuple[Value, ...]


class Differentiator(Emitter, Protocol):
    """What a `vjp` is given: the builder of the autodiff pass, for the rules that need more.

    Most rules use only what `graphc.ops.build.Builder` offers.
    """

    def wants(self, value: Value) -> bool:
        """Whether a cotangent of `value` is of any use."""
        ...

    def differentiate(self, region: Graph, wanted: Sequence[int]) -> Graph:
        """Reverse mode of a region: inputs and cotangents to the cotangents of some inputs.

        The result takes the region's inputs, then a cotangent for each of its outputs of a float
        type, in order, and returns a cotangent for each input in `wanted` (positions of float
        inputs), zeros where no output depends on it.
        """
        ...

    def linearise(
        self, region: Graph, wanted: Sequence[int], held: Sequence[int], again: bool = False
    ) -> Linearised:
        """As `differentiate`, but with results of the forward handed to the backward.

        `held` are the positions of the inputs that the backward has at no cost. Where `again`,
        only inputs are handed over.
        """
        ...

    def extend(
        self, node: Node, regions: Sequence[Graph], attrs: Mapping[str, Attribute] | None = None
    ) -> tuple[Value, ...]:
        """Let `node` return more: it is replaced, where it stands, by the same operator.

        The new node has the same operands and the given regions and attributes (None: the old).
        Its first results are `node`'s; all its results are returned.
        """
        ...


Infer = Callable[[Types, Attrs, Regions], Types]
Meaning = Callable[..., Any]
# The first argument is a Differentiator that is also a Builder.
Vjp = Callable[[Any, Node, Cotangents], Cotangents]
Decompose = Callable[[Any, Node], Sequence[Value]]
Lower = Callable[[LoweringContext, tuple[Expr, ...]], "Expr | tuple[Expr, ...]"]
Nest = Callable[[NestContext], Sequence[Statement]]


@dataclass(frozen=True)
class Sample:
    """One set of arguments that the generated tests run an operator on."""

    arrays: Arrays
    attrs: Mapping[str, Attribute] = field(default_factory=dict)
    regions: tuple[Graph, ...] = ()
    differentiable: bool = True  # compare its gradient with finite differences


@dataclass(frozen=True)
class Op:
    """An operator.

    name         its name in the IR
    infer        (operand types, attributes, regions) -> result types; raises ShapeError, DTypeError
    meaning      (*arrays, **attributes) -> array or tuple of arrays; regions come as keyword
                 `regions`, where there are any
    vjp          (builder, node, cotangents of the results or None, not all None) -> cotangents of
                 the operands or None; absent: it is decomposed first, or has no derivative
    decompose    (builder, node) -> results, in simpler operators
    lower        its value at one index of its results (all of one shape), in the loop IR
    nest         the whole loop nest, where no value-at-an-index form fits; beside `lower` it is for
                 results that are stored over operands as `overwrites` says
    elementwise  result element i depends on element i of each operand only
    commutative  operands may be exchanged
    reduction    reads many elements for each result element
    contraction  a sum of products of two operands: matmul, convolution and their gradients
    view         moves no element when the layout allows it
    fault        (builder, node) -> bool[], true where an index known only at run time lies outside;
                 absent: the operator has no such index
    overwrites   of a nest: (operand, result) of one type, where an element of the operand is read
                 in one iteration alone, before the result's element there is stored
    max_ulp      greatest error of a backend against the correctly rounded result, float32; of a
                 reduction or contraction: in ulp of the sum of its terms' magnitudes
    """

    name: str
    infer: Infer
    meaning: Meaning | None = None
    vjp: Vjp | None = None
    decompose: Decompose | None = None
    lower: Lower | None = None
    nest: Nest | None = None
    fault: Callable[[Any, Node], Value] | None = None
    samples: Callable[[], Sequence[Sample]] = tuple
    elementwise: bool = False
    commutative: bool = False
    reduction: bool = False
    contraction: bool = False
    view: bool = False
    overwrites: tuple[tuple[int, int], ...] = ()
    max_ulp: float = 0.5
    zero_gradient: bool = False  # piecewise constant: floor, comparisons, argmax


_TABLE: dict[str, Op] = {}


def define(name: str, **fields: Any) -> Op:
    """Make an operator's record and enter it in the table (at import of its file only)."""
    if name in _TABLE:
        raise ArgumentError(f"operator {name!r} is defined twice")
    _TABLE[name] = Op(name, **fields)
    return _TABLE[name]


def get(name: str) -> Op:
    """The record of an operator. Raises ArgumentError for a name that is not in the table."""
    if name not in _TABLE:
        raise ArgumentError(f"no operator {name!r}")
    return _TABLE[name]


def table() -> Mapping[str, Op]:
    return _TABLE


def make_node(
    op: str,
    operands: Sequence[Value],
    attrs: Mapping[str, Attribute] | None = None,
    regions: Sequence[Graph] = (),
    source: tuple[str, ...] = (),
) -> Node:
    """A typed node: the operator's rule gives the types of its results."""
    frozen = attrs if isinstance(attrs, Attributes) else Attributes(attrs or {})
    types = get(op).infer([value.type for value in operands], frozen, regions)
    results = tuple(Value(type) for type in types)
    return Node(op, tuple(operands), frozen, results, source, tuple(regions))


def same_type(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """The typing rule of unary elementwise operators."""
    return (types[0],)
