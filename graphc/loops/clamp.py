"""Conditions on a loop's index as bounds of the loop.

    reduce (kh: 3) where 0 <= h + kh - 1 and h + kh - 1 < 32
    =>  for kh in max(0, 1 - h) .. min(3, 33 - h)

so that the padding of a convolution costs no test and no wasted work inside.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphc.dtypes import int64
from graphc.loops.affine import Affine, affine
from graphc.loops.build import add, alltrue, floordiv, index, mul
from graphc.loops.expressions import Call, Expr, Literal


def conjuncts(condition: Expr | None) -> list[Expr]:
    """The conditions that a conjunction joins, in order."""
    match condition:
        case None:
            return []
        case Call(op="and", args=(a, b)):
            return conjuncts(a) + conjuncts(b)
        case _:
            return [condition]


def clamp(
    name: str, extent: int, where: Expr | None, unknown: Iterable[str]
) -> tuple[Expr, Expr, Expr | None]:
    """(lower, upper, what is left of `where`) for a loop over `name` in 0 ... extent - 1.

    A condition becomes a bound where it is linear in the index and reads, besides, only variables
    known before the loop, so none of `unknown`.
    """
    hidden = frozenset(unknown)
    lower, upper = index(0), index(extent)
    left: list[Expr] = []
    for condition in conjuncts(where):
        bound = _bound(name, condition, hidden)
        if bound is None:
            left.append(condition)
            continue
        low, high = bound
        lower = lower if low is None else _extreme("max", lower, low)
        upper = upper if high is None else _extreme("min", upper, high)
    return lower, upper, alltrue(*left)


def _bound(
    name: str, condition: Expr, hidden: frozenset[str]
) -> tuple[Expr | None, Expr | None] | None:
    """(lower, exclusive upper) that one condition gives, or None where it gives none."""
    form = _nonnegative(condition)
    if form is None or form.hides(name):
        return None
    factor, rest = form.coefficient(name), form.without(name)
    if not factor or rest.variables & hidden:
        return None
    if factor > 0:  # factor * i >= -rest
        return mul(floordiv(rest.expr, factor), -1), None
    return None, add(floordiv(rest.expr, -factor), 1)


def _nonnegative(condition: Expr) -> Affine | None:
    """The sum that is >= 0 exactly where the condition holds."""
    match condition:
        case Call(op="le" | "lt" as op, args=(a, b)) if a.dtype == int64:
            left, right = affine(a), affine(b)
            if left is None or right is None:
                return None
            return right.plus(left, -1).plus(Affine(1 if op == "lt" else 0), -1)
        case _:
            return None


def _extreme(op: str, a: Expr, b: Expr) -> Expr:
    if isinstance(a, Literal) and isinstance(b, Literal):
        pick = max if op == "max" else min
        return index(pick(int(a.value), int(b.value)))
    return Call(op, (a, b), int64)
