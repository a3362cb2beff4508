"""Constants computed once, at compile time.

    before  %1: f32[3] = constant() {value=[1, 2, 3]}
            %2: f32[3] = add(%1, %1)
    after   %2: f32[3] = constant() {value=[2, 4, 6]}

Only what gives the same bits as at run time is folded: whole numbers, and operators whose result
is correctly rounded; not the sums, whose order a kernel fixes, nor exp and its like, whose last
bit may differ. Results above `max_elements` stay computed, since a table costs memory traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from graphc.ir import Array, Graph, Node, Value
from graphc.ops.define import get
from graphc.ops.evaluate import apply
from graphc.passes.base import Pass
from graphc.passes.dce import remove_dead
from graphc.passes.rewrite import EVERY, Rewriter, rewrite


@dataclass(frozen=True)
class Fold(Pass):
    """Replace nodes over constants by constants of at most `max_elements` elements."""

    name: ClassVar[str] = "fold"
    max_elements: int = 1024

    def run(self, graph: Graph) -> Graph:
        rule = partial(_fold_node, max_elements=self.max_elements)
        return remove_dead(rewrite(graph, {EVERY: [rule]}))


# A literal, repeated or counted, is computed from its index for less than a load costs.
_INDEX_ONLY = frozenset({"constant", "iota"})


def _fold_node(rewriter: Rewriter, node: Node, max_elements: int) -> Sequence[Value] | None:
    if node.op in _INDEX_ONLY or node.regions or not _is_exact(node):
        return None
    size = sum(value.type.size for value in (*node.results, *node.operands))
    if size > max_elements or not all(_is_known(rewriter, value) for value in node.operands):
        return None
    if node.op == "broadcast" and node.operands[0].type.size == 1:
        return None
    with np.errstate(all="ignore"):
        arrays = apply(node, [_known(rewriter, value) for value in node.operands])
    return [rewriter.array(array) for array in arrays]


def _is_exact(node: Node) -> bool:
    """Whether the NumPy meaning gives the bits that every backend gives."""
    record = get(node.op)
    if record.meaning is None or record.decompose is not None:
        return False
    if not any(value.dtype.is_float for value in (*node.operands, *node.results)):
        return True
    return not record.reduction and not record.contraction and record.max_ulp <= 0.5


def _is_known(rewriter: Rewriter, value: Value) -> bool:
    """Whether the value is a constant, a repeated one, or counts."""
    node = rewriter.producer(value)
    while node is not None and node.op == "broadcast":
        node = rewriter.producer(node.operands[0])
    return node is not None and node.op in _INDEX_ONLY


def _known(rewriter: Rewriter, value: Value) -> np.ndarray[Any, Any]:
    """The elements of a known value."""
    node = rewriter.producer(value)
    assert node is not None  # it is known
    stored = node.attrs.get("value")
    if node.op == "constant" and isinstance(stored, Array):
        return stored.data
    (array,) = apply(node, [_known(rewriter, operand) for operand in node.operands])
    return array
