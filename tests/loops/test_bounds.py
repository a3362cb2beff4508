"""Bounds of accesses: true for every access that runs, and sharp enough for real index forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_oracle import evaluate

from graphc.dtypes import bool_, float32, int64
from graphc.loops import (
    Axis,
    Buffer,
    Call,
    Expr,
    Kernel,
    Let,
    Literal,
    Load,
    Loop,
    Reduce,
    Statement,
    Store,
    Variable,
    When,
)
from graphc.loops.bounds import Access, accesses
from graphc.loops.parse import parse_kernel
from graphc.loops.verify import unproved_accesses, verify_kernel

Values = Mapping[str, int]


class Indices:
    """Random kernels of loops, lets, conditions and accesses; only their indices matter."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.count = 0
        self.known: list[Variable] = []

    def kernel(self) -> Kernel:
        buffers = (Buffer("x", (9,), float32), Buffer("y", (9,), float32, (), "out"))
        return Kernel("k", buffers, self.body(0))

    def body(self, depth: int) -> tuple[Statement, ...]:
        kept = len(self.known)
        body = tuple(self.statement(depth) for _ in range(self.random.randint(1, 3)))
        del self.known[kept:]
        return body

    def fresh(self, dtype: str = "i") -> Variable:
        self.count += 1
        return Variable(f"{dtype}{self.count}", bool_ if dtype == "b" else int64)

    def statement(self, depth: int) -> Statement:
        choice = self.random.random() if depth < 3 else 0.5 + self.random.random() / 2
        if choice < 0.4:
            variable, step = self.fresh(), self.random.choice((1, 1, 2, 3))
            lower, upper = self.expr(1), self.expr(1)
            self.known.append(variable)
            body = self.body(depth + 1)
            self.known.remove(variable)
            return Loop("serial", variable.name, lower, upper, body, step)
        if choice < 0.5:
            return When(self.condition(), self.body(depth + 1))
        if choice < 0.7:
            variable = self.fresh(self.random.choice("ib"))
            value = self.condition() if variable.dtype == bool_ else self.expr(2)
            self.known.append(variable)
            return Let(variable.name, value)
        guard = self.condition() if self.random.random() < 0.5 else None
        return Store("y", (self.expr(2),), self.value(), guard)

    def value(self) -> Expr:
        axis = self.fresh()
        self.known.append(axis)
        where = self.condition() if self.random.random() < 0.5 else None
        load = Load("x", (self.expr(2),), float32)
        self.known.remove(axis)
        return Reduce("sum", (Axis(axis.name, self.random.randint(0, 4)),), (load,), float32, where)

    def condition(self) -> Expr:
        bools = [variable for variable in self.known if variable.dtype == bool_]
        if bools and self.random.random() < 0.4:
            return self.random.choice(bools)
        if self.random.random() < 0.3:
            return Call("and", (self.condition(), self.condition()), bool_)
        op = self.random.choice(("lt", "le", "gt", "ge", "eq"))
        return Call(op, (self.expr(2), self.expr(1)), bool_)

    def expr(self, depth: int) -> Expr:
        known = [variable for variable in self.known if variable.dtype == int64]
        if depth == 0 or self.random.random() < 0.3:
            if known and self.random.random() < 0.7:
                return self.random.choice(known)
            return Literal(self.random.randint(-3, 7), int64)
        op = self.random.choice(("add", "sub", "mul", "floordiv", "mod", "min", "max"))
        if op in ("mul", "floordiv", "mod"):
            factor = Literal(self.random.randint(1, 4), int64)
            return Call(op, (self.expr(depth - 1), factor), int64)
        return Call(op, (self.expr(depth - 1), self.expr(depth - 1)), int64)


class Run:
    """Runs a kernel's indices and holds them against what was said of them."""

    def __init__(self, kernel: Kernel) -> None:
        self.said: dict[tuple[int, str], Access] = {}
        for access in accesses(kernel):
            self.said[id(access.statement), access.buffer] = access
        self.checked = 0
        self.body(kernel.body, {})

    def body(self, statements: Sequence[Statement], values: Values) -> None:
        for statement in statements:
            match statement:
                case Let(name, value):
                    values = {**values, name: evaluate(value, values)}
                case Loop(_, var, lower, upper, body, step):
                    for number in range(evaluate(lower, values), evaluate(upper, values), step):
                        self.body(body, {**values, var: number})
                case When(condition, body):
                    if evaluate(condition, values):
                        self.body(body, values)
                case Store():
                    self.store(statement, values)

    def store(self, store: Store, values: Values) -> None:
        if store.guard is None or evaluate(store.guard, values):
            self.check(store, "y", store.index[0], values)
        fold = store.value
        assert isinstance(fold, Reduce)
        (load,) = fold.body
        assert isinstance(load, Load)
        for place in product(*(range(axis.extent) for axis in fold.axes)):
            names = (axis.name for axis in fold.axes)
            inner = {**values, **dict(zip(names, place, strict=True))}
            if fold.where is None or evaluate(fold.where, inner):
                self.check(store, "x", load.index[0], inner)

    def check(self, store: Store, buffer: str, index: Expr, values: Values) -> None:
        bounds = self.said[id(store), buffer].bounds
        assert bounds.low <= evaluate(index, values) <= bounds.high
        self.checked += 1


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32))
def test_every_access_that_runs_is_within_its_bounds(seed: int) -> None:
    Run(Indices(Random(seed)).kernel())


def test_the_random_kernels_run_accesses() -> None:
    assert sum(Run(Indices(Random(seed)).kernel()).checked for seed in range(100)) > 1000


PROVED = {
    "plain": "parallel i in 0..8 { store y[i] = x[i] }",
    "reshape": "parallel i in 0..2 { parallel j in 0..4 { store y[i * 4 + j] = x[i * 4 + j] } }",
    "unshape": "parallel i in 0..8 { store z[i // 4, i % 4] = x[i] }",
    "flip": "parallel i in 0..8 { store y[i] = x[7 + i * -1] }",
    "tail": """parallel i in 0..8 step 3 {
      vector j in i..min(i + 3, 8) { store y[j] = x[j] } }""",
    "tiles": """parallel i in 0..8 step 4 {
      vector j in 0..4 { store y[i + j] = x[i + j] } }""",
    "tile of a tile": """parallel i in 0..8 step 4 {
      serial k in i..i + 4 step 2 { vector j in 0..2 { store y[k + j] = x[k + j] } } }""",
    "pad": """parallel i in 0..8 {
      store y[i] = x[i - 1 where 0 <= i - 1 and i - 1 < 8 else f32(0.0)] }""",
    "window": """parallel i in 0..8 {
      let o = i - 1
      store y[i] = reduce sum [k < 3] lanes=1 (x[o + k] where 0 <= o + k and i + k < 9) }""",
    "stride": """parallel i in 0..8 {
      when (i - 1) % 2 == 0 and 1 <= i { store y[(i - 1) // 2] = x[(i - 1) // 2 * 2 + 1] } }""",
    "guarded store": "parallel i in 0..99 { store y[i] = f32(0.0) where i < 8 }",
    "gather": """parallel i in 0..8 { let p = n[i] let ok = 0 <= p and p < 8
      store y[i] = x[p where ok else f32(0.0)] }""",
    "gather from -n": """parallel i in 0..8 { let p = select(n[i] < 0, n[i] + 8, n[i])
      store y[i] = x[p where 0 <= p and p < 8 else f32(0.0)] }""",
    "shifted": """parallel i in 0..8 { let p = n[i] + 3
      when p < 8 and p >= 0 { store y[p] = x[p] } }""",
    "clamped": "parallel i in 0..8 { store y[i] = x[max(0, min(n[i], 7))] }",
    "narrow": "parallel i in 0..8 { store y[i] = x[cast<i64>(p[i]) // 32] }",
    "let": "parallel i in 0..2 { let o = i * 4 vector j in 0..4 { store y[o + j] = x[o + j] } }",
    "no iterations": "serial i in 8..8 { store y[i + 50] = x[i + 50] }",
    "never": "parallel i in 0..8 { store y[i] = x[i + 50 where i + 50 < 8 else f32(0.0)] }",
    "never by value": "let a = x[n[0] where 0 <= n[0] and n[0] < 0 else f32(0.0)]",
    "empty fold": "store y[0] = reduce sum [k < 0] lanes=1 (x[k + 50])",
    "contract": """local t: register f32[2,4]
      contract t[r, c] += x[r] * x[c + 4]""",
}

UNPROVED = {
    "one too far": ("parallel i in 0..8 { store y[i] = x[i + 1] }", "i + 1", (1, 8)),
    "gather": ("parallel i in 0..8 { store y[i] = x[n[i]] }", "n[i]", None),
    "wrong guard": (
        "parallel i in 0..9 { store y[i - 1] = f32(0.0) where i < 9 }", "i - 1", (-1, 7)
    ),
    "value before guard": (
        "parallel i in 0..9 { store y[i] = x[i] where i < 8 }", "i", (0, 8)
    ),
}  # fmt: skip


def kernel_of(body: str) -> Kernel:
    formals = "in x: f32[8], in n: i64[8], in p: u8[8], out y: f32[8], out z: f32[2,4]"
    return parse_kernel(f"kernel @k({formals}) {{ {body} }}")


@pytest.mark.parametrize("case", PROVED)
def test_the_usual_index_forms_are_proved(case: str) -> None:
    kernel = kernel_of(PROVED[case])
    verify_kernel(kernel)
    assert [str(access) for access in unproved_accesses(kernel)] == []


@pytest.mark.parametrize("case", UNPROVED)
def test_what_may_leave_its_buffer_is_reported(case: str) -> None:
    body, index, bounds = UNPROVED[case]
    kernel = kernel_of(body)
    verify_kernel(kernel)
    (access,) = unproved_accesses(kernel)
    assert f", {index}, is in " in str(access)
    assert bounds is None or access.bounds == bounds
    assert access.extent == 8 and not access.is_outside
