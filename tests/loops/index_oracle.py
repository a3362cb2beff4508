"""Index arithmetic by definition: what the tests of affine forms and bounds compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.loops import Call, Expr, Literal, Variable


def wrap(value: int) -> int:
    """Two's complement i64."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def evaluate(expr: Expr, values: Mapping[str, int]) -> int:
    """The value of an i64 or bool expression of literals, variables and operations."""
    match expr:
        case Literal(value=value):
            return int(value)
        case Variable(name=name):
            return values[name]
        case Call(op=op, args=args):
            a, *rest = (evaluate(arg, values) for arg in args)
            return wrap(OPERATIONS[op](a, *rest))
        case _:
            raise AssertionError(expr)


OPERATIONS: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "abs": lambda a: abs(a),
    "floordiv": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else 0,
    "min": min,
    "max": max,
    "and": lambda a, b: a & b,
    "shr": lambda a, b: a >> b,
    "lt": lambda a, b: int(a < b),
    "le": lambda a, b: int(a <= b),
    "gt": lambda a, b: int(a > b),
    "ge": lambda a, b: int(a >= b),
    "eq": lambda a, b: int(a == b),
    "select": lambda c, a, b: a if c else b,
}
