"""Recording by computing at once: traced code outside a trace, for debugging.

Every operation runs by its NumPy meaning from the operator table; nothing is compiled. Bodies of
scan, cond and grad are traced into regions as always and then run by the same meanings. An index
outside its dimension raises IndexFault, as in a program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.dtypes import get as dtype_row
from graphc.errors import IndexFault, TraceError
from graphc.frontends.tracing.holder import Holder
from graphc.frontends.tracing.recorder import Recorder
from graphc.frontends.tracing.tensor import Tensor
from graphc.ir import Attribute, Graph, Node, TensorType, Value
from graphc.ops import get, make_node

Elements = np.ndarray[Any, Any]


class Evaluation(Recorder):
    """Computes each operation; its tensors hold their elements."""

    def emit(
        self,
        op: str,
        operands: Sequence[Tensor],
        attrs: Mapping[str, Attribute] | None = None,
        regions: Sequence[Graph] = (),
        source: tuple[str, ...] | None = None,
    ) -> tuple[Tensor, ...]:
        tensors = [self.open(operand) for operand in operands]
        node = make_node(op, [tensor.value for tensor in tensors], attrs, regions, source or ())
        results = _run(node, [_elements(tensor) for tensor in tensors])
        return tuple(
            Tensor(self, value, elements)
            for value, elements in zip(node.results, results, strict=True)
        )

    def open(self, tensor: Tensor) -> Tensor:
        if tensor.recorder is self:
            return tensor
        return Tensor(self, tensor.value, _elements(tensor))

    def constant(self, elements: Elements) -> Tensor:
        type = TensorType(elements.shape, dtype_row(elements.dtype))
        return Tensor(self, Value(type), elements)

    def first_read(self, holder: Holder) -> Tensor:
        if holder.slot is None:
            self._make(holder)
        assert holder.slot is not None
        return self.constant(holder.slot.array)

    def _make(self, holder: Holder) -> None:
        """Make all state of the holder's model, from seed 0."""
        holder.make(0, self.session.name_of(holder))
        for name, other in self.session.holders.items():
            other.make(0, name)

    def key(self) -> Tensor:
        return self.read(self.session.random_key)

    def finish(self) -> None:
        """Store what was written to state tensors."""
        for holder, tensor in self.written.items():
            assert holder.slot is not None
            holder.slot.write(_elements(tensor))


def _elements(tensor: Tensor) -> Elements:
    if tensor.elements is None:
        raise TraceError(
            f"a traced value {tensor.type} is used outside the function that was traced"
        )
    return tensor.elements


def _run(node: Node, operands: Sequence[Elements]) -> Sequence[Elements]:
    """The results of one node, by the operators' meanings. Raises IndexFault as programs do."""
    from graphc.ops.evaluate import apply

    if not _needs_passes(node):
        with np.errstate(all="ignore"):
            return apply(node, operands)
    return _run_graph(node, operands)


def _run_graph(node: Node, operands: Sequence[Elements]) -> Sequence[Elements]:
    """The node with its gradients written out and its indices checked."""
    from graphc.ops.evaluate import evaluate
    from graphc.passes.autodiff import expand
    from graphc.passes.faults import Faults, checks_of

    inputs = dict(zip(node.operands, operands, strict=True))
    plain = expand(Graph("evaluation", tuple(inputs), (node,), node.results))
    graph = Faults().run(plain)
    outputs, _ = evaluate(graph, tuple(inputs.values()))
    checks = checks_of(graph)
    if checks and (failed := int(outputs[-1])):
        raise IndexFault(checks[failed - 1].text)
    return outputs[: len(node.results)]


def _needs_passes(node: Node) -> bool:
    nested = (inner for region in node.regions for inner in region.nodes)
    return node.op == "grad" or get(node.op).fault is not None or any(map(_needs_passes, nested))
