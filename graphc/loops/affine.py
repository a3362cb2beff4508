"""Index expressions as sums: what the verifier proves bounds with and code generators address by.

    affine(expr)                 constant + coefficient * atom + ..., or None where it is not one
    interval(expr, ranges)       the least and greatest value that interval arithmetic can show
    substitute(expr, values)     free variables replaced, index arithmetic folded
    free_variables(expr)         the names that an expression reads and does not bind

An atom is a variable, or a floordiv or mod by a positive constant of such a sum. Quotients and
remainders are reduced first, with x = c*q + r:

    x // c = q + r // c        (g*x + r) // (g*c) = (x + r//g) // c       x // a // b = x // (a*b)
    x mod c = r mod c          (g*x + r) mod (g*c) = g*((x + r//g) mod c) + r mod g

>>> from graphc.loops import add, floordiv, mul, variable
>>> i, j = variable("i"), variable("j")
>>> form = affine(add(mul(add(i, 1), 4), floordiv(add(mul(i, 8), j), 8)))
>>> form.constant, form.coefficient("i"), form.coefficient("j")
(4, 5, 0)
>>> interval(form.expr, {"i": Interval(0, 9), "j": Interval(0, 7)})
Interval(low=4, high=49)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

from graphc.dtypes import int64
from graphc.loops.build import add, floordiv, mod, mul
from graphc.loops.expressions import Call, Expr, Literal, Variable, children
from graphc.loops.intervals import Interval, call_interval, literal_interval, whole
from graphc.loops.substitute import free_variables, substitute

__all__ = [
    "Affine",
    "Bounds",
    "Interval",
    "Ranges",
    "affine",
    "free_variables",
    "interval",
    "substitute",
]

Ranges = Mapping[str, Interval]
SIZE_LIMIT = 64


@dataclass(frozen=True)
class Affine:
    """constant + the sum of coefficient * atom; coefficients are not 0, atoms are distinct."""

    constant: int
    terms: tuple[tuple[Expr, int], ...] = ()

    def coefficient(self, name: str) -> int:
        """The factor of a variable; it says nothing of the variable inside other atoms."""
        variable = Variable(name)
        return next((factor for atom, factor in self.terms if atom == variable), 0)

    def hides(self, name: str) -> bool:
        """Whether a quotient or remainder reads the variable, which makes it not linear in it."""
        return any(
            name in free_variables(atom) for atom, _ in self.terms if not isinstance(atom, Variable)
        )

    def without(self, name: str) -> Affine:
        """The sum with the variable's own term left out."""
        kept = tuple(term for term in self.terms if term[0] != Variable(name))
        return Affine(self.constant, kept)

    @property
    def variables(self) -> frozenset[str]:
        return frozenset().union(*(free_variables(atom) for atom, _ in self.terms))

    @property
    def is_large(self) -> bool:
        """Whether the atoms have more than SIZE_LIMIT parts."""
        waiting = [atom for atom, _ in self.terms]
        for _ in range(SIZE_LIMIT):
            if not waiting:
                return False
            waiting.extend(children(waiting.pop()))
        return bool(waiting)

    @property
    def expr(self) -> Expr:
        """The sum as an expression, in the order of the terms."""
        total: Expr = Literal(0, int64)
        for atom, factor in self.terms:
            total = add(total, mul(atom, factor))
        return add(total, self.constant)

    def plus(self, other: Affine, factor: int = 1) -> Affine:
        """self + factor * other."""
        if not other.terms:
            return Affine(_wrap(self.constant + factor * other.constant), self.terms)
        terms = dict(self.terms)
        for atom, coefficient in other.terms:
            terms[atom] = terms.get(atom, 0) + factor * coefficient
        return _sum(self.constant + factor * other.constant, terms)

    def times(self, factor: int) -> Affine:
        return Affine(0).plus(self, factor)


def _sum(constant: int, terms: Mapping[Expr, int]) -> Affine:
    """Numbers wrap as i64 does, which also bounds them."""
    kept = [(atom, wrapped) for atom, factor in terms.items() if (wrapped := _wrap(factor))]
    if len(kept) > 1:
        kept.sort(key=lambda term: _order(term[0]))
    return Affine(_wrap(constant), tuple(kept))


def _wrap(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _order(atom: Expr) -> tuple[bool, str]:
    return (False, atom.name) if isinstance(atom, Variable) else (True, repr(atom))


def affine(expr: Expr, ranges: Ranges | None = None) -> Affine | None:
    """An i64 expression as a sum of atoms, or None where it is not one (a load, a select...).

    Index arithmetic is taken not to wrap. With `ranges`, quotients and remainders that the ranges
    of the variables decide disappear: (4*i + j) // 4 is i where j is in 0..3.
    """
    if expr.dtype != int64:
        return None
    match expr:
        case Literal(value=value):
            return Affine(int(value))
        case Variable():
            return Affine(0, ((expr, 1),))
    return _affine_in(expr, ranges) if ranges else _affine_anywhere(expr)


def _affine_in(expr: Expr, ranges: Ranges) -> Affine | None:
    form = Bounds(ranges, trusting=True).affine(expr)
    return form if all(_is_atom(atom) for atom, _ in form.terms) else None


@lru_cache(maxsize=1 << 12)
def _affine_anywhere(expr: Expr) -> Affine | None:
    """Without ranges: kept, since a code generator asks for the same indices again and again."""
    return _affine_in(expr, {})


def _is_atom(expr: Expr) -> bool:
    """A variable, or a quotient or remainder with nothing but variables and literals below."""
    match expr:
        case Variable() | Literal():
            return True
        case Call(op="add", args=(a, b)):
            return _is_atom(a) and _is_atom(b)
        case Call(op="mul" | "floordiv" | "mod", args=(a, Literal())):
            return _is_atom(a)
        case _:
            return False


def interval(expr: Expr, ranges: Ranges) -> Interval:
    """Bounds of an integer or bool expression; those of its type where nothing better is known.

    A variable that `ranges` does not name may be anything. Sound where arithmetic wraps.
    """
    return Bounds(ranges).interval(expr)


class Bounds:
    """What is known of an expression's value, from the ranges of variables and assumed facts.

    A fact is an upper bound of a sum of terms; `assume` reads them from conditions. Expressions
    that are no sums are atoms here, so that a guard on `x[i]` bounds `x[i]`. `definitions` gives
    what let-bound variables are sums of. Forms of more than SIZE_LIMIT parts stay one atom, so
    that no nest of quotients grows without bound.
    """

    def __init__(
        self,
        ranges: Ranges,
        conditions: Iterable[Expr] = (),
        definitions: Mapping[str, Affine] | None = None,
        trusting: bool = False,
    ) -> None:
        self.ranges = ranges
        self.definitions = definitions or {}
        self.trusting = trusting
        self.contradictory = False  # found so far that no values satisfy the conditions
        self._most: dict[tuple[tuple[Expr, int], ...], int] = {}
        self._within: dict[Expr, Interval] = {}
        self._intervals: dict[Expr, Interval] = {}
        self._quotients: dict[Expr, Affine] = {}
        for condition in conditions:
            self._assume(condition)
            self._intervals.clear()
            self._quotients.clear()

    def interval(self, expr: Expr) -> Interval:
        if expr not in self._intervals:
            self._intervals[expr] = self._bound(expr)
        return self._intervals[expr]

    def _bound(self, expr: Expr) -> Interval:
        found = self._structural(expr)
        if expr in self._within:
            found = self._meet(found, self._within[expr])
        if expr.dtype == int64 and not isinstance(expr, Literal):
            return self._meet(found, self._bound_of_sum(self.affine(expr), expr))
        return found

    def _meet(self, a: Interval, b: Interval) -> Interval:
        self.contradictory |= a.high < b.low or b.high < a.low
        return a.meet(b)

    def _structural(self, expr: Expr) -> Interval:
        match expr:
            case Literal():
                return literal_interval(expr)
            case Variable(name, dtype):
                return self.ranges.get(name, whole(dtype))
            case Call(op, args, dtype):
                known = [None if arg.dtype.is_float else self.interval(arg) for arg in args]
                return call_interval(op, known, dtype)
            case _:
                return whole(expr.dtype)

    def _bound_of_sum(self, form: Affine, expr: Expr) -> Interval:
        """Exact arithmetic: a sum equal to the value modulo 2**64 is the value if it fits i64."""
        low = high = form.constant
        for atom, factor in form.terms:
            bounds = whole(atom.dtype) if atom == expr else self.interval(atom)
            ends = (factor * bounds.low, factor * bounds.high)
            low, high = low + min(ends), high + max(ends)
        negated = tuple((atom, -factor) for atom, factor in form.terms)
        if form.terms in self._most:
            high = min(high, self._most[form.terms] + form.constant)
        if negated in self._most:
            low = max(low, form.constant - self._most[negated])
        self.contradictory |= low > high
        fits = low <= high and whole(int64).contains(Interval(low, high))
        return Interval(low, high) if fits else whole(int64)

    def affine(self, expr: Expr) -> Affine:
        """The expression as a sum of atoms, whatever they are."""
        match expr:
            case Literal(value=value):
                return Affine(int(value))
            case Variable(name=name, dtype=dtype) if name in self.definitions and dtype == int64:
                return self.definitions[name]
            case Call(op="add", args=(a, b)):
                return self.affine(a).plus(self.affine(b))
            case Call(op="sub", args=(a, b)):
                return self.affine(a).plus(self.affine(b), -1)
            case Call(op="neg", args=(a,)):
                return self.affine(a).times(-1)
            case Call(op="mul", args=(a, b)):
                return self._product(expr, self.affine(a), self.affine(b))
            case Call(op="floordiv" | "mod", args=(a, Literal(value=value))) if value > 0:
                if expr not in self._quotients:
                    self._quotients[expr] = self._division(expr, a, int(value))
                return self._quotients[expr]
            case _:
                return Affine(0, ((expr, 1),))

    def _product(self, expr: Expr, a: Affine, b: Affine) -> Affine:
        if not b.terms:
            return a.times(b.constant)
        if not a.terms:
            return b.times(a.constant)
        return Affine(0, ((expr, 1),))

    def _division(self, expr: Call, argument: Expr, divisor: int) -> Affine:
        """A quotient or remainder, reduced; left whole where the argument might have wrapped."""
        form = self.affine(argument)
        if form.is_large:
            return Affine(0, ((expr, 1),))
        terms = {atom: _truncated(factor, divisor) for atom, factor in form.terms}
        multiple = _sum(form.constant // divisor, terms)
        rest = form.plus(multiple, -divisor)
        if not (self._is_exact(form) and self._is_exact(rest)):
            return Affine(0, ((expr, 1),))
        if not rest.terms or self._lies_within(rest, divisor):
            return multiple if expr.op == "floordiv" else rest
        if expr.op == "floordiv":
            return multiple.plus(_quotient(rest, divisor))
        return _remainder(rest, divisor)

    def _lies_within(self, form: Affine, divisor: int) -> bool:
        return Interval(0, divisor - 1).contains(self.interval(form.expr))

    def _assume(self, condition: Expr) -> None:
        match condition:
            case Call(op="and", args=args):
                for part in args:
                    self._assume(part)
            case Call(op="lt" | "le" | "gt" | "ge" | "eq" as op, args=(a, b)) if a.dtype == int64:
                self._assume_relation(op, a, b)

    def _assume_relation(self, op: str, a: Expr, b: Expr) -> None:
        """a < b bounds a - b by -1, as long as the difference cannot have wrapped."""
        if op in ("gt", "ge"):
            a, b, op = b, a, {"gt": "lt", "ge": "le"}[op]
        if op != "eq" and (split := _split_extremes(a, b)):
            for lesser, greater in split:
                self._assume_relation(op, lesser, greater)
            return
        most = -1 if op == "lt" else 0
        low, high = self.interval(a).low, self.interval(b).high
        self._bound_difference(a, b, most)
        self._bound_value(a, Interval(whole(int64).low, high + most))
        self._bound_value(b, Interval(low - most, whole(int64).high))
        if op == "eq":
            self._assume_relation("le", b, a)

    def _bound_value(self, expr: Expr, bounds: Interval) -> None:
        if not isinstance(expr, Literal):
            self._within[expr] = self._meet(self._within.get(expr, whole(int64)), bounds)

    def _bound_difference(self, a: Expr, b: Expr, most: int) -> None:
        """Record a - b <= most. Both sides are values, so what they sum up to must not wrap."""
        forms = self._exact(a), self._exact(b)
        difference = forms[0].plus(forms[1], -1)
        bound = most - difference.constant
        key = difference.terms
        self._most[key] = min(bound, self._most.get(key, bound))

    def _exact(self, expr: Expr) -> Affine:
        """The sum that equals the value, not only modulo 2**64; else the value as one atom."""
        form = self.affine(expr)
        is_value = form.constant == 0 and [factor for _, factor in form.terms] == [1]
        return form if is_value or self._is_exact(form) else Affine(0, ((expr, 1),))

    def _is_exact(self, form: Affine) -> bool:
        """Whether a sum is a value of i64, and so the value it equals modulo 2**64."""
        if self.trusting:
            return True
        reach = abs(form.constant)
        for atom, factor in form.terms:
            bounds = self.interval(atom)
            reach += abs(factor) * max(abs(bounds.low), abs(bounds.high))
        return reach <= whole(int64).high


def _split_extremes(a: Expr, b: Expr) -> list[tuple[Expr, Expr]]:
    """What a bound by a minimum, or on a maximum, says of each operand."""
    match a, b:
        case _, Call(op="min", args=args):
            return [(a, arg) for arg in args]
        case Call(op="max", args=args), _:
            return [(arg, b) for arg in args]
        case _:
            return []


def _truncated(factor: int, divisor: int) -> int:
    """factor / divisor rounded toward 0, which keeps the remainders' coefficients small."""
    return factor // divisor if factor >= 0 else -(-factor // divisor)


def _quotient(rest: Affine, divisor: int) -> Affine:
    """rest // divisor as one atom, common factors and an inner quotient taken out."""
    common = _common_factor(rest, divisor)
    inner = _divide(rest, common)
    divisor //= common
    if divisor == 1:
        return inner
    match inner.terms:
        case ((Call(op="floordiv", args=(a, Literal(value=first))), 1),) if (
            not inner.constant and first > 0
        ):
            return Affine(0, ((floordiv(a, int(first) * divisor), 1),))
    return Affine(0, ((floordiv(inner.expr, divisor), 1),))


def _remainder(rest: Affine, divisor: int) -> Affine:
    """rest mod divisor as a multiple of one atom and a constant."""
    common = _common_factor(rest, divisor)
    inner = _divide(rest, common)
    if divisor == common:
        return Affine(rest.constant % common)
    atom = mod(inner.expr, divisor // common)
    return Affine(rest.constant % common, ((atom, common),))


def _common_factor(form: Affine, divisor: int) -> int:
    return gcd(divisor, *(factor for _, factor in form.terms))


def _divide(form: Affine, common: int) -> Affine:
    """The form over a common factor of its coefficients, its constant rounded down."""
    terms = tuple((atom, factor // common) for atom, factor in form.terms)
    return Affine(form.constant // common, terms)
