"""The folds of `Reduce`: what an accumulator starts from, takes in, and how two are joined.

    sum      0        a + x                 any      false    a or x
    prod     1        a * x                 all      true     a and x
    max      least    max(a, x)             dot      0        fma(x, y, a)
    min      greatest min(a, x)             argmax   (least, greatest index)   the better pair
    sum_or   (0, 0)   (a + x, b or y)         sum_sum  (0, 0)   (a + x, b + y)

Backends read this table and know no fold by name.

>>> from graphc.dtypes import float32
>>> get("dot").unit(float32, float32)
(Literal(value=0.0, dtype=f32),)
>>> x = Variable("x", float32)
>>> get("dot").step((Variable("a", float32),), (x, x))[0].op
'fma'
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphc.dtypes import DType, bool_
from graphc.errors import VerifyError
from graphc.loops.build import call, const, select
from graphc.loops.expressions import Call, Expr, Literal, Reduce, Variable

Exprs = tuple[Expr, ...]
Step = Callable[[Exprs, Exprs], Exprs]


@dataclass(frozen=True)
class Fold:
    """One row.

    elements      expressions of a body
    accumulators  values carried, and given as `Item`s where there are several
    unit          types of the body's expressions -> what the accumulators start from
    step          (accumulators, elements of the next body) -> accumulators
    merge         (accumulators, other accumulators) -> accumulators, at the end of `lanes`
    follow        `step` where the elements are known to come after those held, and some are held:
                  such a fold's unit leaves no trace in a result
    """

    elements: int
    accumulators: int
    unit: Callable[..., tuple[Literal, ...]]
    step: Step
    merge: Step
    follow: Step | None = None


def least(dtype: DType) -> Literal:
    """The unit of max."""
    return const(-math.inf if dtype.is_float else _limits(dtype)[0], dtype)


def greatest(dtype: DType) -> Literal:
    """The unit of min."""
    return const(math.inf if dtype.is_float else _limits(dtype)[1], dtype)


def _limits(dtype: DType) -> tuple[int, int]:
    if dtype == bool_:
        return 0, 1
    limits = np.iinfo(dtype.numpy)
    return int(limits.min), int(limits.max)


def _multiply_add(a: Expr, b: Expr, c: Expr) -> Expr:
    """fma for floats; integer products and sums are exact, modulo the width."""
    if c.dtype.is_float:
        return call("fma", a, b, c)
    return call("add", call("mul", a, b), c)


def _better(relation: str) -> Step:
    """The pair (value, index) that wins: NaN first, then the value, then the smaller index."""

    def better(held: Exprs, new: Exprs) -> Exprs:
        (value, index), (other, other_index) = held, new
        wins: Expr = call(relation, other, value)
        ties: Expr = call("eq", other, value)
        if value.dtype.is_float:
            held_nan, new_nan = call("ne", value, value), call("ne", other, other)
            wins = _either(_both(new_nan, call("not", held_nan)), wins)
            ties = _either(ties, _both(new_nan, held_nan))
        takes = _either(wins, _both(ties, call("lt", other_index, index)))
        return select(takes, other, value), select(takes, other_index, index)

    return better


def _later(relation: str) -> Step:
    """`_better` for a larger index: it wins by its value alone, or as the first NaN.

    not (new <= held) holds for a NaN on either side; held == held leaves out one that is held.
    """
    opposite = {"gt": "le", "lt": "ge"}[relation]

    def later(held: Exprs, new: Exprs) -> Exprs:
        (value, index), (other, other_index) = held, new
        takes: Expr = call(relation, other, value)
        if value.dtype.is_float:
            takes = _both(call("not", call(opposite, other, value)), call("eq", value, value))
        return select(takes, other, value), select(takes, other_index, index)

    return later


def _both(a: Expr, b: Expr) -> Expr:
    return Call("and", (a, b), bool_)


def _either(a: Expr, b: Expr) -> Expr:
    return Call("or", (a, b), bool_)


def _plain(op: str, start: Callable[[DType], Literal]) -> Fold:
    """A fold by one binary operation."""

    def both(held: Exprs, new: Exprs) -> Exprs:
        return (call(op, held[0], new[0]),)

    follow = both if op in ("max", "min") else None
    return Fold(1, 1, lambda dtype: (start(dtype),), both, both, follow)


def _arg(relation: str, start: Callable[[DType], Literal]) -> Fold:
    def pair(value: DType, index: DType) -> tuple[Literal, ...]:
        return start(value), greatest(index)

    better = _better(relation)
    return Fold(2, 2, pair, better, better, _later(relation))


def _sum_or(held: Exprs, new: Exprs) -> Exprs:
    return call("add", held[0], new[0]), call("or", held[1], new[1])


def _sum_sum(held: Exprs, new: Exprs) -> Exprs:
    return call("add", held[0], new[0]), call("add", held[1], new[1])


def _dot_step(held: Exprs, new: Exprs) -> Exprs:
    return (_multiply_add(new[0], new[1], held[0]),)


TABLE: dict[str, Fold] = {
    "sum": _plain("add", lambda dtype: const(0, dtype)),
    "prod": _plain("mul", lambda dtype: const(1, dtype)),
    "max": _plain("max", least),
    "min": _plain("min", greatest),
    "any": _plain("or", lambda dtype: const(False, dtype)),
    "all": _plain("and", lambda dtype: const(True, dtype)),
    "dot": Fold(
        elements=2,
        accumulators=1,
        unit=lambda a, b: (const(0, a),),
        step=_dot_step,
        merge=lambda held, other: (call("add", held[0], other[0]),),
    ),
    "sum_or": Fold(2, 2, lambda value, bits: (const(0, value), const(0, bits)), _sum_or, _sum_or),
    "sum_sum": Fold(2, 2, lambda a, b: (const(0, a), const(0, b)), _sum_sum, _sum_sum),
    "argmax": _arg("gt", least),
    "argmin": _arg("lt", greatest),
}


def get(name: str) -> Fold:
    """The fold of a name. Raises VerifyError where there is none."""
    if name not in TABLE:
        raise VerifyError(f"no fold {name!r}; there are {', '.join(TABLE)}")
    return TABLE[name]


def unit(reduce: Reduce) -> tuple[Literal, ...]:
    """What the accumulators of a reduce start from; their types are the accumulators'."""
    return get(reduce.combine).unit(*(part.dtype for part in reduce.body))


def step(name: str, held: Exprs, elements: Exprs) -> Exprs:
    """The accumulators of a fold after one more body."""
    return get(name).step(held, elements)


def follow(name: str, held: Exprs | None, elements: Exprs) -> Exprs | None:
    """`step` for elements that come after all those held (None: no others); None where the fold
    has no such form. Index elements must grow from one to the next."""
    rule = get(name).follow
    if rule is None:
        return None
    return elements if held is None else rule(held, elements)


def merge(name: str, held: Exprs, other: Exprs) -> Exprs:
    """The accumulators of a fold after those of other elements."""
    return get(name).merge(held, other)


def accumulators(reduce: Reduce, prefix: str) -> tuple[Variable, ...]:
    """Variables to hold the accumulators of a reduce: prefix0, prefix1, ..."""
    return tuple(
        Variable(f"{prefix}{position}", start.dtype) for position, start in enumerate(unit(reduce))
    )
