"""What the planner reads from a naive kernel's body: which stores cover a formal buffer.

The checker reads bodies too, with code of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.loops.affine import affine
from graphc.loops.expressions import Expr, Literal, Load, Reduce, Variable, children
from graphc.loops.kernel import (
    Buffer,
    Contract,
    Kernel,
    Let,
    Local,
    Loop,
    Prefetch,
    Statement,
    Store,
    When,
)

Plain = Let | Store | Contract | Local | Prefetch


@dataclass(frozen=True, slots=True)
class Placed:
    """A statement that is no loop, the loops around it, and whether it may be left out."""

    statement: Plain
    loops: tuple[Loop, ...]
    conditional: bool


def flatten(kernel: Kernel) -> list[Placed]:
    """The plain statements of a kernel, in the order of the text."""
    return list(_flatten(kernel.body, (), False))


def _flatten(
    body: tuple[Statement, ...], loops: tuple[Loop, ...], conditional: bool
) -> Iterator[Placed]:
    for statement in body:
        match statement:
            case Loop(body=inner):
                yield from _flatten(inner, (*loops, statement), conditional)
            case When(body=inner):
                yield from _flatten(inner, loops, True)
            case _:
                yield Placed(statement, loops, conditional)


def covers(kernel: Kernel, buffer: Buffer) -> bool:
    """Whether some store writes every element of the buffer, whatever the data.

    True only where that is plain to see: an unguarded store whose indexes are the variables of
    distinct loops over the whole extents, counted up or down.
    """
    return buffer.access == "out" and any(
        isinstance(placed.statement, Store)
        and placed.statement.buffer == buffer.name
        and covers_all(placed, buffer)
        for placed in flatten(kernel)
    )


def covers_all(placed: Placed, buffer: Buffer) -> bool:
    """Whether a placed store writes each element of the buffer, by distinct whole loops."""
    store = placed.statement
    assert isinstance(store, Store)
    bounds = {loop.var: extent_of(loop) for loop in placed.loops}
    if placed.conditional or store.guard is not None or min(bounds.values(), default=1) < 1:
        return False
    variables = [_spanning(*pair, bounds) for pair in zip(store.index, buffer.shape, strict=True)]
    named = [name for name in variables if name]
    return None not in variables and len(set(named)) == len(named)


def _spanning(part: Expr, extent: int, bounds: dict[str, int]) -> str | None:
    """The loop whose iterations give the index each of 0 ... extent - 1 once.

    "" where the extent is 1 and the index 0; None where there is no such loop.
    """
    match part:
        case Variable(name=name):
            return name if bounds.get(name) == extent else None
        case Literal(value=value):
            return "" if extent == 1 and value == 0 else None
    form = affine(part)
    if form is None or len(form.terms) != 1:
        return None
    atom, factor = form.terms[0]
    start = {1: 0, -1: extent - 1}.get(factor)
    is_whole = isinstance(atom, Variable) and bounds.get(atom.name) == extent
    return atom.name if isinstance(atom, Variable) and is_whole and form.constant == start else None


def extent_of(loop: Loop) -> int:
    """The number of iterations of a loop from 0 by 1 to a literal; -1 of any other loop."""
    match loop:
        case Loop(lower=Literal(value=0), upper=Literal(value=upper), step=1):
            return int(upper)
        case _:
            return -1


def expressions(placed: Placed) -> tuple[Expr, ...]:
    """The expressions that a statement evaluates, store indexes and guards included."""
    match placed.statement:
        case Let(value=value):
            return (value,)
        case Store(index=index, value=value, guard=guard):
            return (*index, value) if guard is None else (*index, value, guard)
        case Contract(a=a, b=b):
            return (a, b)
        case Local() | Prefetch():
            return ()


def loads(expr: Expr) -> Iterator[Load]:
    """Every load inside an expression."""
    if isinstance(expr, Load):
        yield expr
    for part in children(expr):
        yield from loads(part)


def folds(expr: Expr) -> bool:
    """Whether an expression holds a fold."""
    return isinstance(expr, Reduce) or any(map(folds, children(expr)))
