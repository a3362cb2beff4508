"""Interval arithmetic on the integer and bool operations of the loop language.

Operations wrap, so a result that may leave its type's range may be anything in that range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from graphc.dtypes import DType
from graphc.errors import DTypeError
from graphc.loops.expressions import Literal


class Interval(NamedTuple):
    """All integers from `low` to `high`, both included."""

    low: int
    high: int

    def contains(self, other: Interval) -> bool:
        return self.low <= other.low and other.high <= self.high

    def meet(self, other: Interval) -> Interval:
        """What both say. Two true statements about one value always meet."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Interval(low, high) if low <= high else self

    def hull(self, other: Interval) -> Interval:
        return Interval(min(self.low, other.low), max(self.high, other.high))


@cache
def whole(dtype: DType) -> Interval:
    """Every value of an integer type, or 0..1 of bool. Raises DTypeError for a float type."""
    if dtype.kind == "bool":
        return Interval(0, 1)
    if dtype.kind == "int":
        return Interval(-(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1)
    if dtype.kind == "uint":
        return Interval(0, (1 << dtype.bits) - 1)
    raise DTypeError(f"interval of a {dtype} expression; expected an integer or bool")


def literal_interval(literal: Literal) -> Interval:
    value = Interval(int(literal.value), int(literal.value))
    limits = whole(literal.dtype)
    return value if limits.contains(value) else limits


def call_interval(op: str, args: Sequence[Interval | None], dtype: DType) -> Interval:
    """Bounds of an operation's result; an argument is None where it is a float."""
    limits = whole(dtype)
    rule = _RULES.get(op)
    if rule is None:
        return limits
    known = [arg for arg in args if arg is not None]
    found = rule(known) if len(known) == len(args) else None
    return found if found is not None and limits.contains(found) else limits


def _corners(operation: Callable[[int, int], int], a: Interval, b: Interval) -> Interval:
    """The extremes of an operation that is monotonic in each argument."""
    values = [operation(x, y) for x in a for y in b]
    return Interval(min(values), max(values))


def _sub(args: Sequence[Interval]) -> Interval:
    a, b = args
    return Interval(a.low - b.high, a.high - b.low)


def _abs(args: Sequence[Interval]) -> Interval:
    (a,) = args
    least = 0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
    return Interval(least, max(abs(a.low), abs(a.high)))


def _floordiv(args: Sequence[Interval]) -> Interval | None:
    a, b = args
    if b == Interval(0, 0):
        return b
    if b.low <= 0 <= b.high:
        return None
    return _corners(lambda x, y: x // y, a, b)


def _mod(args: Sequence[Interval]) -> Interval | None:
    a, b = args
    if b == Interval(0, 0):
        return b
    if b.low < 1:
        return None
    if a.low >= 0 and a.high < b.low:
        return a
    if b.low == b.high and a.low // b.low == a.high // b.low:
        return Interval(a.low % b.low, a.high % b.low)
    return Interval(0, min(a.high, b.high - 1) if a.low >= 0 else b.high - 1)


def _and(args: Sequence[Interval]) -> Interval | None:
    """A bitwise and with a value that is not negative is at most that value."""
    highs = [arg.high for arg in args if arg.low >= 0]
    return Interval(0, min(highs)) if highs else None


def _select(args: Sequence[Interval]) -> Interval:
    return args[1].hull(args[2])


def _shift_right(args: Sequence[Interval]) -> Interval | None:
    a, b = args
    return _corners(lambda x, y: x >> y, a, b) if b.low >= 0 and b.high < 32 else None


def _less(args: Sequence[Interval]) -> Interval:
    a, b = args
    return Interval(int(a.high < b.low), int(a.low < b.high))


def _at_most(args: Sequence[Interval]) -> Interval:
    a, b = args
    return Interval(int(a.high <= b.low), int(a.low <= b.high))


def _equal(args: Sequence[Interval]) -> Interval:
    a, b = args
    return Interval(
        int(a.low == a.high == b.low == b.high), int(a.low <= b.high and b.low <= a.high)
    )


_RULES: dict[str, Callable[[Sequence[Interval]], Interval | None]] = {
    "add": lambda args: _corners(lambda x, y: x + y, *args),
    "sub": _sub,
    "mul": lambda args: _corners(lambda x, y: x * y, *args),
    "neg": lambda args: Interval(-args[0].high, -args[0].low),
    "abs": _abs,
    "min": lambda args: _corners(min, *args),
    "max": lambda args: _corners(max, *args),
    "floordiv": _floordiv,
    "mod": _mod,
    "and": _and,
    "select": _select,
    "lt": _less,
    "le": _at_most,
    "eq": _equal,
    "cast": lambda args: args[0],
    "shr": _shift_right,
}
