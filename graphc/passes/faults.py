"""Checks of indices that are known only at run time.

    before  %1: f32[8,16] = gather(%table, %n) {axis=0}            # net.py:4
            return %1
            update %table = %9
    after   %1: f32[8,16] = gather(%table, %n) {axis=0}            # net.py:4
            %2: bool[] = (some n < 0 or n >= 100)                  # net.py:4
            %3: i64[] = where(%2, 1, 0)
            %4: f32[100,16] = where(%3 == 0, %9, %table)
            return %1, %3
            update %table = %4

Operators are total: a bad index reads 0 or drops its update. The last output is then 0 where all
indices were good, else the number of a check that failed, the first of the graph; no update is
applied in that case. `checks_of(graph)[number - 1]` says what and where it was. Checks of operators
inside scan and cond come out through a carry and a result. Indices that are constants are checked
here, at compile time. A block written into the state is guarded otherwise: see `fault_updates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from graphc.dtypes import int64
from graphc.errors import IndexFault
from graphc.ir import Attributes, Graph, Node, Remark, TensorType, Value
from graphc.ops.define import get
from graphc.ops.evaluate import apply
from graphc.passes.base import Pass
from graphc.passes.clone import live_nodes
from graphc.passes.fault_updates import guard_updates
from graphc.passes.rewrite import Rewriter

_NUMBER = TensorType((), int64)


@dataclass(frozen=True)
class Faults(Pass):
    """Add the fault number as a last output, and make updates depend on it."""

    name: ClassVar[str] = "faults"

    def run(self, graph: Graph) -> Graph:
        checks: list[Remark] = []
        checked = _Checked(graph, checks)
        if not checks:
            return graph
        b = checked.builder
        b.source = ()
        number = checked.number()
        fine = b.compare("eq", number, b.like(0, number))
        guarded = guard_updates(graph, b.nodes, fine)
        return replace(
            guarded,
            outputs=(*graph.outputs, number),
            remarks=(*graph.remarks, *checks),
        )


def checks_of(graph: Graph) -> tuple[Remark, ...]:
    """What the checks of a graph say when they fail, in the order of their numbers, from 1."""
    return tuple(remark for remark in graph.remarks if remark.origin == Faults.name)


@dataclass
class _Checked:
    """A graph, or a region, with the checks of its nodes; `checks` are those of the whole."""

    graph: Graph
    checks: list[Remark]
    builder: Rewriter = field(default_factory=lambda: Rewriter({}))
    found: list[Value] = field(default_factory=list)  # fault numbers, each 0 where all is well

    def __post_init__(self) -> None:
        self._flags: set[Value] = set()
        self._known: dict[Value, np.ndarray[Any, Any] | None] = {}
        for node in self.graph.nodes:
            current = self._with_regions(node)
            self.builder.take(current)
            if get(node.op).fault is not None:
                self._check(current)

    def number(self) -> Value:
        """The number of the first check that failed, or 0."""
        b = self.builder
        if not self.found:
            return b.zeros(_NUMBER)
        total = self.found[-1]
        for number in reversed(self.found[:-1]):
            failed = b.compare("ne", number, b.like(0, number))
            total = b.where(failed, number, total)
        return total

    def _check(self, node: Node) -> None:
        """Write the node's check; one that an equal index had before is not written again."""
        rule = get(node.op).fault
        assert rule is not None
        b = self.builder
        b.source = node.source
        flag = rule(b, node)
        if flag in self._flags:
            return
        self._flags.add(flag)
        known = self._value_of(flag)
        if known is not None:
            if bool(known):
                raise IndexFault(f"{_complaint(node)} ({', '.join(node.source)})")
            return
        self.checks.append(Remark(Faults.name, _complaint(node), node.source))
        number = b.constant(len(self.checks), int64)
        self.found.append(b.where(flag, number, b.zeros(_NUMBER)))

    def _value_of(self, value: Value) -> np.ndarray[Any, Any] | None:
        """The elements of a value that depends on constants alone, else None."""
        if value not in self._known:
            node = self.builder.producer(value)
            self._known[value] = None if node is None or node.regions else self._apply(node)
        return self._known[value]

    def _apply(self, node: Node) -> np.ndarray[Any, Any] | None:
        operands = []
        for operand in node.operands:
            array = self._value_of(operand)
            if array is None:
                return None
            operands.append(array)
        with np.errstate(all="ignore"):
            return apply(node, operands)[0] if len(node.results) == 1 else None

    # Regions

    def _with_regions(self, node: Node) -> Node:
        """A scan or cond whose regions give their fault numbers out, if there are checks inside."""
        if node.op not in ("scan", "cond"):
            return node
        before = len(self.checks)
        inner = [_Checked(region, self.checks) for region in node.regions]
        if len(self.checks) == before:
            return node
        number = Value(_NUMBER)
        self.found.append(number)
        if node.op == "cond":
            regions = tuple(_giving_number(part) for part in inner)
            return replace(node, regions=regions, results=(*node.results, number))
        return self._carrying_number(node, inner[0], number)

    def _carrying_number(self, node: Node, body: _Checked, number: Value) -> Node:
        """A scan with one more carry: the number of the first check that failed so far."""
        carries = node.attrs["carries"]
        at = node.attrs["consts"] + carries
        start = self.builder.zeros(_NUMBER)
        return replace(
            node,
            operands=_inserted(node.operands, at, start),
            results=_inserted(node.results, carries, number),
            regions=(_accumulating(body, at, carries),),
            attrs=Attributes({**node.attrs, "carries": carries + 1}),
        )


def _giving_number(part: _Checked) -> Graph:
    """A branch with its fault number as a last output."""
    part.builder.source = ()
    outputs = (*part.graph.outputs, part.number())
    return _finished(part, part.graph.inputs, outputs)


def _accumulating(body: _Checked, at: int, carries: int) -> Graph:
    """A body that keeps the number that it is given, or takes its own where that is 0."""
    b, so_far = body.builder, Value(_NUMBER)
    b.source = ()
    own = body.number()
    failed = b.compare("ne", so_far, b.like(0, so_far))
    number = b.where(failed, so_far, own)
    inputs = _inserted(body.graph.inputs, at, so_far)
    return _finished(body, inputs, _inserted(body.graph.outputs, carries, number))


def _finished(part: _Checked, inputs: tuple[Value, ...], outputs: tuple[Value, ...]) -> Graph:
    nodes = live_nodes(part.builder.nodes, outputs)
    return replace(part.graph, inputs=inputs, nodes=nodes, outputs=outputs)


def _inserted(values: Sequence[Value], at: int, value: Value) -> tuple[Value, ...]:
    return (*values[:at], value, *values[at:])


def _complaint(node: Node) -> str:
    """What is wrong when the node's check fails."""
    x = node.operands[0].type
    attrs: Mapping[str, Any] = node.attrs
    axis = attrs.get("axis")
    where = str(x) if axis is None else f"0 to {x.shape[axis] - 1}, dimension {axis} of {x}"
    return f"{node.op}: an index lies outside {where}"
