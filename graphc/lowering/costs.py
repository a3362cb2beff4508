"""What a node costs: floating-point operations, by the standard counts."""

from __future__ import annotations

from graphc.ir import Node
from graphc.lowering.contraction import analyse
from graphc.ops import get


def flops_of(node: Node) -> int:
    """Two a product and sum of a contraction, one an element for what is elementwise or folds."""
    record = get(node.op)
    if record.contraction:
        return 2 * node.results[0].type.size * _folded(node)
    if record.reduction:
        return sum(value.type.size for value in node.operands)
    return node.results[0].type.size if record.elementwise else 0


def _folded(node: Node) -> int:
    """How many products make one element of a contraction's result."""
    contraction = analyse(node)
    if contraction is None:
        return 0
    extents: dict[str, int] = {}
    for number, dims in (contraction.a, contraction.b):
        for extent, reads in zip(node.operands[number].shape, dims, strict=True):
            for name in reads & set(contraction.folded):
                extents[name] = min(extent, extents.get(name, extent))
    total = contraction.repeats
    for extent in extents.values():
        total *= extent
    return total
