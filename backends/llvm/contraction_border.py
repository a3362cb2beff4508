"""The borders of a padded image as pieces of their own, and channel groups as a loop.

Rows of a tile must share their conditions. Along the padded width of an image they do, except at
the two borders. Images of a batch share theirs too, but lie far apart, often in the same lines of
the cache. Within a group of channels, a does not depend on the column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphc.loops import (
    Call,
    Expr,
    Kernel,
    Loop,
    Reduce,
    Statement,
    Variable,
    add,
    index,
    mul,
    variable,
)
from graphc.loops.affine import free_variables
from graphc.loops.clamp import conjuncts
from graphc.loops.expressions import Literal, children
from graphc.loops.intervals import Interval
from graphc.loops.simplify import always_holds, simplify_kernel

from .contraction_nest import WIDE, Nest, extent_of
from .elementwise import substituted, values

# How far from its ends an index is looked at for borders.
_REACH = 8


def without_border(kernel: Kernel, nest: Nest) -> list[Kernel]:
    """The kernel cut along one index so that conditions on it hold throughout the widest piece.

    The same kernel alone where there is no such index, or the widest piece would be no wider than
    a tile's rows are already.
    """
    read_by_b = free_variables(nest.dot.body[1])
    rows = min(WIDE, max(map(nest.extent, nest.rows()), default=0))
    if nest.has_conditions_on_window:
        rows = min(rows, 1)  # inside, the window's positions are rows too
    for loop in reversed(nest.loops):
        name, extent = loop.var, extent_of(loop)
        where = nest.dot.where
        usable = where is not None and name in free_variables(where)
        if not usable or name == nest.column or name in read_by_b:
            continue
        first, last = inside(nest, name, extent)
        if extent > last - first > rows:
            cuts = [(0, first), (first, last), (last, extent)]
            return [piece(kernel, nest, name, *cut) for cut in cuts if cut[0] < cut[1]]
    return [kernel]


def inside(nest: Nest, name: str, extent: int) -> tuple[int, int]:
    """Between which values of an index no condition on it is left; (0, 0) if there are none."""
    reaches = range(1, min(_REACH, extent // 2) + 1)
    found = [(r, extent - r) for r in reaches if _holds(nest, name, r, extent - r)]
    if not found:
        return 0, 0
    first, last = found[0]
    first = next(r for r in range(first + 1) if _holds(nest, name, r, last))
    return first, next(r for r in range(extent, last - 1, -1) if _holds(nest, name, first, r))


def _holds(nest: Nest, name: str, lower: int, upper: int) -> bool:
    """Whether no condition on the index is left where it runs from `lower` to `upper`."""
    ranges = {loop.var: Interval(0, extent_of(loop) - 1) for loop in nest.loops}
    axes = (*nest.dot.axes, *nest.window)
    ranges |= {axis.name: Interval(0, axis.extent - 1) for axis in axes}
    ranges[name] = Interval(lower, upper - 1)
    conditions = [c for c in conjuncts(nest.dot.where) if name in free_variables(c)]
    return all(always_holds(condition, ranges) for condition in conditions)


def piece(kernel: Kernel, nest: Nest, name: str, lower: int, upper: int) -> Kernel:
    """The kernel for part of an index's range."""
    body = innermost(kernel.body)
    body = tuple(substituted(s, {name: add(variable(name), lower)}) for s in body)
    for loop in reversed(nest.loops):
        count = upper - lower if loop.var == name else extent_of(loop)
        body = (Loop("parallel", loop.var, index(0), index(count), body),)
    return simplify_kernel(replace(kernel, body=body))


def innermost(body: Sequence[Statement]) -> tuple[Statement, ...]:
    while len(body) == 1 and isinstance(body[0], Loop):
        body = body[0].body
    return tuple(body)


def with_group_loop(kernel: Kernel) -> Kernel:
    """The column loop of a grouped convolution split in a loop over groups and one within.

    parallel c in 0..64: … x[c // 16 …]  =>  parallel g in 0..4, c in 0..16: … x[g …]
    """
    loops: list[Loop] = []
    body: Sequence[Statement] = kernel.body
    while len(body) == 1 and isinstance(body[0], Loop) and body[0].kind == "parallel":
        loops.append(body[0])
        body = body[0].body
    if not loops:
        return kernel
    column, extent = loops[-1].var, extent_of(loops[-1])
    sizes = {n for value in values(body) for n in _divisors(value, column)}
    size = sizes.pop() if len(sizes) == 1 else 0
    if size < 2 or size >= extent or extent % size:
        return kernel
    group = f"{column}.group"
    place = {column: add(mul(variable(group), size), variable(column))}
    inner: tuple[Statement, ...] = tuple(substituted(s, place) for s in body)
    counts = [(loop.var, extent_of(loop)) for loop in loops[:-1]]
    for name, count in reversed([*counts, (group, extent // size), (column, size)]):
        inner = (Loop("parallel", name, index(0), index(count), inner),)
    return simplify_kernel(replace(kernel, body=inner))


def _divisors(expr: Expr, name: str) -> Iterator[int]:
    """The numbers that an index is divided by in the first operand of a dot."""
    match expr:
        case Reduce(combine="dot", body=(a, _)):
            yield from _divisors(a, name)
        case Call(op="floordiv", args=(Variable(name=found), Literal(value=size))) if found == name:
            yield int(size)
        case _:
            for child in children(expr):
                yield from _divisors(child, name)
