"""Reductions with few results are folded in two steps, so that threads have work to share.

    before  %1: f32[] = sum(%x) {axes=(0,1)}                    # net.py:9   (%x: f32[4096,64])
    after   %2: f32[64,64,64] = reshape(%x) {…}                 # net.py:9
            %3: f32[64] = sum(%2) {axes=(1,2)}                  # net.py:9
            %1: f32[] = sum(%3) {axes=(0,)}                     # net.py:9

The order in which numbers are added is part of what a program means: it follows from the shapes
alone, and stands in the graph for all to see. Products with a long inner dimension and a small
result are split alike: one product for each chunk of k, and the sum of these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir import Graph, Node, Value
from graphc.passes.base import Pass
from graphc.passes.dce import remove_dead
from graphc.passes.rewrite import Rewriter, Rule, rewrite

_FEW_RESULTS = 256
_MANY_FOLDED = 4096
_LEAST_CHUNKS, _MOST_CHUNKS = 8, 64
_MOST_WHOLE = 256  # a dimension of up to this extent is taken as the chunks, with no reshape
_ENOUGH_ROWS = 8
_MANY_ROWS, _LARGE_ELEMENTS = 512, 1 << 18
_LONG_PRODUCT, _SMALL_PRODUCT, _PRODUCT_CHUNKS = 4096, 256 * 256, 8


@dataclass(frozen=True)
class SplitReductions(Pass):
    """Fold in chunks what has few results, by shape alone."""

    name: ClassVar[str] = "split_reductions"

    def run(self, graph: Graph) -> Graph:
        rules: dict[str, list[Rule]] = {op: [_split_fold] for op in ("sum", "max", "min")}
        rules["matmul"] = [_split_product]
        return remove_dead(rewrite(graph, rules))


def _split_fold(rewriter: Rewriter, node: Node) -> Sequence[Value] | None:
    x, axes = node.operands[0], node.attrs["axes"]
    results = node.result.type.size
    wide = node.op == "sum" and results >= _FEW_RESULTS and _sums_columns(x.shape, axes)
    if not wide and not _is_worth_splitting(x.shape, axes, results):
        return None
    for axis in axes:
        chunks = _chunks_of(x.shape[axis])
        if chunks is not None and (chunks < x.shape[axis] or len(axes) > 1):
            return (_fold_in_chunks(rewriter, node.op, x, axes, axis, chunks),)
    return None


def _is_worth_splitting(shape: tuple[int, ...], axes: tuple[int, ...], results: int) -> bool:
    """Few results of many elements; but rows that a normalisation works on stay whole."""
    folded = math.prod(shape[axis] for axis in axes)
    by_rows = axes == tuple(range(len(shape) - len(axes), len(shape))) and results >= _ENOUGH_ROWS
    return 0 < results < _FEW_RESULTS and folded >= _MANY_FOLDED and not by_rows


def _sums_columns(shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Columns of a tensor that no near cache holds: chunks of its rows go by, each in order."""
    leading = axes == tuple(range(len(axes))) and len(axes) < len(shape)
    rows = math.prod(shape[: len(axes)])
    return leading and rows >= _MANY_ROWS and math.prod(shape) >= _LARGE_ELEMENTS


def _chunks_of(extent: int) -> int | None:
    """How many chunks a dimension is folded in: all of it, or its greatest divisor in range."""
    if _LEAST_CHUNKS <= extent <= _MOST_WHOLE:
        return extent
    fitting = (n for n in range(_MOST_CHUNKS, _LEAST_CHUNKS - 1, -1) if extent % n == 0)
    return next(fitting, None)


def _fold_in_chunks(
    rewriter: Rewriter, op: str, x: Value, axes: tuple[int, ...], axis: int, chunks: int
) -> Value:
    """Fold everything but the chunks, then the chunks."""
    inner = x.shape[axis] // chunks
    if inner > 1:
        x = rewriter.reshape(x, (*x.shape[:axis], chunks, inner, *x.shape[axis + 1 :]))
        moved = [a + 1 if a > axis else a for a in axes if a != axis]
        within = tuple(sorted((*moved, axis + 1)))
    else:
        within = tuple(a for a in axes if a != axis)
    partial = rewriter.op(op, x, axes=within)
    position = sum(a not in axes for a in range(axis))
    return rewriter.op(op, partial, axes=(position,))


def _split_product(rewriter: Rewriter, node: Node) -> Sequence[Value] | None:
    """a[M, K] b[K, N] as the sum over chunks of k."""
    a, b = node.operands
    if a.type.rank != 2 or b.type.rank != 2:
        return None
    (m, k), n = a.shape, b.shape[1]
    if k < _LONG_PRODUCT or m * n > _SMALL_PRODUCT or k % _PRODUCT_CHUNKS:
        return None
    chunks = _PRODUCT_CHUNKS
    left = rewriter.transpose(rewriter.reshape(a, (m, chunks, k // chunks)), (1, 0, 2))
    right = rewriter.reshape(b, (chunks, k // chunks, n))
    return (rewriter.sum(rewriter.matmul(left, right), (0,)),)
