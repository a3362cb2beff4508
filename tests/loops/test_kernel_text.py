"""The text of kernels and schedules: what it looks like, and that it reads back equal."""

from __future__ import annotations

from random import Random

import pytest
from generate_kernels import kernels, make_kernel, schedules
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.dtypes import bool_, float32, float64, int64, uint8
from graphc.errors import ParseError, VerifyError
from graphc.loops import (
    Axis,
    Buffer,
    Call,
    Expr,
    Item,
    Kernel,
    Let,
    Literal,
    Load,
    Reduce,
    Schedule,
    Variable,
    add,
    call,
    cast,
    const,
)
from graphc.loops.parse import parse_kernel, parse_schedule
from graphc.loops.text import format_expression
from graphc.loops.verify import unproved_accesses, verify_kernel
from graphc.loops.verify_schedule import verify_schedule

EXAMPLE = """\
kernel @conv.row(in x: f32[8,16], in w: f32[3] order(0), out y: f32[8,16]) {
  parallel i in 0..8 {
    let m = reduce max [k < 16] lanes=8 (x[i, k])
    serial j0 in 0..16 step 4 {
      local tile: register f32[1,4]
      vector j in j0..min(j0 + 4, 16) {
        store tile[0, j % 4] = reduce dot [k < 3] lanes=1 (x[i, j + k - 1 where 0 <= j + k - 1 \
and j + k - 1 < 16 else f32(0.0)], w[k])
      }
      contract tile[r, c] += w[r] * (x[i, j0 + c] + m)
      when j0 < 8 or i == 0 {
        store y[i, j0] = exp(tile[0, 0] - m) where x[i, j0] != f32(nan)
      }
    }
    let winner = reduce argmax [k < 16] lanes=1 (x[i, k], k where k // 2 * 2 == k).1
    let count = cast<f32>(winner) * (m + f32(-0.5))
  }
}"""

SCHEDULE = """\
schedule @step {
  input x: f32[4,4]
  constant c: f32[4]   # net.py:3
  state "in": f32[4,4] order(1,0)
  temporary ok: bool[]
  data c = "1f2e"
  inputs x
  outputs "in"
  define scale = kernel @scale(in x: f32[4], out y: f32[4]) {
    parallel i in 0..4 {
      store y[i] = x[i] * f32(2.0)
    }
  }
  repeat t in 0..4 {
    launch first = scale(x + 4 * t, "in" + t * 4) {ops=(mul), reason="alone", flops=4, bytes=32}   \
# net.py:3, net.py:9
  }
  branch ok {
    launch second = scale(c, "in")
  } else {
    launch third = scale(c, "in" + 12)
  }
}"""


@settings(max_examples=150)
@given(kernels)
def test_a_kernel_reads_back_equal_and_verified(kernel: Kernel) -> None:
    verify_kernel(kernel)
    again = parse_kernel(str(kernel))
    assert again == kernel
    assert again.structural_hash == kernel.structural_hash
    assert str(again) == str(kernel)


@settings(max_examples=60)
@given(schedules)
def test_a_schedule_reads_back_equal_and_verified(schedule: Schedule) -> None:
    verify_schedule(schedule)
    again = parse_schedule(str(schedule))
    assert again == schedule
    assert str(again) == str(schedule)


def test_a_kernel_reads_like_a_program() -> None:
    kernel = parse_kernel(EXAMPLE)
    assert str(kernel) == EXAMPLE
    verify_kernel(kernel)


def test_a_schedule_reads_like_a_program() -> None:
    schedule = parse_schedule(SCHEDULE)
    assert str(schedule) == SCHEDULE
    verify_schedule(schedule)


i, j, x = Variable("i"), Variable("j"), Variable("x", float32)


def shown(expr: Expr) -> str:
    kernel = Kernel("k", (), (Let("x", const(0, float32)), Let("a", expr)))
    if isinstance(expr, Load):
        kernel = Kernel("k", (Buffer(expr.buffer, (1,) * 2, expr.dtype),), kernel.body)
    again = parse_kernel(str(kernel)).body[1]
    assert isinstance(again, Let) and again.value == expr
    assert repr(again.value) == repr(expr)
    return format_expression(expr)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (add(add(i, j), 3), "i + j + 3"),
        (Call("add", (i, add(j, 3)), int64), "i + (j + 3)"),
        (Call("sub", (i, Call("sub", (j, i), int64)), int64), "i - (j - i)"),
        (Call("mul", (add(i, 1), Literal(-2, int64)), int64), "(i + 1) * -2"),
        (Call("floordiv", (Call("mul", (i, j), int64), i), int64), "i * j // i"),
        (Call("mul", (i, Call("mod", (j, i), int64)), int64), "i * (j % i)"),
        (call("lt", call("eq", i, j), Literal(True, bool_)), "(i == j) < true"),
        (call("and", call("or", call("lt", i, j), call("ge", i, j)), call("ne", i, j)),
         "(i < j or i >= j) and i != j"),
        (call("neg", Literal(3, int64)), "neg(3)"),
        (Literal(-3, int64), "-3"),
        (Literal(3.0, float32), "f32(3.0)"),
        (Literal(-0.0, float64), "f64(-0.0)"),
        (Literal(float("nan"), float32), "f32(nan)"),
        (Literal(7, uint8), "u8(7)"),
        (Literal(False, bool_), "false"),
        (Literal(1, float32), "f32(1)"),
        (Literal(True, int64), "i64(true)"),
        (cast(i, float32), "cast<f32>(i)"),
        (cast(x, int64), "cast<i64>(x)"),
        (Call("add", (x, x), float64), "add<f64>(x, x)"),
        (Call("cast", (x,), float32), "cast<f32>(x)"),
        (Call("random", (), float32), "random<f32>()"),
        (Call("reduce", (x,), float32), '"reduce"(x)'),
        (Variable("f32"), '"f32"'),
        (call("lt", Variable("cast"), Literal(0, uint8)), "cast < u8(0)"),
        (Load("b", (i, j), float32), "b[i, j]"),
        (Load("b", (i, j), float32, call("lt", i, j), const(0, float32)),
         "b[i, j where i < j else f32(0.0)]"),
        (Load("b", (), float32, call("lt", i, j)), "b[ where i < j]"),
        (Reduce("sum", (), (x,), float32), "reduce sum [] lanes=1 (x)"),
        (Reduce("sum", (Axis("k", 3),), (x, i), float64, call("lt", i, j), 4),
         "reduce sum<f64> [k < 3] lanes=4 (x, i where i < j)"),
        (Item(Reduce("argmax", (), (x, i), float32), 1, int64),
         "reduce argmax [] lanes=1 (x, i).1"),
    ],
)  # fmt: skip
def test_expressions_print_as_formulas_and_keep_their_types(expr: Expr, text: str) -> None:
    assert shown(expr) == text


def inside(statement: str) -> str:
    return f"kernel @k(in x: f32[4], out y: f32[4]) {{\n  {statement}\n}}"


REFUSED = (
    ("kernel @k(x: f32[4]) {}", "line 1, column 11: expected in, out or inout, found 'x'"),
    (inside("load y"), r"line 2, column 3: expected a statement or '}', found 'load'"),
    (inside("let a = z[0]"), "line 2, column 11: buffer 'z' is not declared"),
    (inside("let a = 0.5"), "expected an integer, found '0.5'"),
    (inside("let a = i < j < k"), "expected a statement or '}', found '<'"),
    (inside("let a = cast(x[0])"), "expected the type of 'cast', as in cast<f32>"),
    (inside("let a = random()"), "expected the type of 'random'"),
    (inside("let a = x[0 where true else i]"), "expected a literal"),
    (inside("let a = reduce sum [k < 2] (x[k])"), "expected 'lanes'"),
    (inside("let a = reduce sum [] lanes=1 ()"), "expected <type> of a fold"),
    (inside("let a = reduce argmax [] lanes=1 (x[0], 1).2"), "no item 2 of 2"),
    (inside("serial i in 0.4 {}"), r"expected an integer, found '0.4'"),
    (inside("serial i in 0..4"), "expected '{'"),
    (inside("let f32 = 1"), "expected a name, found 'f32'"),
    (inside("let a = " + "(" * 5000), "at most 64 levels of nesting"),
    (inside("let a = " + "neg(" * 5000), "at most 64 levels of nesting"),
    (inside("let a = 1" + " + 1" * 5000), "expression of more than 128 levels"),
    (inside("when true {" * 5000), "at most 64 levels of nesting"),
    (inside("let a = u8(" + "9" * 5000 + ")"), "more than 1000 digits"),
    (inside("let a = 1") + "}", "expected the end of the text"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_no_kernel_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse_kernel(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schedule @s {", "expected launch, repeat, branch or '}', found end of text"),
        ("schedule @s { input x f32[1] }", "expected ':'"),
        ('schedule @s { data c = "1" data c = "2" }', "data 'c' is defined twice"),
        ("schedule @s { define k = kernel @k() {} define k = kernel @k() {} }", "defined twice"),
        ("schedule @s { launch a = k() {flops=1, flops=2} }", "each once, found 'flops'"),
        ("schedule @s { launch a = k() {speed=1} }", "ops, reason, flops or bytes"),
        ("schedule @s { repeat t in 1..4 {} }", "a repeat from 0"),
        ("schedule @s { branch { } }", "expected a name, found '{'"),
        ("schedule @s {" + "repeat t in 0..4 {" * 5000, "at most 64 levels of nesting"),
    ],
)
def test_what_is_no_schedule_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse_schedule(text)


PIECES = st.sampled_from(
    (*"%@{}()[]<>,:=#\"\\-+*/. \n", "//", "..", "let a = ", "store", "where", "else", "and", "f32",
     "f32(", "<f32>", "x", "9" * 30, "-1", "reduce sum [] lanes=1 (", ").1", "serial i in 0..",
     "local t: register f32[2]\n", "é", "true", "0.5", "step 0", "order(0)", "launch", "repeat")
)  # fmt: skip


def mutate(text: str, data: st.DataObject) -> str:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 5)))
        text = text[:start] + data.draw(PIECES) + text[stop:]
    return text


@settings(max_examples=200)
@given(kernels, st.data())
def test_mutated_kernels_are_parsed_or_refused(kernel: Kernel, data: st.DataObject) -> None:
    try:
        again = parse_kernel(mutate(str(kernel), data))
    except ParseError as problem:
        assert str(problem).startswith("line ")
        return
    try:
        verify_kernel(again)
    except VerifyError as problem:
        assert str(problem).endswith("]")
        return
    assert parse_kernel(str(again)) == again
    unproved_accesses(again)


@settings(max_examples=100)
@given(schedules, st.data())
def test_mutated_schedules_are_parsed_or_refused(schedule: Schedule, data: st.DataObject) -> None:
    try:
        again = parse_schedule(mutate(str(schedule), data))
        assert parse_schedule(str(again)) == again
        verify_schedule(again)
    except (ParseError, VerifyError):
        return


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse, whole in ((parse_kernel, inside(text)), (parse_schedule, f"schedule @s {{{text}}}")):
        try:
            parse(whole)
        except ParseError as problem:
            assert str(problem).startswith("line ")


def test_every_statement_and_operation_turns_up_in_the_random_kernels() -> None:
    text = "\n".join(str(make_kernel(Random(seed))) for seed in range(400))
    words = ("let", "store", "local", "when", "contract", "parallel", "vector", "unroll", "block")
    forms = ("reduce argmax", ").1", ").0", "where", "else", "order(", "fma(", "cast<", "bitcast<")
    for word in (*words, *forms, "select(", "step 3", " // ", " % ", "mulhi(", "shr(", "f32(nan)"):
        assert word in text
