"""Recording into a graph."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import TraceError
from graphc.frontends.tracing.holder import Holder
from graphc.frontends.tracing.recorder import Recorder
from graphc.frontends.tracing.tensor import Tensor
from graphc.ir import Array, Attribute, Graph, Node, TensorType, Value
from graphc.ops import make_node


class Trace(Recorder):
    """Writes each operation down as a node.

    A nested trace becomes a region, which is closed: a tensor of the code around it, and every
    state tensor that it reads, becomes an input of the region and an operand of its node.
    """

    nodes: list[Node]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.nodes = []
        self.captured: dict[Value, tuple[Tensor, Value]] = {}
        self.first_reads: dict[Holder, Value] = {}
        self._key: Tensor | None = None

    def emit(
        self,
        op: str,
        operands: Sequence[Tensor],
        attrs: Mapping[str, Attribute] | None = None,
        regions: Sequence[Graph] = (),
        source: tuple[str, ...] | None = None,
    ) -> tuple[Tensor, ...]:
        values = [self.open(operand).value for operand in operands]
        lines = self.session.source() if source is None else source
        node = make_node(op, values, attrs, regions, lines)
        self.nodes.append(node)
        return tuple(Tensor(self, value) for value in node.results)

    def input(self, type: TensorType, name: str = "") -> Tensor:
        """A tensor that the graph takes as an input; the caller keeps it."""
        return Tensor(self, Value(type, name))

    def constant(self, elements: np.ndarray[Any, Any]) -> Tensor:
        (tensor,) = self.emit("constant", (), {"value": Array(elements)})
        return tensor

    def open(self, tensor: Tensor) -> Tensor:
        """The tensor itself, or the input that stands for one of the code around this trace."""
        if tensor.recorder is self:
            return tensor
        if self.parent is None:
            return self._open_foreign(tensor)
        outer = self.parent.open(tensor)
        if outer.value not in self.captured:
            self.captured[outer.value] = (outer, Value(outer.value.type))
        return Tensor(self, self.captured[outer.value][1])

    def _open_foreign(self, tensor: Tensor) -> Tensor:
        if tensor.elements is not None:
            return self.constant(tensor.elements)
        raise TraceError(
            f"a traced value {tensor.type} is used outside the function that was traced; "
            "return it from that function, or register a buffer to keep it"
        )

    def first_read(self, holder: Holder) -> Tensor:
        if holder not in self.first_reads:
            self.first_reads[holder] = Value(holder.type, self.session.name_of(holder))
        return Tensor(self, self.first_reads[holder])

    def key(self) -> Tensor:
        if self._key is None:
            self._key = self.make_key()
        return self._key

    def make_key(self) -> Tensor:
        """The model's key, or that of the code around."""
        if self.parent is None:
            return self.read(self.session.random_key)
        return self.open(self.parent.key())

    def captures(self) -> dict[Value | Holder, tuple[Tensor, Value]]:
        """What a nested trace reads of the code around: (operand there, input of the region).

        A tensor is found under its value, a state tensor under its holder.
        """
        assert self.parent is not None
        found: dict[Value | Holder, tuple[Tensor, Value]] = {}
        found.update(self.captured.items())
        for holder, value in self.first_reads.items():
            found[holder] = (self.parent.read(holder), value)
        return found

    def graph(self, name: str, inputs: Sequence[Value], outputs: Sequence[Tensor]) -> Graph:
        """The recorded nodes as a graph without state: a region."""
        results = tuple(self.open(output).value for output in outputs)
        return Graph(graph_name(name), tuple(inputs), tuple(self.nodes), results)


def graph_name(name: str) -> str:
    """A name that the text form can print: letters, digits, dots and underscores.

    >>> graph_name("<lambda>"), graph_name("")
    ('lambda', 'graph')
    """
    return re.sub(r"[^A-Za-z0-9_.]", "", name) or "graph"
