"""What a node costs: floating-point operations, by the standard counts."""

from __future__ import annotations

from graphc.ir import Node
from graphc.lowering.contraction import analyse
from graphc.ops import Builder, get


def flops_of(node: Node) -> int:
    """Two a product and sum of a contraction, one an element for what is elementwise or folds.

    A composite with a loop nest of its own counts as what it stands for, masked elements included.
    """
    record = get(node.op)
    if record.nest is not None and record.decompose is not None:
        builder = Builder(node.source)
        record.decompose(builder, node)
        return sum(map(flops_of, builder.nodes))
    if record.contraction:
        contraction = analyse(node)
        products = 0 if contraction is None else contraction.products
        return 2 * node.results[0].type.size * products
    if record.reduction:
        return sum(value.type.size for value in node.operands)
    return node.results[0].type.size if record.elementwise else 0
