"""Carries of a loop that only sum up, and their totals after the loop.

body   %dw' = add(%dw, %e)       %dw is read by this addition alone
total  %dw0 plus the sum of the stack of %e; of a product: one product, time part of its inner
       dimension
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphc.ir import Graph, Node, Value
from graphc.ops.scan_gradient import is_zero
from graphc.passes.batching import Batch

_THROUGH = ("transpose", "reshape")  # the total of a view is the view of the total


@dataclass(frozen=True)
class Sum:
    """A carry that is its start plus the terms of all iterations.

    chain   the additions, the first one first
    roots   the products and sums that the terms are, seen through views
    """

    carry: Value
    terms: tuple[Value, ...]
    chain: tuple[Node, ...]
    roots: tuple[Node, ...]


def find_sums(body: Graph, carries: Sequence[Value], is_root: Callable[[Node], bool]) -> list[Sum]:
    """The carries that only sum up terms whose roots `is_root` accepts."""
    found = (_sum_of(body, *pair) for pair in zip(carries, body.outputs, strict=False))
    return [s for s in found if s is not None and all(map(is_root, s.roots))]


def _sum_of(body: Graph, carry: Value, output: Value) -> Sum | None:
    """Follow additions from the old value to the new one; each value between is read once."""
    terms: list[Value] = []
    chain: list[Node] = []
    value = carry
    while value is not output:
        readers = body.users.get(value, ())
        if len(readers) != 1 or readers[0].op != "add" or value in body.outputs:
            return None
        (node,) = readers
        others = [v for v in node.operands if v is not value]
        if len(others) != 1:
            return None
        terms += others
        chain.append(node)
        value = node.result
    given = sum(v is output for v in body.outputs)
    roots = [_root(body, term) for term in terms]
    if not chain or None in roots or given != 1 or output in body.users:
        return None
    if not carry.dtype.is_float:
        return None
    return Sum(carry, tuple(terms), tuple(chain), tuple(node for node in roots if node))


def _root(body: Graph, term: Value) -> Node | None:
    node = body.producers.get(term)
    while node is not None and node.op in _THROUGH:
        node = body.producers.get(node.operands[0])
    return node


def total_of(batch: Batch, term: Value) -> Value:
    """The sum of a term over all iterations."""
    node = batch.producers.get(term)
    b = batch.builder
    if node is not None and node.op in _THROUGH:
        inner = total_of(batch, node.operands[0])
        b.source = node.source
        (result,) = b.emit(node.op, (inner,), node.attrs)
        return result
    rule = None if node is None else TOTALS.get(node.op)
    if node is None or rule is None:
        return b.sum(batch.stack(term), (0,))
    return rule(batch, node)


def _total_product(batch: Batch, node: Node) -> Value:
    """The sum of a[M, K] b[K, N] over time is one product with T K in between."""
    b = batch.builder
    if any(value.type.rank != 2 for value in node.operands):
        return b.sum(batch.stack(node.result), (0,))
    left, right = (batch.stack(value) for value in node.operands)
    b.source = node.source
    length, rows, inner = left.shape
    flat = b.reshape(b.transpose(left, (1, 0, 2)), (rows, length * inner))
    return b.matmul(flat, b.reshape(right, (length * inner, right.shape[2])))


def _total_sum(batch: Batch, node: Node) -> Value:
    stack = batch.stack(node.operands[0])
    batch.builder.source = node.source
    axes = (0, *(axis + 1 for axis in node.attrs["axes"]))
    return batch.builder.sum(stack, axes)


def _total_weight_gradient(batch: Batch, node: Node) -> Value:
    """Images and cotangents of all iterations are one batch, over which the operator sums."""
    stacks = [batch.stack(value) for value in node.operands]
    b = batch.builder
    b.source = node.source
    flat = [b.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:])) for x in stacks]
    (found,) = b.emit(node.op, flat, node.attrs)
    return found


def _total_scatter(batch: Batch, node: Node) -> Value:
    """Rows of all iterations added to the sum of the bases, the last iteration's last."""
    base, indices, updates = node.operands
    b = batch.builder
    start = b.sum(batch.stack(base), (0,)) if base in batch.varying else _times(batch, base)
    where, rows = batch.stack(indices), batch.stack(updates)
    b.source = node.source
    count = math.prod(where.shape)
    kept = updates.shape[indices.type.rank :]
    flat = b.reshape(where, (count,)), b.reshape(rows, (count, *kept))
    (found,) = b.emit("scatter_add", (start, *flat), node.attrs)
    return found


def _times(batch: Batch, base: Value) -> Value:
    """The sum of what is the same in all iterations."""
    value = batch.of(base).value
    return value if is_zero(base, batch.producers) else batch.builder.scale(value, batch.length)


TOTALS: Mapping[str, Callable[[Batch, Node], Value]] = {
    "matmul": _total_product,
    "sum": _total_sum,
    "conv2d_weight_grad": _total_weight_gradient,
    "scatter_add": _total_scatter,
}


def has_total(node: Node) -> bool:
    """Whether the sum of the node's results over all iterations is as cheap as one of it."""
    if node.op == "scatter_add":
        return bool(node.attrs["axis"] == 0)
    return node.op in TOTALS
