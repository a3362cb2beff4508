"""One planted violation of every invariant of kernels and schedules: each is refused by name."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

import graphc.loops.verify as verify_module
from graphc.dtypes import DType, bool_, float32, float64, int64
from graphc.errors import VerifyError
from graphc.loops import (
    Argument,
    Axis,
    Buffer,
    Call,
    Contract,
    Expr,
    Item,
    Kernel,
    Launch,
    Let,
    Literal,
    Load,
    Local,
    Loop,
    Reduce,
    Repeat,
    Schedule,
    Storage,
    Store,
    Variable,
    When,
    const,
    index,
)
from graphc.loops.parse import parse_kernel, parse_schedule
from graphc.loops.verify import verify_kernel
from graphc.loops.verify_schedule import verify_schedule

FORMALS = "in x: f32[8], in n: i64[8], in b: bool[8], inout u: f32[8], out y: f32[8]"


def parsed(body: str) -> Kernel:
    return parse_kernel(f"kernel @k({FORMALS}) {{ {body} }}")


def built(*body: Any, buffers: tuple[Buffer, ...] = ()) -> Kernel:
    return Kernel("k", (*parsed("").buffers, *buffers), body)


def of(value: Expr) -> Kernel:
    return built(Let("a", value))


X0 = Load("x", (index(0),), float32)
ONE, TRUE = Literal(1, int64), Literal(True, bool_)
TILE = Buffer("t", (2, 2), float32, space="register")
ROW = DType("float8", "f8", "float", "uint8", "float32")


KERNELS: dict[str, tuple[Kernel, str]] = {
    "fields: statement": (built(X0), "is not a statement"),
    "fields: expression": (of("x"), "'x' is not an expression"),  # type: ignore[arg-type]  # planted
    "fields: name": (built(Let(3, X0)), "name of a variable is 3"),  # type: ignore[arg-type]  # planted
    "fields: buffer": (replace(parsed(""), buffers=("x",)), "'x' is not a buffer"),  # type: ignore[arg-type]  # planted
    "names: let": (parsed("let a = 1 let a = 2"), "variable 'a' is bound where it already is"),
    "names: loop": (parsed("let i = 1 serial i in 0..4 {}"), "'i' is bound"),
    "names: fold": (parsed("serial i in 0..4 { let a = reduce sum [i < 2] lanes=1 (i) }"), "'i'"),
    "names: formal": (built(buffers=(Buffer("x", (), float32),)), "buffer 'x' is declared where"),
    "names: local": (parsed("local x: register f32[2]"), "buffer 'x' is declared"),
    "names: contract": (
        built(Local(TILE), Contract("t", "c", "c", X0, X0)), "'c' is bound"
    ),
    "memory: extent": (built(buffers=(Buffer("z", (-1,), float32),)), "'z' has an extent -1"),
    "memory: order": (built(buffers=(Buffer("z", (2, 3), float32, (0, 0)),)), r"order \(0, 0\)"),
    "memory: type": (built(buffers=(Buffer("z", (2,), ROW),)), "element type f8"),
    "memory: formal": (
        built(buffers=(Buffer("z", (2,), float32, space="shared"),)), "in the space 'shared'"
    ),
    "memory: local": (built(Local(Buffer("z", (2,), float32))), "in the space 'formal'"),
    "memory: access": (
        built(buffers=(Buffer("z", (2,), float32, access="up"),)), "access 'up'"  # type: ignore[arg-type]  # planted
    ),
    "variables: unbound": (parsed("let a = i"), "variable 'i' is not bound"),
    "variables: left": (parsed("serial i in 0..4 { } let a = i"), "'i' is not bound"),
    "variables: own": (parsed("let a = a + 1"), "'a' is not bound"),
    "variables: axis": (parsed("let a = reduce sum [k < 2] lanes=1 (k) + k"), "'k' is not bound"),
    "variables: type": (
        built(Let("a", ONE), Let("c", Variable("a", float32))), "'a' is int64, read as float32"
    ),
    "buffers: store": (parsed("store z[0] = f32(1.0)"), "buffer 'z' is not declared"),
    "buffers: load": (of(Load("z", (ONE,), float32)), "buffer 'z' is not declared"),
    "buffers: left": (
        built(When(TRUE, (Local(TILE),)), Store("t", (ONE, ONE), X0)), "'t' is not declared"
    ),
    "buffers: type": (of(Load("x", (ONE,), float64)), "'x' holds float32, read as float64"),
    "indices: load": (parsed("let a = x[0, 1]"), "'x' has 1 dimensions and 2 indices"),
    "indices: store": (parsed("store y[] = f32(1.0)"), "'y' has 1 dimensions and 0 indices"),
    "indices: type": (parsed("let a = x[true]"), "an index of 'x' is bool"),
    "types: lower": (parsed("serial i in true..4 { }"), "the lower bound is bool"),
    "types: upper": (parsed("serial i in 0..u8(4) { }"), "the upper bound is uint8"),
    "types: when": (parsed("when 1 { }"), "a condition is int64; expected bool"),
    "types: guard": (parsed("store y[0] = x[0] where 1"), "a condition is int64"),
    "types: load guard": (parsed("let a = x[0 where 1 else f32(0.0)]"), "a condition is int64"),
    "types: where": (parsed("let a = reduce sum [] lanes=1 (1 where 2)"), "a condition is int64"),
    "types: store": (parsed("store y[0] = 1"), "what 'y' stores is int64; expected float32"),
    "types: row": (of(Variable("a", ROW)), "f8 is not an element type"),
    "types: fill": (parsed("let a = x[0 where true else 1]"), "the fill of a load is int64"),
    "operations: unknown": (parsed("let a = frobnicate(1)"), "no operation 'frobnicate'"),
    "operations: count": (parsed("let a = min(1)"), "min takes 2 operands, not 1"),
    "operations: mixed": (parsed("let a = x[0] + 1"), "one type, not float32, int64"),
    "operations: bool": (parsed("let a = true + true"), "add takes numbers, not bool, bool"),
    "operations: float": (parsed("let a = sqrt(1)"), "sqrt takes floats, not int64"),
    "operations: formula": (parsed("let a = exp(1)"), "exp takes float32 or float64, not int64"),
    "operations: integer": (parsed("let a = x[0] // x[0]"), "floordiv takes integers"),
    "operations: bits": (parsed("let a = not(x[0])"), "not takes integers or bools"),
    "operations: select": (parsed("let a = select(1, 2, 3)"), "select takes a bool"),
    "operations: result": (of(Call("add", (ONE, ONE), float32)), "add gives int64, not float32"),
    "operations: compare": (of(Call("lt", (ONE, ONE), int64)), "lt gives bool, not int64"),
    "operations: width": (parsed("let a = bitcast<u8>(1)"), "keeps the width, not int64 to uint8"),
    "literals: kind": (of(Literal(1, float32)), "1 is no float32"),
    "literals: bool": (of(Literal(True, int64)), "True is no int64"),
    "literals: range": (parsed("let a = u8(256)"), "256 is no uint8"),
    "guards: fill": (of(Load("x", (ONE,), float32, None, const(0, float32))), "not both"),
    "guards: guard": (parsed("let a = x[0 where true]"), "has a guard or a fill, not both"),
    "folds: name": (parsed("let a = reduce mean [] lanes=1 (1)"), "no fold 'mean'"),
    "folds: body": (parsed("let a = reduce dot [] lanes=1 (1)"), "folds 2 expressions, not 1"),
    "folds: lanes": (parsed("let a = reduce sum [k < 9] lanes=3 (k)"), "3 lanes over 1 axes"),
    "folds: no lanes": (parsed("let a = reduce sum [k < 9] lanes=0 (k)"), "0 lanes"),
    "folds: no axes": (parsed("let a = reduce sum [] lanes=4 (1)"), "4 lanes over 0 axes"),
    "folds: extent": (of(Reduce("sum", (Axis("k", -2),), (ONE,), int64)), "'k' has extent -2"),
    "folds: type": (of(Reduce("sum", (), (X0,), float64)), "sum of float32 is not float64"),
    "folds: bools": (parsed("let a = reduce sum [] lanes=1 (true)"), "sum does not fold bool"),
    "folds: floats": (parsed("let a = reduce any [] lanes=1 (x[0])"), "any does not fold float32"),
    "folds: dot": (parsed("let a = reduce dot [] lanes=1 (x[0], 1)"), "not fold float32, int64"),
    "folds: index": (parsed("let a = reduce argmax [] lanes=1 (1, x[0]).0"), "int64, float32"),
    "folds: whole": (parsed("let a = reduce argmax [] lanes=1 (1, 2)"), "take one item"),
    "folds: item": (of(Item(Reduce("sum", (), (ONE,), int64), 1, int64)), "no item 1 of the 1"),
    "folds: item type": (
        of(Item(Reduce("argmax", (), (X0, ONE), float32), 1, float32)), "is int64, not float32"
    ),
    "loops: kind": (built(Loop("often", "i", ONE, ONE, ())), "no kind of loop 'often'"),  # type: ignore[arg-type]  # planted
    "loops: step": (parsed("serial i in 0..4 step 0 { }"), "step 0; expected 1 or more"),
    "access: store": (parsed("store x[0] = f32(1.0)"), "'x' is written, and is declared `in`"),
    "access: inout": (
        parsed("serial i in 0..7 { store u[i] = u[i + 1] }"), "inout buffer 'u' is read at an"
    ),
    "prefetch: register": (
        parsed("local t: register f32[4] prefetch t[n[0]]"), "'t' is in registers"
    ),
    "indices: prefetch": (parsed("prefetch x[0, 0]"), "has 1 dimensions and 2 indices"),
    "contract: formal": (built(Contract("y", "r", "c", X0, X0)), "'y' is not a local of two"),
    "contract: rank": (
        parsed("local t: register f32[4] contract t[r, c] += x[r] * x[c]"), "not a local of two"
    ),
    "contract: type": (
        parsed("local t: register i64[2,2] contract t[r, c] += n[r] * n[c]"), "a float type"
    ),
    "contract: row": (
        parsed("local t: register f32[2,2] contract t[r, c] += x[r + c] * x[c]"), "reads 'c'"
    ),
    "contract: column": (
        parsed("local t: register f32[2,2] contract t[r, c] += x[r] * x[r + c]"), "reads 'r'"
    ),
    "parallel: index": (
        parsed("parallel i in 0..4 { store y[0] = x[i] }"), "every iteration of the loop over 'i'"
    ),
    "parallel: outer": (
        parsed("parallel i in 0..4 { parallel j in 0..4 { store y[j] = x[i] } }"), "over 'i'"
    ),
    "parallel: vector": (parsed("vector i in 0..4 { store y[3] = x[i] }"), "over 'i'"),
    "parallel: block": (parsed("block i in 0..4 { store y[3] = x[i] }"), "over 'i'"),
    "parallel: thread": (parsed("thread i in 0..4 { store y[3] = x[i] }"), "over 'i'"),
    "parallel: local": (
        parsed("local t: register f32[2] parallel i in 0..4 { store t[0] = x[i] }"), "over 'i'"
    ),
    "parallel: tile": (
        parsed("local t: register f32[2,2] vector i in 0..4 { contract t[r, c] += x[r] * x[c] }"),
        "over 'i'",
    ),
    "bounds: load": (parsed("let a = x[8]"), r"index 0 of 'x', 8, is in 8\.\.8 of 0\.\.7"),
    "bounds: store": (parsed("parallel i in 0..4 { store y[i - 4] = x[i] }"), r"-4\.\.-1"),
    "bounds: empty": (built(Let("a", Load("z", (ONE,), float32)),
                            buffers=(Buffer("z", (0,), float32),)), "of 'z'"),
}  # fmt: skip


@pytest.mark.parametrize("case", KERNELS)
def test_a_broken_kernel_is_refused_by_the_name_of_its_invariant(case: str) -> None:
    kernel, message = KERNELS[case]
    with pytest.raises(VerifyError, match=message) as caught:
        verify_kernel(kernel)
    assert str(caught.value).startswith("kernel @k")
    assert str(caught.value).endswith(f"[{case.split(':')[0]}]")


def test_an_error_shows_the_statement() -> None:
    with pytest.raises(VerifyError) as caught:
        verify_kernel(parsed("parallel i in 0..4 { when i < 2 { store y[i] = i } }"))
    assert str(caught.value) == (
        "kernel @k, `store y[i] = i`: what 'y' stores is int64; expected float32 [types]"
    )


VALID = (
    "serial i in 0..2 { } serial i in 0..2 { }",
    "when true { let a = 1 } when true { let a = 2 }",
    "let a = reduce sum [k < 2] lanes=1 (k) + reduce sum [k < 2] lanes=2 (k)",
    "serial i in 0..8 { store u[i] = u[i] + x[i] }",
    "parallel i in 0..1 { store y[0] = x[0] }",
    "parallel i in 0..8 { let j = 7 - i store y[j] = x[i] }",
    "parallel i in 0..2 { serial j in i * 4..i * 4 + 4 { store y[j] = x[j] } }",
    "parallel i in 0..8 { store y[n[i]] = x[i] }",
    "parallel i in 0..8 { when i == 3 { store y[0] = x[i] } }",
    "parallel i in 0..8 { store y[0] = x[i] where i == 3 }",
    "parallel i in 0..8 { local t: scratch i64[1] store t[0] = i store y[t[0]] = x[i] }",
    "parallel i in 0..8 { local t: register f32[2,2] contract t[r, c] += x[r] * x[c] }",
    "let a = max(true, b[0]) let c = b[0] == true",
    "let a = random_bits(u32(1), u32(2), u32(3), u32(4)) let c = exp(x[0])",
)


@pytest.mark.parametrize("body", VALID)
def test_what_only_looks_like_a_violation_is_accepted(body: str) -> None:
    verify_kernel(parsed(body))


STORAGES = """
  input x: f32[4,4]
  constant c: f32[4]
  state w: f32[4,4]
  temporary ok: bool[2]
  temporary n: i64[4]
"""
KERNEL = """define k = kernel @k(in a: f32[4], out y: f32[4]) {
  parallel i in 0..4 { store y[i] = a[i] }
}"""


def scheduled(
    steps: str, storages: str = STORAGES, data: str = 'data c = "12" inputs x'
) -> Schedule:
    return parse_schedule(f"schedule @s {{ {storages} {data} {KERNEL} {steps} }}")


GOOD = scheduled("repeat t in 0..4 { launch l = k(x + t * 4, w + t * 4) } branch ok + 1 { }")
LAUNCH = GOOD.steps[0].steps[0] if isinstance(GOOD.steps[0], Repeat) else None
assert isinstance(LAUNCH, Launch)

SCHEDULES: dict[str, tuple[Schedule, str]] = {
    "storages: names": (scheduled("", STORAGES + "state w: f32[1]"), "several .* named 'w'"),
    "storages: order": (scheduled("", STORAGES + "state v: f32[2] order(1)"), r"order \(1,\)"),
    "storages: extent": (
        replace(GOOD, storages=(*GOOD.storages, Storage("v", (-1,), float32, "state"))), "extent -1"
    ),
    "storages: purpose": (
        replace(GOOD, storages=(*GOOD.storages, Storage("v", (1,), float32, "fun"))), "for 'fun'"  # type: ignore[arg-type]  # planted
    ),
    "constants: none": (scheduled("", data="inputs x"), "constant 'c' has no data"),
    "constants: more": (scheduled("", data='data c = "1" data w = "2"'), "'w', which is no const"),
    "arguments: input": (scheduled("", data='data c = "1" inputs w'), "'w' is not a storage of"),
    "arguments: no input": (scheduled("", data='data c = "1" inputs q'), "'q' is not a storage"),
    "arguments: output": (scheduled("", data='data c = "1" outputs q'), "output 'q' is not"),
    "kernels: broken": (
        replace(GOOD, kernels={"k": parsed("let a = i")}), "kernel 'k': .*'i' is not bound"
    ),
    "launches: kernel": (scheduled("launch l = q(x, w)"), "no kernel 'q'"),
    "launches: count": (scheduled("launch l = k(x)"), "1 arguments for 2 buffers"),
    "launches: storage": (scheduled("launch l = k(q, w)"), "no storage 'q'"),
    "launches: type": (scheduled("launch l = k(n, w)"), "'a' is float32, 'n' holds int64"),
    "offsets: too far": (
        scheduled("repeat t in 0..5 { launch l = k(x + t * 4, w) }"),
        r"x \+ t \* 4 takes 4 elements at 0\.\.16 of 16",
    ),
    "offsets: before": (scheduled("launch l = k(x + -1, w)"), "4 elements at -1..-1 of 16"),
    "offsets: small": (scheduled("launch l = k(c + 1, w)"), "takes 4 elements at 1..1 of 4"),
    "offsets: unknown": (scheduled("launch l = k(x + t, w)"), "'t' is no index of a repeat"),
    "offsets: left": (
        scheduled("repeat t in 0..1 { } launch l = k(x + t, w)"), "'t' is no index"
    ),
    "offsets: flag": (scheduled("branch ok + 2 { }"), "takes 1 elements at 2..2 of 2"),
    "types: offset": (scheduled("launch l = k(x + true, w)"), "offset into 'x' is bool"),
    "writes: input": (scheduled("launch l = k(x, x)"), "input 'x' is written as 'y'"),
    "writes: constant": (scheduled("launch l = k(x, c)"), "constant 'c' is written"),
    "repeats: count": (scheduled("repeat t in 0..-1 { }"), "count -1; expected 0 or more"),
    "repeats: index": (scheduled("repeat t in 0..2 { repeat t in 0..2 { } }"), "index 't'"),
    "branches: type": (scheduled("branch n { }"), "the flag 'n' is int64, not bool"),
    "fields: step": (replace(GOOD, steps=("go",)), "'go' is not a step"),  # type: ignore[arg-type]  # planted
    "offsets: nested": (
        replace(GOOD, steps=(replace(LAUNCH, arguments=(
            Argument("x", Call("mul", (Variable("t"), ONE), int64)), LAUNCH.arguments[1])),)),
        "'t' is no index",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SCHEDULES)
def test_a_broken_schedule_is_refused_by_the_name_of_its_invariant(case: str) -> None:
    schedule, message = SCHEDULES[case]
    with pytest.raises(VerifyError, match=message) as caught:
        verify_schedule(schedule)
    assert str(caught.value).startswith("schedule @s")
    assert str(caught.value).endswith(f"[{case.split(':')[0]}]")


def test_the_schedule_that_the_violations_change_is_valid() -> None:
    verify_schedule(GOOD)


def test_every_invariant_of_the_docstring_has_a_violation() -> None:
    assert verify_module.__doc__ is not None
    kernels, schedules = verify_module.__doc__.split("Of a schedule:")
    for text, cases in ((kernels, KERNELS), (schedules, SCHEDULES)):
        listed = set(re.findall(r"^    (\w+)  ", text, re.MULTILINE))
        assert listed <= {case.split(":")[0] for case in cases}
        assert len(listed) > 8
