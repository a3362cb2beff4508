"""What one run of a kernel moves between memory and the processor."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.loops.expressions import Expr, Literal, Load, children
from graphc.loops.kernel import Buffer, Kernel, Let, Loop, Statement, Store, When


def moved_bytes(kernel: Kernel) -> int:
    """Each buffer once, one that is updated in place twice; of one that a part alone is stored
    into and nothing is read from, that part."""
    return sum(_moved(kernel, buffer) for buffer in kernel.buffers)


def _moved(kernel: Kernel, buffer: Buffer) -> int:
    if buffer.access != "inout":
        return buffer.nbytes
    stored = _stored_alone(kernel.body, buffer.name)
    return (
        2 * buffer.nbytes if stored is None else min(stored * buffer.dtype.itemsize, buffer.nbytes)
    )


def _stored_alone(body: tuple[Statement, ...], name: str) -> int | None:
    """How many elements are stored at most; None where some are read, or loops are no constants."""
    total = 0
    for statement in body:
        match statement:
            case Loop(lower=Literal(first), upper=Literal(last), body=inner, step=step):
                found = _stored_alone(inner, name)
                count = len(range(int(first), int(last), step))
            case When(condition=condition, body=inner) if not _reads(condition, name):
                found, count = _stored_alone(inner, name), 1
            case Store() | Let() if not any(_reads(expr, name) for expr in _expressions(statement)):
                found, count = int(isinstance(statement, Store) and statement.buffer == name), 1
            case _:
                return None
        if found is None:
            return None
        total += count * found
    return total


def _expressions(statement: Store | Let) -> Iterator[Expr]:
    yield statement.value
    if isinstance(statement, Store):
        yield from statement.index
        if statement.guard is not None:
            yield statement.guard


def _reads(expr: Expr, name: str) -> bool:
    if isinstance(expr, Load) and expr.buffer == name:
        return True
    return any(_reads(child, name) for child in children(expr))
