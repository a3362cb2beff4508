"""Whether the stores of concurrent loops depend on the loops' variables.

Iterations of a parallel, vector, block or thread loop write different elements. Whether two
indices differ is not decided here; but a store that nothing tells apart from one iteration to the
next writes one element many times, and is refused. Indices, guards, bounds and `when`s carry
dependence, and so do lets, and locals that belong to one iteration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from graphc.errors import VerifyError
from graphc.loops.affine import free_variables, interval
from graphc.loops.build import sub
from graphc.loops.expressions import Expr, Load, children
from graphc.loops.kernel import Contract, Kernel, Let, Local, Loop, Statement, Store, When
from graphc.loops.text import format_statement

CONCURRENT = frozenset({"parallel", "vector", "block", "thread"})
_Variables = frozenset[str]  # of concurrent loops
_NONE: _Variables = frozenset()


@dataclass(frozen=True)
class _Place:
    """What surrounds a statement, in concurrent loops."""

    kernel: str
    around: _Variables = _NONE
    control: _Variables = _NONE  # those that decide whether the statement runs
    carriers: Mapping[str, _Variables] = field(default_factory=dict)  # variable -> it depends on
    homes: Mapping[str, _Variables] = field(default_factory=dict)  # local -> around its declaration

    def of(self, exprs: Iterable[Expr]) -> _Variables:
        """The loops that expressions depend on."""
        found = set(self.control)
        for expr in exprs:
            for name in free_variables(expr):
                found |= self.carriers.get(name, _NONE)
            for buffer in _buffers(expr):
                found |= self.homes.get(buffer, _NONE)
        return frozenset(found)

    def carry(self, name: str, loops: _Variables) -> _Place:
        return replace(self, carriers={**self.carriers, name: loops})

    def declare(self, buffer: str) -> _Place:
        return replace(self, homes={**self.homes, buffer: self.around})

    def enter(self, loop: Loop) -> _Place:
        bounds = self.of((loop.lower, loop.upper))
        if loop.kind not in CONCURRENT or _runs_once(loop):
            return self.carry(loop.var, bounds)
        inside = self.carry(loop.var, bounds | {loop.var})
        return replace(inside, around=self.around | {loop.var})


def check_parallel(kernel: Kernel) -> None:
    """Raise VerifyError for a store that is the same in all iterations of a concurrent loop.

    The kernel is taken to keep the other invariants of `graphc.loops.verify`.
    """
    _check_body(kernel.body, _Place(kernel.name))


def _check_body(body: Sequence[Statement], place: _Place) -> None:
    for statement in body:
        match statement:
            case Let(name, value):
                place = place.carry(name, place.of((value,)))
            case Local(buffer=buffer):
                place = place.declare(buffer.name)
            case Loop():
                bounds = place.of((statement.lower, statement.upper))
                _check_body(statement.body, replace(place.enter(statement), control=bounds))
            case When(condition, inner):
                _check_body(inner, replace(place, control=place.of((condition,))))
            case Store(buffer, index, _, guard):
                told_apart_by = place.of(index if guard is None else (*index, guard))
                _check_write(buffer, told_apart_by, statement, place)
            case Contract(tile=tile):
                _check_write(tile, place.control, statement, place)


def _check_write(buffer: str, known: _Variables, statement: Statement, place: _Place) -> None:
    shared_by = place.around - place.homes.get(buffer, _NONE)
    if missing := sorted(shared_by - known):
        raise VerifyError(
            f"kernel @{place.kernel}, `{format_statement(statement)}`: every iteration of the "
            f"loop over {missing[0]!r} writes the same elements of {buffer!r} [parallel]"
        )


def _runs_once(loop: Loop) -> bool:
    return interval(sub(loop.upper, loop.lower), {}).high <= loop.step


def _buffers(expr: Expr) -> Iterable[str]:
    waiting = [expr]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Load):
            yield part.buffer
        waiting.extend(children(part))
