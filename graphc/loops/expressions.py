"""Scalar expressions of the loop language.

    expr = literal                       3, 0.5, true
         | variable                      a loop index (i64) or a let-bound scalar
         | op(expr, ...)                 arithmetic, comparison, select, cast, formula
         | buffer[expr, ...]             load; with a guard, `fill` where the guard is false
         | reduce(axes) body             a fold over axes, in an order that is part of its meaning
         | reduce.k                      item k of a fold over tuples

Operations, by the types they take (`*` marks formulas, which are expanded into the others):

    any number       add sub mul neg abs min max lt le gt ge eq ne select cast
    float            div fma sqrt floor ceil round (half to even) trunc copysign
                     exp* log* tanh* erf* sigmoid* sin* cos* pow* ...; see `graphc.loops.formulas`
    integer          floordiv mod (toward minus infinity; x/0 is 0, x%0 is 0) and or xor not shl
                     shr (arithmetic when signed) mulhi (high half of the product, unsigned)
    bool             and or xor not
    same width       bitcast

Every operation is total. Integer arithmetic wraps; a shift count is taken modulo the width.
max(a, b) is a where a > b or a is NaN, else b (NaN wins, of equal zeros the second); min likewise.
Casts from float to integer saturate and take NaN to 0, from integer to integer keep the low bits,
to bool are x != 0. `graphc.loops.arithmetic` gives every operation's meaning to the bit. Index
expressions are i64 arithmetic and need no other form; `graphc.loops.affine` reads them as sums.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from graphc.dtypes import DType, int64


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """A constant; NaN equals itself here and -0.0 differs from 0.0."""

    value: int | float | bool
    dtype: DType

    def _key(self) -> tuple[int | bool | str, DType]:
        value = self.value
        return (value.hex() if isinstance(value, float) else value), self.dtype

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    dtype: DType = field(default=int64, hash=False)


@dataclass(frozen=True, slots=True)
class Call:
    op: str
    args: tuple[Expr, ...]
    dtype: DType = field(hash=False)


@dataclass(frozen=True, slots=True)
class Load:
    """An element of a buffer at logical indices; `fill` where `guard` is false, with no access."""

    buffer: str
    index: tuple[Expr, ...]
    dtype: DType
    guard: Expr | None = None
    fill: Literal | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a fold: `name` runs from 0 to `extent` - 1."""

    name: str
    extent: int


@dataclass(frozen=True, slots=True)
class Reduce:
    """A fold of `body` over `axes`, the last axis fastest; where `where` fails, it skips.

    combine  sum, prod, max, min (NaN wins), any, all: body is one expression
             dot: body is (a, b), folded as fma(a, b, accumulator) in order
             argmax, argmin: body is (value, index); NaN wins, then the first index; two items
             sum_or: body is (value, bits), the sum of the first and the union of the second
             sum_sum: body is two expressions of a type, each summed alone
    lanes    an element at position t of the last axis goes to accumulator t % lanes, each from the
             unit; at the end accumulator i takes in i + lanes/2, and so on, halving. 1: in order.
             A power of two.
    """

    combine: str
    axes: tuple[Axis, ...]
    body: tuple[Expr, ...]
    dtype: DType  # of the (first) accumulator
    where: Expr | None = None
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a fold over tuples."""

    reduce: Reduce
    position: int
    dtype: DType


Expr: TypeAlias = Literal | Variable | Call | Load | Reduce | Item


def children(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly inside one."""
    match expr:
        case Call(args=args):
            return args
        case Load(index=index, guard=guard):
            return index if guard is None else (*index, guard)
        case Reduce(body=body, where=where):
            return body if where is None else (*body, where)
        case Item(reduce=reduce):
            return (reduce,)
        case _:
            return ()


def with_children(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    """The same expression around other parts, in the order of `children`."""
    match expr:
        case Call(op, _, dtype):
            return Call(op, parts, dtype)
        case Load(buffer, _, dtype, guard, fill):
            inner = parts if guard is None else parts[:-1]
            return Load(buffer, inner, dtype, None if guard is None else parts[-1], fill)
        case Reduce(combine, axes, _, dtype, where, lanes):
            inner = parts if where is None else parts[:-1]
            return Reduce(combine, axes, inner, dtype, None if where is None else parts[-1], lanes)
        case Item(_, position, dtype):
            (reduce,) = parts
            assert isinstance(reduce, Reduce)
            return Item(reduce, position, dtype)
        case _:
            return expr
