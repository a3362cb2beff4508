"""What statements hold, as the emitter asks: tiles, folds, formulas, the widest type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.dtypes import DType, int64
from graphc.loops import Buffer, Call, Contract, Expr, Let, Loop, Reduce, Statement, Store, When
from graphc.loops.expressions import children
from graphc.loops.formulas import is_formula

from .elementwise import loads, reduces
from .registers import Tile


def _inner(statement: Statement) -> Sequence[Statement]:
    return statement.body if isinstance(statement, Loop | When) else ()


def written_tiles(statements: Sequence[Statement]) -> list[str]:
    """Buffers that statements store to or contract into, each once, in order."""
    found: dict[str, None] = {}
    for statement in statements:
        match statement:
            case Store(buffer=name) | Contract(tile=name):
                found[name] = None
        found.update(dict.fromkeys(written_tiles(_inner(statement))))
    return list(found)


def expressions_in(statements: Sequence[Statement]) -> Iterator[Expr]:
    for statement in statements:
        match statement:
            case Let(value=value):
                yield value
            case Store(value=value, index=index, guard=guard):
                yield value
                yield from index
                if guard is not None:
                    yield guard
            case Contract(a=a, b=b):
                yield from (a, b)
            case When(condition=condition):
                yield condition
        yield from expressions_in(_inner(statement))


def folds_in_order(statements: Sequence[Statement]) -> int:
    """How many folds with a single accumulator stand in the statements."""
    found = {fold for expr in expressions_in(statements) for fold in reduces(expr)}
    return sum(fold.lanes == 1 for fold in found)


def holds_formulas(statements: Sequence[Statement]) -> bool:
    """Whether a polynomial or the like is computed in the statements, outside of folds."""
    return any(map(holds_formula, expressions_in(statements)))


def holds_formula(expr: Expr) -> bool:
    if isinstance(expr, Reduce):
        return False
    if isinstance(expr, Call) and is_formula(expr.op):
        return True
    return any(map(holds_formula, children(expr)))


def tiles_in(statements: Sequence[Statement]) -> list[str]:
    read = [load.buffer for expr in expressions_in(statements) for load in loads(expr)]
    return list(dict.fromkeys(read + written_tiles(statements)))


def reads_tiles(statements: Sequence[Statement], tiles: dict[str, Tile]) -> bool:
    return any(name in tiles for name in tiles_in(statements))


def widest(statements: Sequence[Statement], buffers: dict[str, Buffer]) -> DType:
    """The widest float type stored or computed in a loop, which sets how many lanes it has."""
    found = [buffers[name].dtype for name in tiles_in(statements) if name in buffers]
    floats = [dtype for dtype in found if dtype.is_float] or found or [int64]
    return max(floats, key=lambda dtype: dtype.itemsize)
