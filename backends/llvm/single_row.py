"""Blocks of one query (cached decoding): vectors lie along the keys, since one row fills none.

    serial j: let e = exp(p[j])            vector j: let e = exp(p[j]); e.row[j] = e; p[j] = e
              total = total + e        =>  serial j: total = total + e.row[j]
              p[j] = e

Only the sum itself keeps to the order of the keys, as the naive nest adds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypeAlias

from graphc.loops import (
    Buffer,
    Expr,
    Let,
    Literal,
    Load,
    Loop,
    Statement,
    Store,
    Variable,
    index,
    load,
    variable,
)
from graphc.loops.affine import free_variables
from graphc.loops.expressions import children
from graphc.loops.substitute import substitute
from graphc.target import Target

from .elementwise import loads

_MOST_BYTES = 1 << 17
"""A turned block of keys stays in the second cache, beside the block it was read from."""

Parted: TypeAlias = tuple[list[Buffer], tuple[Statement, ...], tuple[Statement, ...]]


def worth_crossing(copy: Buffer, target: Target) -> bool:
    """Whether a turned copy has whole tiles, and is small enough to be read again from a cache."""
    side = target.vector_bytes // 4
    size = copy.shape[0] * copy.shape[1] * copy.dtype.itemsize
    return copy.dtype.itemsize == 4 and min(copy.shape) >= side and size <= _MOST_BYTES


def single(body: tuple[Statement, ...]) -> Loop:
    """A loop over the only row, where lowering has left it out."""
    return Loop("parallel", "single", index(0), index(1), body)


def part(loop: Loop, held: Collection[str]) -> Parted | None:
    """(rows, statements ahead, statements of the fold) of a fold along `loop`.

    `held` are the accumulators; None where anything else depends on them.
    """
    lets = [s for s in loop.body if isinstance(s, Let)]
    stores = [s for s in loop.body if isinstance(s, Store)]
    folds = [s for s in stores if s.buffer in held]
    others = [s for s in stores if s.buffer not in held]
    if not isinstance(loop.upper, Literal):
        return None
    beside: list[Let | Store] = [*lets, *others]
    if any(_reads(s.value, held) for s in beside) or any(s.guard for s in folds):
        return None
    if not _independent(beside, others, folds):
        return None
    extent = int(loop.upper.value)
    used = frozenset().union(*(free_variables(s.value) for s in folds))
    needed = [s for s in lets if s.name in used]
    rows = [Buffer(f"{s.name}.row", (extent,), s.value.dtype, space="scratch") for s in needed]
    at = (variable(loop.var),)
    kept = [
        Store(row.name, at, Variable(let.name, row.dtype))
        for row, let in zip(rows, needed, strict=True)
    ]
    places = {
        let.name: load(row.name, at, row.dtype) for row, let in zip(rows, needed, strict=True)
    }
    behind = tuple(replace(s, value=substitute(s.value, places)) for s in folds)
    ahead: tuple[Statement, ...] = (*lets, *kept, *others) if kept or others else ()
    return rows, ahead, behind


def _independent(
    beside: Sequence[Let | Store], others: Sequence[Store], folds: Sequence[Store]
) -> bool:
    """Whether what is stored beside the folds is read at its own place alone, and before them."""
    written = {s.buffer: s.index for s in others}
    if any(_reads(s.value, written) for s in folds) or len(written) < len(others):
        return False
    read = {found for s in beside for found in loads(s.value)}
    return all(written.get(found.buffer, found.index) == found.index for found in read)


def _reads(expr: Expr, buffers: Collection[str]) -> bool:
    if isinstance(expr, Load) and expr.buffer in buffers:
        return True
    return any(_reads(part, buffers) for part in children(expr))
