"""The body of a kernel: graph nodes turned into lets, at the loop level where they are known.

A value is asked for at an index. A tensor in memory is loaded; the result of a node inside the
kernel is computed there: as a let in the outermost loop that knows the index, so that it is
computed once, or inside the fold that asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphc.errors import CompileError
from graphc.ir import Node, Value
from graphc.loops import Buffer, Expr, Let, Literal, Load, Statement, Variable, alltrue, const
from graphc.loops import select as choose
from graphc.loops.affine import affine, free_variables
from graphc.loops.intervals import Interval
from graphc.loops.kernel import Access
from graphc.lowering.places import Place
from graphc.ops import get

Index = tuple[Expr, ...]


@dataclass
class Level:
    """One loop level of the kernel: the indices known there, and its statements."""

    variables: frozenset[str]
    statements: list[Statement] = field(default_factory=list)


class Body:
    """A kernel under construction."""

    def __init__(self, places: Mapping[Value, Place], producers: Mapping[Value, Node]) -> None:
        self.places = places
        self.producers = producers
        self.levels: list[Level] = [Level(frozenset())]
        self.ranges: dict[str, Interval] = {}
        self.formals: list[tuple[Buffer, Place]] = []
        self.ops: dict[int, Node] = {}
        self._known: dict[object, tuple[Expr, ...]] = {}
        self._count = 0

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def leave(self) -> Level:
        """Close the innermost level: what was computed there is not known any more."""
        level = self.levels.pop()
        gone = level.variables | {s.name for s in level.statements if isinstance(s, Let)}
        self._known = {
            key: exprs
            for key, exprs in self._known.items()
            if not any(free_variables(expr) & gone for expr in exprs)
        }
        return level

    # Formal buffers

    def formal(self, place: Place, access: Access = "in") -> Buffer:
        """The formal buffer on a place; reads of one place share one."""
        for position, (buffer, known) in enumerate(self.formals):
            if known == place:
                if buffer.access != access:
                    buffer = Buffer(buffer.name, buffer.shape, buffer.dtype, buffer.order, "inout")
                    self.formals[position] = (buffer, place)
                return buffer
        order = () if place.is_row_major else place.order
        buffer = Buffer(f"b{len(self.formals)}", place.shape, place.dtype, order, access)
        self.formals.append((buffer, place))
        return buffer

    # Reading

    def read(
        self, value: Value, index: Sequence[Expr], guard: Expr | None = None, fill: float = 0
    ) -> Expr:
        """The value's element at an index; `fill` where `guard` fails."""
        at = tuple(map(self._plain, index))
        place = self.places.get(value)
        if place is not None:
            buffer = self.formal(place)
            literal = None if guard is None else const(fill, value.dtype)
            return Load(buffer.name, at, value.dtype, guard, literal)
        node = self.producers[value]
        found = self._results(node, at, guard)[node.results.index(value)]
        if guard is None:
            return found
        return choose(guard, found, const(fill, value.dtype))

    def _plain(self, expr: Expr) -> Expr:
        form = affine(expr, self.ranges)
        return expr if form is None else form.expr

    def _results(self, node: Node, at: Index, guard: Expr | None) -> tuple[Expr, ...]:
        key = (id(node), at, guard)
        if key not in self._known:
            self.ops[id(node)] = node
            self._known[key] = self._place_lets(node, at, self._lower(node, at, guard))
        return self._known[key]

    def _lower(self, node: Node, at: Index, guard: Expr | None) -> tuple[Expr, ...]:
        scalar = scalar_constant(node)
        if scalar is not None:
            return (scalar,)
        rule = get(node.op).lower
        if rule is None:
            raise CompileError(f"operator {node.op!r} has no value at an index to inline")
        found = rule(Reader(self, node, guard), at)
        return found if isinstance(found, tuple) else (found,)

    def _place_lets(self, node: Node, at: Index, exprs: tuple[Expr, ...]) -> tuple[Expr, ...]:
        needed = frozenset().union(*map(free_variables, exprs))
        level = self._level(needed)
        if level is None or get(node.op).view:
            return exprs
        return tuple(self._let(level, expr) for expr in exprs)

    def _level(self, needed: frozenset[str]) -> Level | None:
        """The outermost level that knows all the variables; lets count as known where they are."""
        known: frozenset[str] = frozenset()
        for level in self.levels:
            known |= level.variables
            known |= {s.name for s in level.statements if isinstance(s, Let)}
            if needed <= known:
                return level
        return None

    def held(self, expr: Expr) -> Expr:
        """The expression's value as it is now, whatever is stored after."""
        return self._let(self.levels[-1], expr)

    def _let(self, level: Level, expr: Expr) -> Expr:
        if isinstance(expr, Literal | Variable):
            return expr
        name = self.fresh("v")
        level.statements.append(Let(name, expr))
        return Variable(name, expr.dtype)


@dataclass
class Reader:
    """What an operator's rule sees while its node is lowered."""

    body: Body
    node: Node
    guard: Expr | None = None
    results: tuple[Buffer, ...] = ()

    def operand(
        self, position: int, index: Sequence[Expr], guard: Expr | None = None, fill: float = 0
    ) -> Expr:
        both = alltrue(self.guard, guard)
        return self.body.read(self.node.operands[position], index, both, fill)

    def fresh(self, prefix: str) -> str:
        return self.body.fresh(prefix)


def scalar_constant(node: Node) -> Literal | None:
    """The element of a constant that has only one."""
    if node.op != "constant" or node.result.type.size != 1:
        return None
    return const(node.attrs["value"].data.reshape(()).item(), node.result.dtype)
