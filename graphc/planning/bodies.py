"""What the planner reads from a naive kernel's body: which stores cover a formal buffer.

The checker reads bodies too, with code of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.loops.expressions import Expr, Literal, Load, Reduce, Variable, children
from graphc.loops.kernel import Buffer, Contract, Kernel, Let, Local, Loop, Statement, Store, When

Plain = Let | Store | Contract | Local


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

    True only where that is plain to see: one unguarded store whose indexes are the variables of
    loops over the whole extents.
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
    if placed.conditional or store.guard is not None or len(store.index) != len(buffer.shape):
        return False
    bounds = {loop.var: extent_of(loop) for loop in placed.loops}
    named = [part.name for part in store.index if isinstance(part, Variable)]
    return len(set(named)) == len(named) and all(
        _spans(part, extent, bounds) for part, extent in zip(store.index, buffer.shape, strict=True)
    )


def _spans(part: Expr, extent: int, bounds: dict[str, int]) -> bool:
    match part:
        case Variable(name=name):
            return bounds.get(name) == extent
        case Literal(value=value):
            return extent == 1 and value == 0
        case _:
            return False


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
        case Local():
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
