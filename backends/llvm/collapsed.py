"""Rows that lie one after the other and fill no whole vectors: one loop over all their elements.

    parallel i in 0..512:                        parallel j in 0..5120:
        parallel j in 0..10:             =>          store y[j] = f(x[j], s[])
            store y[j, i] = f(x[j, i], s[])

Where every element that is read or stored moves on alike from row to row, or not at all, nothing
is left of the rows. Each of them would leave lanes of its last vector idle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.loops import (
    Buffer,
    Expr,
    Kernel,
    Let,
    Literal,
    Load,
    Loop,
    Statement,
    Store,
    add,
    index,
    mul,
    variable,
)
from graphc.loops.affine import Affine, affine, free_variables
from graphc.loops.build import floordiv, mod
from graphc.loops.expressions import children, with_children
from graphc.target import Target

from .elementwise import loads, reduces, values


def collapse(kernel: Kernel, target: Target) -> Kernel:
    """The kernel with such rows joined; the same one where there are none."""
    loops, _ = nest(kernel.body)
    while len(loops) > 1 and extent_of(loops[-1]) % (target.vector_bytes // 4):
        joined = join(kernel, loops[-2], loops[-1])
        if joined is None:
            break
        kernel = joined
        loops, _ = nest(kernel.body)
    return kernel


Body = tuple[Let | Store, ...]


def nest(body: Sequence[Statement]) -> tuple[list[Loop], Body]:
    """The parallel loops of a kernel around lets and stores alone; none where there is more."""
    loops = []
    while len(body) == 1 and isinstance(loop := body[0], Loop) and loop.kind == "parallel":
        if loop.lower != index(0) or loop.step != 1 or not isinstance(loop.upper, Literal):
            return [], ()
        loops.append(loop)
        body = loop.body
    found = tuple(s for s in body if isinstance(s, Let | Store))
    plain = len(found) == len(body) and not any(isinstance(s, Store) and s.guard for s in found)
    folds = any(next(reduces(value), None) is not None for value in values(body))
    return (loops, found) if plain and not folds else ([], ())


def extent_of(loop: Loop) -> int:
    """The iterations of a loop of a nest."""
    assert isinstance(loop.upper, Literal)
    return int(loop.upper.value)


def join(kernel: Kernel, outer: Loop, inner: Loop, divided: bool = False) -> Kernel | None:
    """The kernel with two loops of its nest as one over the inner loop's variable, counted through
    all rows. None where an access does not move on alike from row to row, unless it may find its
    place by quotient and remainder (`divided`)."""
    loops, body = nest(kernel.body)
    row, extent = variable(inner.var), extent_of(inner)
    places: dict[Load | Store, Expr] = {}
    for access in _accesses(body):
        form = _offset(access, kernel.by_name[access.buffer])
        if form is None or form.hides(outer.var) or form.hides(inner.var):
            return None
        far, step = form.coefficient(outer.var), form.coefficient(inner.var)
        if far != step * extent and not divided:
            return None
        place = mul(row, step)
        if far != step * extent:
            place = add(mul(floordiv(row, extent), far), mul(mod(row, extent), step))
        places[access] = add(form.without(outer.var).without(inner.var).expr, place)
    statements = tuple(map(_Join(places).statement, body))
    left = frozenset().union(*(map(free_variables, values(statements))))
    if outer.var in left or inner.var in frozenset().union(*map(_outside_loads, values(body))):
        return None
    whole = replace(inner, upper=index(extent_of(outer) * extent))
    inside: tuple[Statement, ...] = statements
    for loop in reversed([whole if x is inner else x for x in loops if x is not outer]):
        inside = (replace(loop, body=inside),)
    flat = tuple(replace(b, shape=(b.size,), order=()) for b in kernel.buffers)
    return replace(kernel, buffers=flat, body=inside)


def _accesses(body: Body) -> Iterator[Load | Store]:
    for statement in body:
        if isinstance(statement, Store):
            yield statement
        yield from loads(statement.value)


def _offset(access: Load | Store, buffer: Buffer) -> Affine | None:
    """Elements from the buffer's start; None for what is read on a condition."""
    if access.guard is not None:
        return None
    place: Expr = index(0)
    for at, stride in zip(access.index, buffer.strides, strict=True):
        place = add(place, mul(at, stride))
    return affine(place)


def _outside_loads(expr: Expr) -> frozenset[str]:
    """The variables that an expression computes with, beside those it only finds elements by."""
    if isinstance(expr, Load):
        return frozenset()
    if not children(expr):
        return free_variables(expr)
    return frozenset().union(*map(_outside_loads, children(expr)))


@dataclass(frozen=True)
class _Join:
    """Puts every access at its place in a buffer of one dimension."""

    places: Mapping[Load | Store, Expr]

    def statement(self, statement: Let | Store) -> Let | Store:
        value = self._value(statement.value)
        if isinstance(statement, Let):
            return replace(statement, value=value)
        return replace(statement, index=(self.places[statement],), value=value)

    def _value(self, expr: Expr) -> Expr:
        if isinstance(expr, Load):
            return replace(expr, index=(self.places[expr],))
        return with_children(expr, tuple(map(self._value, children(expr))))
