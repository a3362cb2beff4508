"""Reductions with few results are folded in two steps, so that threads have work to share.

    before  %1: f32[] = sum(%x) {axes=(0,1)}                    # net.py:9   (%x: f32[4096,64])
    after   %2: f32[64,64,64] = reshape(%x) {…}                 # net.py:9
            %3: f32[64] = sum(%2) {axes=(1,2)}                  # net.py:9
            %1: f32[] = sum(%3) {axes=(0,)}                     # net.py:9

The order in which numbers are added is part of what a program means: it follows from the shapes
alone, and stands in the graph for all to see. Products with a long inner dimension and a small
result are split alike: one product for each chunk of k, and the sum of these.

Sums of millions are folded in runs, since each addition to a long sum rounds by as much as the sum
is large: of n numbers in runs of r the error grows with r + n / r instead of n.

    before  %1: f32[] = sum(%x) {axes=(0,)}                     # net.py:9   (%x: f32[10000000])
    after   %2: f32[1250,8000] = reshape(%x) {…}                # net.py:9   8000 in 64 lanes
            %3: f32[1250] = sum(%2) {axes=(1,)}                 # net.py:9
            %1: f32[] = sum(%3) {axes=(0,)}                     # net.py:9

    Higham, The Accuracy of Floating Point Summation, 1993

A row by an argument transposed is the argument by a column. So its sums, too, run in lanes along
what lies together in memory, and the argument need not be laid out anew for each call. (State lies
as its products want it.)

    before  %1: f32[784,512] = transpose(%w) {axes=(1,0)}       # net.py:7
            %2: f32[1,512] = matmul(%x, %1)                     # net.py:7
    after   %3: f32[784,1] = reshape(%x) {shape=(784,1)}        # net.py:7
            %4: f32[512,1] = matmul(%w, %3)                     # net.py:7
            %2: f32[1,512] = reshape(%4) {shape=(1,512)}        # net.py:7
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from graphc.ir import Graph, Node, Value
from graphc.ops.reductions import reduction_lanes
from graphc.passes.base import Pass
from graphc.passes.dce import remove_dead
from graphc.passes.rewrite import Rewriter, Rule, rewrite

_FEW_RESULTS = 256
_MANY_FOLDED = 4096
_LEAST_CHUNKS, _MOST_CHUNKS = 8, 64
_MOST_WHOLE = 256  # a dimension of up to this extent is taken as the chunks, with no reshape
_ENOUGH_ROWS = 8
_MANY_ROWS, _LARGE_ELEMENTS = 512, 1 << 18
_SHORT_RUN, _MIDDLE_RUN, _LONG_RUN, _LONGEST_ROW = 64, 256, 1024, 16384  # one accumulator's
_LONG_PRODUCT, _SMALL_PRODUCT, _PRODUCT_CHUNKS = 4096, 256 * 256, 8


@dataclass(frozen=True)
class SplitReductions(Pass):
    """Fold in chunks what has few results, by shape alone."""

    name: ClassVar[str] = "split_reductions"

    def run(self, graph: Graph) -> Graph:
        rules: dict[str, list[Rule]] = {op: [_split_fold] for op in ("sum", "max", "min")}
        rules["matmul"] = [_split_product, partial(_turned_row, frozenset(graph.inputs))]
        return remove_dead(rewrite(graph, rules))


def _split_fold(rewriter: Rewriter, node: Node) -> Sequence[Value] | None:
    x, axes = node.operands[0], node.attrs["axes"]
    results = node.result.type.size
    if node.op == "sum" and _is_long(x, axes):
        return (_sum_in_runs(rewriter, x, axes),)
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


def _run(x: Value, axes: tuple[int, ...]) -> int:
    """How many numbers one accumulator takes."""
    folded = math.prod(x.shape[axis] for axis in axes)
    return folded // reduction_lanes(x.type, axes)


def _is_long(x: Value, axes: tuple[int, ...]) -> bool:
    """Too long even in chunks. Rows may be a normalisation's, which stay whole, and sums over
    dimensions that are no neighbours a channel's, whose pixels lie far apart."""
    first = min(axes, default=0)
    neighbours = axes == tuple(range(first, first + len(axes)))
    if not x.dtype.is_float or 0 in x.shape or not axes or not neighbours:
        return False
    if first + len(axes) == x.type.rank and math.prod(x.shape[:first]) >= _ENOUGH_ROWS:
        return _run(x, axes) > _LONGEST_ROW
    chunks = next(filter(None, (_chunks_of(x.shape[axis]) for axis in axes)), 1)
    in_order = reduction_lanes(x.type, axes) == 1
    return _run(x, axes) > chunks * (_LONG_RUN if in_order else _MIDDLE_RUN)


def _sum_in_runs(rewriter: Rewriter, x: Value, axes: tuple[int, ...]) -> Value:
    """The sum of short runs' sums; these are summed alike."""
    if _run(x, axes) <= _MIDDLE_RUN:
        return rewriter.sum(x, axes)
    axis = max(axes, key=lambda a: x.shape[a])
    others = math.prod(x.shape[a] for a in axes if a != axis)
    most = _SHORT_RUN * reduction_lanes(x.type, axes) // others
    size = _run_size(x.shape[axis], max(most, 1))
    count, left = divmod(x.shape[axis], size)
    if left:
        whole, rest = (_part(rewriter, x, axis, *ends) for ends in ((0, -left), (-left, None)))
        return rewriter.add(*(_sum_in_runs(rewriter, part, axes) for part in (whole, rest)))
    x = rewriter.reshape(x, (*x.shape[:axis], count, size, *x.shape[axis + 1 :]))
    moved = (a + 1 if a > axis else a for a in axes if a != axis)
    partial = _sum_in_runs(rewriter, x, tuple(sorted((*moved, axis + 1))))
    position = sum(a not in axes for a in range(axis))
    return _sum_in_runs(rewriter, partial, (position,))


def _run_size(extent: int, most: int) -> int:
    """A divisor of the extent that is no larger, one that vectors fill if there is; or else."""
    fitting = [size for size in range(max(most // 8, 1), most + 1) if extent % size == 0]
    whole = [size for size in fitting if size % 64 == 0]
    return max(whole or fitting, default=most)


def _part(rewriter: Rewriter, x: Value, axis: int, start: int, stop: int | None) -> Value:
    first, last, _ = slice(start, stop).indices(x.shape[axis])
    low = tuple(first if a == axis else 0 for a in range(x.type.rank))
    high = tuple(last if a == axis else n for a, n in enumerate(x.shape))
    return rewriter.op("slice", x, start=low, stop=high, step=(1,) * x.type.rank)


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


def _turned_row(
    arguments: frozenset[Value], rewriter: Rewriter, node: Node
) -> Sequence[Value] | None:
    """x[1, K] transpose(w[N, K]) as w x[K, 1]."""
    x, columns = node.operands
    turned = rewriter.producer(columns)
    if x.type.rank != 2 or x.shape[0] != 1 or turned is None or turned.op != "transpose":
        return None
    (w,) = turned.operands
    if w not in arguments or w.type.rank != 2 or 1 in w.shape:
        return None
    found = rewriter.matmul(w, rewriter.reshape(x, (x.shape[1], 1)))
    return (rewriter.reshape(found, node.result.shape),)
