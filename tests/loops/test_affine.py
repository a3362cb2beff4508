"""Sums of atoms and intervals, against direct evaluation of the expression."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from index_oracle import evaluate

from graphc.dtypes import float32, int64, uint8
from graphc.loops import (
    Axis,
    Call,
    Expr,
    Literal,
    Load,
    Reduce,
    Variable,
    add,
    alltrue,
    call,
    cast,
    floordiv,
    index,
    mod,
    mul,
    select,
    sub,
    variable,
    within,
)
from graphc.loops.affine import Bounds, affine, free_variables, interval, substitute
from graphc.loops.intervals import Interval

RANGES = {"i": Interval(0, 3), "j": Interval(-2, 2), "k": Interval(1, 4)}
LIMITS = Interval(-(1 << 63), (1 << 63) - 1)


small = st.integers(-9, 9)
leaves = st.one_of(small.map(index), st.sampled_from(sorted(RANGES)).map(Variable))
divisors = st.integers(1, 12)


def affine_parts(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.one_of(
        st.builds(
            lambda op, a, b: Call(op, (a, b), int64), st.sampled_from(["add", "sub"]), inner, inner
        ),
        st.builds(lambda a, b: Call("mul", (a, index(b)), int64), inner, small),
        st.builds(lambda a: Call("neg", (a,), int64), inner),
        st.builds(lambda a, b: Call("floordiv", (a, index(b)), int64), inner, divisors),
        st.builds(lambda a, b: Call("mod", (a, index(b)), int64), inner, divisors),
    )


def any_parts(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    binary = st.sampled_from(["add", "sub", "mul", "floordiv", "mod", "min", "max", "and"])
    return st.one_of(
        affine_parts(inner),
        st.builds(lambda op, a, b: Call(op, (a, b), int64), binary, inner, inner),
        st.builds(lambda a: Call("abs", (a,), int64), inner),
        st.builds(lambda a: Call("shr", (a, index(2)), int64), inner),
        st.builds(lambda a, b, c, d: select(call("lt", a, b), c, d), inner, inner, inner, inner),
    )


affine_expressions = st.recursive(leaves, affine_parts, max_leaves=12)
huge = st.sampled_from([0, 1, (1 << 62) + 3, (1 << 63) - 1, -(1 << 63), -(1 << 62)]).map(index)
any_expressions = st.recursive(st.one_of(leaves, leaves, huge), any_parts, max_leaves=12)


def assignments() -> list[dict[str, int]]:
    spans = [range(bounds.low, bounds.high + 1) for bounds in RANGES.values()]
    return [dict(zip(RANGES, values, strict=True)) for values in product(*spans)]


@given(affine_expressions)
def test_an_affine_form_has_the_value_of_its_expression(expr: Expr) -> None:
    trusted, ranged = affine(expr), affine(expr, RANGES)
    assert trusted is not None and ranged is not None
    for values in assignments():
        expected = evaluate(expr, values)
        assert evaluate(trusted.expr, values) == expected
        assert evaluate(ranged.expr, values) == expected


@given(affine_expressions)
def test_a_form_is_its_own_form(expr: Expr) -> None:
    form = affine(expr)
    assert form is not None
    again = affine(form.expr)
    assert again is not None
    for values in assignments():
        assert evaluate(again.expr, values) == evaluate(form.expr, values)
    assert form.variables <= free_variables(expr)


@settings(max_examples=300)
@given(any_expressions)
def test_an_interval_holds_every_value_even_where_arithmetic_wraps(expr: Expr) -> None:
    bounds = interval(expr, RANGES)
    assert LIMITS.contains(bounds)
    for values in assignments():
        assert bounds.low <= evaluate(expr, values) <= bounds.high


@settings(max_examples=300)
@given(any_expressions, any_expressions, any_expressions)
def test_facts_hold_wherever_the_condition_does(a: Expr, b: Expr, expr: Expr) -> None:
    condition = call("lt", a, b)
    goal = Call("sub", (a, b), int64)
    known = Bounds(RANGES, [condition])
    for values in assignments():
        if evaluate(condition, values):
            for question in (a, b, goal, expr):
                bounds = known.interval(question)
                assert bounds.low <= evaluate(question, values) <= bounds.high


@given(affine_expressions, affine_expressions)
def test_substitution_is_evaluation_in_two_steps(expr: Expr, value: Expr) -> None:
    replaced = substitute(expr, {"j": value})
    for values in assignments():
        inner = {**values, "j": evaluate(value, values)}
        assert evaluate(replaced, values) == evaluate(expr, inner)


def test_coefficients_are_read_off_a_sum() -> None:
    i, j = variable("i"), variable("j")
    form = affine(add(add(mul(i, 6), mul(j, -2)), 5))
    assert form is not None
    assert (form.constant, form.coefficient("i"), form.coefficient("j")) == (5, 6, -2)
    assert form.coefficient("k") == 0
    assert form.without("i") == affine(add(mul(j, -2), 5))
    assert form.variables == {"i", "j"}


def test_quotients_and_remainders_cancel_a_reshape() -> None:
    i, j = variable("i"), variable("j")
    flat = add(mul(i, 8), j)
    ranges = {"i": Interval(0, 5), "j": Interval(0, 7)}
    assert affine(floordiv(flat, 8), ranges) == affine(i)
    assert affine(mod(flat, 8), ranges) == affine(j)
    assert affine(mod(mul(i, 8), 4)) == affine(index(0))
    assert affine(floordiv(floordiv(i, 2), 3)) == affine(floordiv(i, 6))
    assert affine(floordiv(add(mul(i, 4), 6), 8)) == affine(floordiv(add(i, 1), 2))
    assert affine(mod(add(mul(i, 4), 6), 8)) == affine(add(mul(mod(add(i, 1), 2), 4), 2))


def test_a_variable_inside_a_quotient_is_hidden() -> None:
    form = affine(add(variable("i"), floordiv(variable("i"), 3)))
    assert form is not None and form.hides("i") and form.coefficient("i") == 1


def test_what_is_no_sum_has_no_form() -> None:
    i = variable("i")
    assert affine(Load("x", (i,), int64)) is None
    assert affine(mul(i, variable("j"))) is None
    assert affine(mod(Load("x", (i,), int64), 4)) is None
    assert affine(Literal(1.5, float32)) is None


def test_a_guard_bounds_what_it_names() -> None:
    row = sub(mul(variable("y"), 2), 1)
    guard = alltrue(within(row, 5), within(Load("x", (variable("y"),), int64), 9))
    assert guard is not None
    known = Bounds({"y": Interval(0, 99)}, [guard])
    assert known.interval(row) == Interval(0, 4)
    assert known.interval(add(row, 3)) == Interval(3, 7)
    assert known.interval(Load("x", (variable("y"),), int64)) == Interval(0, 8)


def test_a_narrow_load_is_bounded_by_its_type() -> None:
    position = cast(Load("p", (), uint8), int64)
    assert interval(position, {}) == Interval(0, 255)
    assert interval(floordiv(position, 3), {}) == Interval(0, 85)


def test_substitution_folds_shares_and_never_captures() -> None:
    i, k = variable("i"), variable("k")
    assert substitute(add(i, 3), {"i": index(4)}) == index(7)
    untouched = add(k, 1)
    assert substitute(untouched, {"i": k}) is untouched
    fold = Reduce("sum", (Axis("k", 4),), (Load("x", (i, k), float32),), float32)
    assert free_variables(fold) == {"i"}
    moved = substitute(fold, {"i": k, "k": index(9)})
    assert isinstance(moved, Reduce)
    assert moved.axes == (Axis("k_", 4),)
    assert moved.body == (Load("x", (k, variable("k_")), float32),)


def test_comparisons_that_intervals_decide() -> None:
    ranges = {"i": Interval(0, 4), "j": Interval(5, 9)}
    i, j = variable("i"), variable("j")
    assert interval(call("lt", i, j), ranges) == Interval(1, 1)
    assert interval(call("le", j, i), ranges) == Interval(0, 0)
    assert interval(call("eq", i, j), ranges) == Interval(0, 0)
    assert interval(call("eq", add(i, 1), j), ranges) == Interval(0, 1)
    assert interval(call("le", add(i, 5), j), ranges) == Interval(0, 1)
