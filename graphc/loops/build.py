"""Constructors of loop expressions that fold what is known: 0 + i is i, 2 * 3 is 6."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.dtypes import DType, bool_, int64
from graphc.loops.expressions import Axis, Call, Expr, Literal, Load, Reduce, Variable

IndexLike = Expr | int

# Operations whose result is a bool, whatever they compare.
COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
_TRUE = Literal(True, bool_)


def const(value: int | float | bool, dtype: DType) -> Literal:
    """A literal in the type's own kind of Python number."""
    if dtype.is_float:
        return Literal(float(value), dtype)
    return Literal(bool(value) if dtype.kind == "bool" else int(value), dtype)


def index(value: IndexLike) -> Expr:
    return Literal(value, int64) if isinstance(value, int) else value


def variable(name: str) -> Variable:
    return Variable(name, int64)


def call(op: str, *args: Expr) -> Call:
    """An operation on expressions of one type (`select`: bool first); see `expressions`."""
    dtype = bool_ if op in COMPARISONS else args[-1].dtype
    return Call(op, args, dtype)


def cast(value: Expr, dtype: DType) -> Expr:
    return value if value.dtype == dtype else Call("cast", (value,), dtype)


def bitcast(value: Expr, dtype: DType) -> Expr:
    return value if value.dtype == dtype else Call("bitcast", (value,), dtype)


def select(condition: Expr, yes: Expr, no: Expr) -> Expr:
    if isinstance(condition, Literal):
        return yes if condition.value else no
    return yes if yes == no else Call("select", (condition, yes, no), yes.dtype)


def add(a: IndexLike, b: IndexLike) -> Expr:
    """Index sum."""
    a, b = index(a), index(b)
    if isinstance(a, Literal) and isinstance(b, Literal):
        return index(int(a.value + b.value))
    if isinstance(a, Literal):
        a, b = b, a
    if isinstance(b, Literal) and b.value == 0:
        return a
    if isinstance(b, Literal) and isinstance(a, Call) and a.op == "add":
        inner = a.args[1]
        if isinstance(inner, Literal):
            return add(a.args[0], int(inner.value + b.value))
    return Call("add", (a, b), int64)


def sub(a: IndexLike, b: IndexLike) -> Expr:
    """Index difference."""
    return add(a, mul(b, -1))


def mul(a: IndexLike, b: IndexLike) -> Expr:
    """Index product."""
    a, b = index(a), index(b)
    if isinstance(a, Literal):
        a, b = b, a
    if isinstance(b, Literal):
        if isinstance(a, Literal):
            return index(int(a.value * b.value))
        if b.value in (0, 1):
            return a if b.value else index(0)
    return Call("mul", (a, b), int64)


def floordiv(a: IndexLike, b: int) -> Expr:
    """Index quotient by a positive constant, toward minus infinity."""
    a = index(a)
    if b == 1:
        return a
    if isinstance(a, Literal):
        return index(int(a.value) // b)
    return Call("floordiv", (a, index(b)), int64)


def mod(a: IndexLike, b: int) -> Expr:
    """Index remainder by a positive constant, never negative."""
    a = index(a)
    if b == 1:
        return index(0)
    if isinstance(a, Literal):
        return index(int(a.value) % b)
    return Call("mod", (a, index(b)), int64)


def less(a: IndexLike, b: IndexLike) -> Expr:
    a, b = index(a), index(b)
    if isinstance(a, Literal) and isinstance(b, Literal):
        return Literal(a.value < b.value, bool_)
    return Call("lt", (a, b), bool_)


def alltrue(*conditions: Expr | None) -> Expr | None:
    """The conjunction of the conditions that say something; None where all are true."""
    found: Expr | None = None
    for condition in conditions:
        if condition is None or condition == _TRUE:
            continue
        found = condition if found is None else Call("and", (found, condition), bool_)
    return found


def within(value: IndexLike, extent: int) -> Expr | None:
    """0 <= value < extent."""
    value = index(value)
    if isinstance(value, Literal):
        return Literal(0 <= value.value < extent, bool_)
    return alltrue(Call("le", (index(0), value), bool_), less(value, extent))


def load(
    buffer: str,
    at: Sequence[IndexLike],
    dtype: DType,
    guard: Expr | None = None,
    fill: int | float | bool = 0,
) -> Expr:
    if guard == _TRUE:
        guard = None
    literal = None if guard is None else const(fill, dtype)
    return Load(buffer, tuple(index(i) for i in at), dtype, guard, literal)


def reduce(
    combine: str,
    axes: Sequence[Axis],
    *body: Expr,
    where: Expr | None = None,
    lanes: int = 1,
) -> Reduce:
    return Reduce(combine, tuple(axes), body, body[0].dtype, where, lanes)
