"""What the recurrent cells' operators share: gates side by side in one matrix, and their loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.dtypes import DType
from graphc.errors import ShapeError
from graphc.ir import TensorType, Value
from graphc.loops import Expr, Let, Loop, Statement, Store, Variable, add, call, const, index
from graphc.loops import variable as loop_variable
from graphc.ops.define import NestContext, Sample, Types
from graphc.ops.rules import expect_dtype
from graphc.ops.samples import FLOATS, real


def expect_cell(op: str, types: Types, widths: Sequence[int]) -> TensorType:
    """The type of the state [N, H], the last operand's.

    Raises ShapeError unless operand k is [N, widths[k] H], and DTypeError unless all are of one
    float type.
    """
    state = types[-1]
    expect_dtype(op, state.dtype, FLOATS)
    wanted = [
        TensorType((state.shape[0], width * state.shape[1]), state.dtype)
        if state.rank == 2
        else None
        for width in widths
    ]
    if list(types) != wanted:
        given = ", ".join(map(str, types))
        sizes = ", ".join(f"[N,{width if width > 1 else ''}H]" for width in widths)
        raise ShapeError(f"{op}: operands are {given}; expected {sizes} of one type")
    return state


def wide(state: TensorType, gates: int) -> TensorType:
    """The type of so many gates side by side."""
    rows, hidden = state.shape
    return TensorType((rows, gates * hidden), state.dtype)


def gate(b: Any, x: Value, number: int, count: int) -> Value:
    """The number-th of `count` gates of x[N, count H]."""
    rows, hidden = x.shape[0], x.shape[1] // count
    start, stop = (0, number * hidden), (rows, (number + 1) * hidden)
    found: Value = b.op("slice", x, start=start, stop=stop, step=(1, 1))
    return found


def beside(b: Any, parts: Sequence[Value]) -> Value:
    """Gates side by side."""
    found: Value = b.op("concat", *parts, axis=1)
    return found


def slope_of_sigmoid(b: Any, y: Value) -> Value:
    """y (1 - y)."""
    found: Value = b.mul(y, b.sub(b.like(1, y), y))
    return found


def slope_of_tanh(b: Any, y: Value) -> Value:
    """1 - y y."""
    found: Value = b.sub(b.like(1, y), b.mul(y, y))
    return found


class Cell:
    """The nest over [N, H] of a cell: values named as they are computed, and stores."""

    def __init__(self, ctx: NestContext, state: TensorType) -> None:
        self.ctx = ctx
        self.rows, self.hidden = state.shape
        self.dtype: DType = state.dtype
        self.at = (loop_variable(ctx.fresh("i")), loop_variable(ctx.fresh("j")))
        self.statements: list[Statement] = []

    def read(self, operand: int, gate: int = 0) -> Expr:
        """An operand's element, of one of its gates; loaded now, before what is stored later."""
        return self._named(self.ctx.operand(operand, self._place(gate)))

    def let(self, op: str, *operands: Expr) -> Expr:
        return self._named(call(op, *operands))

    def _named(self, value: Expr) -> Expr:
        name = self.ctx.fresh("v")
        self.statements.append(Let(name, value))
        return Variable(name, self.dtype)

    def store(self, result: int, value: Expr, gate: int = 0) -> None:
        buffer = self.ctx.results[result]
        self.statements.append(Store(buffer.name, self._place(gate), value))

    def _place(self, gate: int) -> tuple[Expr, Expr]:
        row, column = self.at
        return row, add(column, gate * self.hidden)

    def slope_of_sigmoid(self, y: Expr) -> Expr:
        return self.let("mul", y, self.let("sub", self.one, y))

    def slope_of_tanh(self, y: Expr) -> Expr:
        return self.let("sub", self.one, self.let("mul", y, y))

    @property
    def one(self) -> Expr:
        return const(1, self.dtype)

    def nest(self) -> Sequence[Statement]:
        row, column = (variable.name for variable in self.at)
        inner = Loop("parallel", column, index(0), index(self.hidden), tuple(self.statements))
        return (Loop("parallel", row, index(0), index(self.rows), (inner,)),)


def nest_of(write: Callable[[Cell], None]) -> Callable[[NestContext], Sequence[Statement]]:
    """The nest whose element `write` computes; the state is the first result of one gate."""

    def nest(ctx: NestContext) -> Sequence[Statement]:
        cell = Cell(ctx, ctx.node.operands[-1].type)
        write(cell)
        return cell.nest()

    return nest


def gradient_samples(operands: int) -> list[Sample]:
    """Samples of a cell's gradient: gates [N, 4H], then so many operands [N, H].

    One more of these is there where dh comes in two parts.
    """
    found = []
    for n, h in [(2, 3), (1, 1), (3, 17), (0, 2)]:
        after = real((n, 4 * h), seed=1)
        states = [real((n, h), seed=seed) for seed in range(2, 3 + operands)]
        found.append(Sample((after, *states[:operands]), {"further": False}))
        found.append(Sample((after, *states), {"further": True}))
    return found
