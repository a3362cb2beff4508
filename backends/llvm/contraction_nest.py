"""A naive contraction kernel taken apart: its loops, its sum of products, and what follows.

    parallel rows, columns:  lets; let v = f(reduce dot (k...) a * b); stores

The sum may stand inside one small fold, a pooling window:

    parallel rows, columns:  let v = reduce max (window) f(reduce dot (k...) a * b); stores

Vectors run along the column, the result's fastest index, which only b reads, with neighbours in
memory. Rows are indexes read by a alone and by no condition.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.loops import (
    Axis,
    Call,
    Expr,
    Item,
    Kernel,
    Let,
    Load,
    Loop,
    Reduce,
    Statement,
    Store,
    Variable,
    const,
    index,
)
from graphc.loops.affine import free_variables
from graphc.loops.combine import follow, step, unit
from graphc.loops.expressions import Literal, children, with_children
from graphc.loops.formulas import is_formula
from graphc.loops.substitute import substitute

from .elementwise import reduces, stride, values

_SUM = "tile.sum"
_LARGEST_WINDOW = 16
_SINGLE_ROW = Loop("parallel", "single.row", index(0), index(1), ())

# An index that fills most of a tile's rows.
WIDE = 8


@dataclass(frozen=True)
class Nest:
    """loops   over the result's elements, the fastest last
    dot     the sum of products
    window  the axes of the fold that the sum stands in
    rest    the statements, the variable `tile.sum` in place of the sum
    """

    loops: tuple[Loop, ...]
    dot: Reduce
    window: tuple[Axis, ...]
    rest: tuple[Statement, ...]

    @property
    def column(self) -> str:
        return self.loops[-1].var

    @property
    def window_size(self) -> int:
        return math.prod(axis.extent for axis in self.window)

    @property
    def depth(self) -> int:
        """Products in one sum."""
        return math.prod(axis.extent for axis in self.dot.axes)

    def extent(self, name: str) -> int:
        return next(extent_of(loop) for loop in self.loops if loop.var == name)

    def rows(self) -> list[str]:
        """Indexes that only a reads and no condition does."""
        a, b = self.dot.body
        conditions = set() if self.dot.where is None else free_variables(self.dot.where)
        blocked = {self.column} | free_variables(b) | conditions
        read = free_variables(a) | {_SINGLE_ROW.var}
        return [x.var for x in self.loops if x.var in read - blocked]

    @property
    def has_formulas(self) -> bool:
        """Whether what follows the sum computes an exponential or the like."""
        return any(_holds_formula(value) for value in values(self.rest))

    @property
    def positions(self) -> list[tuple[int, ...]]:
        """The positions of the window, in the order of its fold."""
        return list(itertools.product(*(range(axis.extent) for axis in self.window)))

    @property
    def has_conditions_on_window(self) -> bool:
        names = {axis.name for axis in self.window}
        return self.dot.where is not None and bool(names & free_variables(self.dot.where))

    @property
    def has_wide_rows(self) -> bool:
        return any(self.extent(name) >= WIDE for name in self.rows())

    def finish(self, sums: Sequence[Expr]) -> tuple[Statement, ...]:
        """The statements at one element, given the sum at each position of the window."""
        if not self.window:
            return tuple(_replaced_in(s, {_SUM: sums[0]}) for s in self.rest)
        return tuple(_unrolled(self.rest, self.window, self.positions, sums))


def take_apart(kernel: Kernel) -> Nest | None:
    """The parts of a contraction kernel; None where it is none that can be tiled."""
    loops: list[Loop] = []
    body: Sequence[Statement] = kernel.body
    while len(body) == 1 and isinstance(body[0], Loop) and body[0].kind == "parallel":
        loops.append(body[0])
        body = body[0].body
    if not loops or not all(isinstance(s, Let | Store) for s in body):
        return None
    dots = {r for value in values(body) for r in reduces(value) if r.combine == "dot"}
    if len(dots) != 1:
        return None
    (dot,) = dots
    rest = tuple(_without_dot(s, dot) for s in body)
    windows = {r for value in values(rest) for r in reduces(value)}
    window: tuple[Axis, ...] = ()
    if windows:
        if len(windows) > 1 or not _is_window(fold := windows.pop()):
            return None
        window = fold.axes
    nest = Nest(tuple(loops), dot, window, rest)
    if not _is_tileable(nest, body, kernel):
        return None
    return nest if nest.rows() else replace(nest, loops=(_SINGLE_ROW, *nest.loops))


def _holds_formula(expr: Expr) -> bool:
    if isinstance(expr, Call) and is_formula(expr.op):
        return True
    return any(map(_holds_formula, children(expr)))


def _without_dot(statement: Statement, dot: Reduce) -> Statement:
    def without(expr: Expr) -> Expr:
        if expr == dot:
            return Variable(_SUM, dot.dtype)
        return with_children(expr, tuple(map(without, children(expr))))

    assert isinstance(statement, Let | Store)
    return replace(statement, value=without(statement.value))


def _is_window(fold: Reduce) -> bool:
    """A small fold in plain order, of all its elements."""
    size = math.prod(axis.extent for axis in fold.axes) if fold.axes else 0
    return 1 <= size <= _LARGEST_WINDOW and fold.lanes == 1 and fold.where is None


def _is_tileable(nest: Nest, body: Sequence[Statement], kernel: Kernel) -> bool:
    """Only b depends on the column, and its neighbours lie side by side, in all stores too."""
    dot, column = nest.dot, nest.column
    if not dot.dtype.is_float or dot.lanes != 1:
        return False
    lets = {s.name for s in body if isinstance(s, Let)}
    a, b = dot.body
    window = {axis.name for axis in nest.window}
    if lets & free_variables(dot) or column in free_variables(a) or window & free_variables(b):
        return False
    if dot.where is not None and column in free_variables(dot.where):
        return False
    if not isinstance(b, Load) or b.guard is not None or stride(b, column, kernel) != 1:
        return False
    return all(stride(s, column, kernel) == 1 for s in body if isinstance(s, Store))


def extent_of(loop: Loop) -> int:
    """Iterations of a loop, 0 where they are not known."""
    if isinstance(loop.lower, Literal) and isinstance(loop.upper, Literal):
        return int(loop.upper.value) - int(loop.lower.value)
    return 0


def _unrolled(
    statements: Sequence[Statement],
    window: Sequence[Axis],
    positions: Sequence[tuple[int, ...]],
    sums: Sequence[Expr],
) -> Iterator[Statement]:
    """The statements with the window's fold written out, step by step."""
    results: tuple[Variable, ...] | None = None
    for statement in statements:
        assert isinstance(statement, Let | Store)
        fold = next(reduces(statement.value), None)
        if fold is not None and results is None:
            places = zip(positions, sums, strict=True)
            steps = list(_steps(fold, [_at(fold, window, *place) for place in places]))
            results = tuple(Variable(let.name, let.value.dtype) for let in steps[-_items(fold) :])
            yield from steps
        if fold is not None and results is not None:
            statement = replace(statement, value=_with_results(statement.value, results))
        yield statement


def _items(fold: Reduce) -> int:
    return len(unit(fold))


def _steps(fold: Reduce, elements: Sequence[tuple[Expr, ...]]) -> Iterator[Let]:
    held: tuple[Expr, ...] | None = None
    in_order = _grows([element[1:] for element in elements])
    for position, element in enumerate(elements):
        after = follow(fold.combine, held, element) if in_order else None
        if after is None:
            after = step(fold.combine, held or unit(fold), element)
        lets = [Let(f"window.{position}.{item}", value) for item, value in enumerate(after)]
        yield from lets
        held = tuple(Variable(let.name, let.value.dtype) for let in lets)


def _at(
    fold: Reduce, window: Sequence[Axis], place: Sequence[int], value: Expr
) -> tuple[Expr, ...]:
    """The fold's elements at one position of the window."""
    known: dict[str, Expr] = {_SUM: value}
    known |= {axis.name: index(n) for axis, n in zip(window, place, strict=True)}
    parts = (substitute(part, known) for part in fold.body)
    return tuple(_without_cast(part) for part in parts)


def _without_cast(expr: Expr) -> Expr:
    match expr:
        case Call(op="cast", args=(Literal(value=value),), dtype=dtype) if dtype.is_integer:
            return const(value, dtype)
    return expr


def _grows(others: Sequence[Sequence[Expr]]) -> bool:
    """Whether the elements beside the value, if there are any, are numbers that grow."""
    numbers = [part.value for parts in others for part in parts if isinstance(part, Literal)]
    if len(numbers) != sum(map(len, others)):
        return False
    return all(a < b for a, b in itertools.pairwise(numbers))


def _with_results(expr: Expr, results: Sequence[Expr]) -> Expr:
    match expr:
        case Reduce():
            return results[0]
        case Item(position=position):
            return results[position]
    return with_children(expr, tuple(_with_results(part, results) for part in children(expr)))


def _replaced_in(statement: Statement, known: Mapping[str, Expr]) -> Statement:
    assert isinstance(statement, Let | Store)
    return replace(statement, value=substitute(statement.value, known))
