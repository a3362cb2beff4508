"""What the next block or owner reads and writes is fetched while products are computed.

    serial kb in 0..n:                          serial kb in 0..n:
        contract … k[b, h, 64 kb + j, e] …  =>      prefetch k[b', h', 64 kb' + row, 16 line]
                                                    contract … k[b, h, 64 kb + j, e] …

(b', h', kb') comes after (b, h, kb): the next block, or the next owner's first. A head is a narrow
piece of wide rows, which the processor does not foresee, and its work is too short to wait for
memory at its start. The rows that a list of statements uses are shared out to its products, those
of a product to its tiles, and a tile fetches a row every few steps of its sums: fetched at once,
lines would keep the products' own waiting; one with each step, their addresses take as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from graphc.loops import (
    Buffer,
    Expr,
    Let,
    Load,
    Loop,
    Prefetch,
    Reduce,
    Statement,
    Store,
    When,
    add,
    index,
    mul,
    select,
    variable,
)
from graphc.loops.affine import affine, free_variables
from graphc.loops.build import alltrue, call
from graphc.loops.expressions import Literal, children
from graphc.loops.substitute import substitute

from .register_products import ROUND, Beside

Accesses: TypeAlias = Iterator[tuple[Load | Store, Mapping[str, int]]]

_ROW, _COLUMN = "ahead.row", "ahead.column"
_LINE_BYTES = 64

# Lines for each step of the sums at most: a step is some 12 cycles long.
_MOST_LINES = 2


@dataclass(frozen=True)
class Rows:
    """Rows of neighbours in memory that a nest reads or writes.

    index     of an element, in _ROW, _COLUMN and variables outside of the nest
    depth     how many serial loops are around the nest
    """

    buffer: Buffer
    index: tuple[Expr, ...]
    rows: int
    columns: int
    depth: int

    @property
    def line(self) -> int:
        """Elements of a line."""
        return max(1, _LINE_BYTES // self.buffer.dtype.itemsize)

    @property
    def lines(self) -> int:
        """Lines of a row."""
        return -(-self.columns // self.line)


@dataclass
class Ahead:
    """The serial loops that are open, outermost first, and the rows that no product fetches yet.

    owners    how many there are; lets: an owner's indices from `owner`
    """

    owners: int
    lets: Sequence[Let]
    loops: list[Loop] = field(default_factory=list)
    waiting: list[Rows] = field(default_factory=list)

    def share_out(
        self, statements: Sequence[Statement], buffers: Mapping[str, Buffer]
    ) -> Iterator[tuple[Statement, Sequence[Rows]]]:
        """Each statement with the rows that it fetches; without products, they wait."""
        found = [*self.waiting, *_rows_of(statements, buffers, len(self.loops))]
        products = sum(map(_is_product, statements))
        self.waiting = [] if products else found
        number = 0
        for statement in statements:
            fetches = _is_product(statement)
            yield statement, found[number::products] if fetches else ()
            number += fetches

    def fetch(self, found: Sequence[Rows], tile: Expr, tiles: int, steps: int) -> Beside:
        """What one of some tiles fetches beside so many steps of its sums: a row in a round.

        Rows of loops further out are fetched in the first round of those inside.
        """
        shares = {rows: -(-rows.rows // tiles) for rows in found}
        fits = [rows for rows in found if shares[rows] * rows.lines <= _MOST_LINES * steps]
        made = []
        for rows in fits:
            row = add(mul(tile, shares[rows]), variable(ROUND))
            last = min(rows.rows - 1, shares[rows] * tiles)
            place = {**self._next(rows), _ROW: call("min", row, index(last))}
            line = Prefetch(rows.buffer.name, tuple(substitute(i, place) for i in rows.index))
            fetched: Statement = Loop(
                "unroll", _COLUMN, index(0), index(rows.columns), (line,), rows.line
            )
            inner = self.loops[rows.depth :]
            first = alltrue(*(call("eq", variable(loop.var), index(0)) for loop in inner))
            made.append(fetched if first is None else When(first, (fetched,)))
        return Beside(max((shares[rows] for rows in fits), default=0), tuple(made))

    def _next(self, rows: Rows) -> Mapping[str, Expr]:
        """The indices that come next, as a number's digits after 1 is added."""
        used = frozenset().union(*map(free_variables, rows.index))
        carry: Expr = index(1)
        place: dict[str, Expr] = {}
        for loop in reversed(self.loops[: rows.depth]):
            if loop.var in used:
                following = add(variable(loop.var), carry)
                over = call("ge", following, loop.upper)
                place[loop.var] = select(over, index(0), following)
                carry = select(over, index(1), index(0))
        owner = call("min", add(variable("owner"), carry), index(self.owners - 1))
        return place | {let.name: substitute(let.value, {"owner": owner}) for let in self.lets}


def _is_product(statement: Statement) -> bool:
    _, body = _nest(statement)
    return bool(body) and isinstance(body[0], Let) and isinstance(body[0].value, Reduce)


def _nest(statement: Statement) -> tuple[dict[str, int], Sequence[Statement]]:
    """The extents of parallel loops around one another, and what the innermost holds."""
    extents: dict[str, int] = {}
    body: Sequence[Statement] = ()
    while isinstance(statement, Loop) and statement.kind == "parallel" and statement.body:
        if not isinstance(statement.upper, Literal):
            break
        extents[statement.var] = int(statement.upper.value)
        body = statement.body
        statement = body[0]
    return extents, body


def _rows_of(
    statements: Sequence[Statement], buffers: Mapping[str, Buffer], depth: int
) -> Sequence[Rows]:
    """What nests of a list read and write of the kernel's own buffers, each once."""
    found: dict[Rows, None] = {}
    for extents, body in map(_nest, statements):
        for access, around in _accesses(body, extents):
            buffer = buffers.get(access.buffer)
            if buffer is not None and buffer.space == "formal":
                rows = _rows(access, buffer, around, depth)
                found |= {} if rows is None else {rows: None}
    return list(found)


def _accesses(body: Sequence[Statement], extents: Mapping[str, int]) -> Accesses:
    for statement in body:
        if isinstance(statement, Let | Store):
            yield from _loads(statement.value, extents)
        if isinstance(statement, Store):
            yield statement, extents


def _loads(expr: Expr, extents: Mapping[str, int]) -> Accesses:
    if isinstance(expr, Reduce):
        extents = {**extents, **{axis.name: axis.extent for axis in expr.axes}}
    if isinstance(expr, Load):
        yield expr, extents
    for part in children(expr):
        yield from _loads(part, extents)


def _rows(
    access: Load | Store, buffer: Buffer, extents: Mapping[str, int], depth: int
) -> Rows | None:
    """None where the access is not to rows of neighbours."""
    strides = dict.fromkeys(extents, 0)
    for part, stride in zip(access.index, buffer.strides, strict=True):
        form = affine(part)
        if form is None or any(form.hides(name) for name in extents):
            return None
        for name in extents:
            strides[name] += stride * form.coefficient(name)
    varying = sorted((stride, name) for name, stride in strides.items() if stride)
    if len(varying) != 2 or varying[0][0] != 1:
        return None
    (_, column), (_, row) = varying
    place = {row: variable(_ROW), column: variable(_COLUMN)}
    found = tuple(substitute(part, place) for part in access.index)
    return Rows(buffer, found, extents[row], extents[column], depth)
