"""Writing a formula: arithmetic on `Value`s appends lets, and equal expressions become one let.

A formula is a list of lets in which every argument is a name or a literal, so that its size is
the number of its operations however often a value is used.

>>> from graphc.dtypes import float32
>>> from graphc.loops.expressions import Variable
>>> writer = Writer()
>>> x = Value(writer, Variable("x", float32))
>>> y = fma(x, x, 1.0) * fma(x, x, 1.0)
>>> [let.value.op for let in writer.lets], y.atom.name
(['fma', 'mul'], 't1')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, Union

import numpy as np

from graphc import dtypes
from graphc.dtypes import DType
from graphc.loops import build
from graphc.loops.expressions import Expr, Literal, Variable
from graphc.loops.kernel import Let

Atom: TypeAlias = Literal | Variable
Operand: TypeAlias = Union["Value", int, float]


class Writer:
    """The lets written so far."""

    def __init__(self) -> None:
        self.lets: list[Let] = []
        self._names: dict[Expr, Variable] = {}

    def name(self, expr: Expr) -> Variable:
        """The variable that holds an operation on atoms."""
        if expr not in self._names:
            self._names[expr] = Variable(f"t{len(self.lets)}", expr.dtype)
            self.lets.append(Let(self._names[expr].name, expr))
        return self._names[expr]


@dataclass(frozen=True, eq=False)
class Value:
    """A scalar while a formula is written; Python numbers take the type of the other operand."""

    writer: Writer
    atom: Atom

    @property
    def dtype(self) -> DType:
        return self.atom.dtype

    def __add__(self, other: Operand) -> Value:
        return apply("add", self, other)

    def __radd__(self, other: Operand) -> Value:
        return apply("add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return apply("sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return apply("sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return apply("mul", self, other)

    def __rmul__(self, other: Operand) -> Value:
        return apply("mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return apply("div", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return apply("div", other, self)

    def __neg__(self) -> Value:
        return apply("neg", self)

    def __abs__(self) -> Value:
        return apply("abs", self)

    def __lt__(self, other: Operand) -> Value:
        return apply("lt", self, other)

    def __le__(self, other: Operand) -> Value:
        return apply("le", self, other)

    def __gt__(self, other: Operand) -> Value:
        return apply("gt", self, other)

    def __ge__(self, other: Operand) -> Value:
        return apply("ge", self, other)

    def equals(self, other: Operand) -> Value:
        return apply("eq", self, other)

    def differs(self, other: Operand) -> Value:
        return apply("ne", self, other)

    def __and__(self, other: Operand) -> Value:
        return apply("and", self, other)

    def __or__(self, other: Operand) -> Value:
        return apply("or", self, other)

    def __xor__(self, other: Operand) -> Value:
        return apply("xor", self, other)

    def __lshift__(self, other: Operand) -> Value:
        return apply("shl", self, other)

    def __rshift__(self, other: Operand) -> Value:
        return apply("shr", self, other)


def literal(value: int | float, dtype: DType) -> Literal:
    """A literal that the type holds exactly."""
    return build.const(dtype.numpy.type(value).item(), dtype)


def constant(like: Value, value: int | float, dtype: DType | None = None) -> Value:
    """A literal as a Value of the same formula, of `like`'s type unless another is given."""
    return Value(like.writer, literal(value, dtype or like.dtype))


def apply(op: str, *operands: Operand) -> Value:
    """An operation on operands of one type, at least one of them a Value."""
    like = next(operand for operand in operands if isinstance(operand, Value))
    atoms = [
        operand.atom if isinstance(operand, Value) else literal(operand, like.dtype)
        for operand in operands
    ]
    return Value(like.writer, like.writer.name(build.call(op, *atoms)))


def fma(a: Operand, b: Operand, c: Operand) -> Value:
    """a * b + c, rounded once where the target can."""
    return apply("fma", a, b, c)


def select(condition: Value, yes: Operand, no: Operand) -> Value:
    """`yes` where the condition holds, else `no`; at least one is a Value."""
    like = yes if isinstance(yes, Value) else no
    assert isinstance(like, Value), "a branch gives the type"
    a, b = (v.atom if isinstance(v, Value) else literal(v, like.dtype) for v in (yes, no))
    return Value(
        condition.writer, condition.writer.name(build.call("select", condition.atom, a, b))
    )


def cast(value: Value, dtype: DType) -> Value:
    return _convert("cast", value, dtype)


def bitcast(value: Value, dtype: DType) -> Value:
    return _convert("bitcast", value, dtype)


def _convert(op: str, value: Value, dtype: DType) -> Value:
    if value.dtype == dtype:
        return value
    convert = build.cast if op == "cast" else build.bitcast
    return Value(value.writer, value.writer.name(convert(value.atom, dtype)))


def copysign(x: Value, sign: Value) -> Value:
    return apply("copysign", x, sign)


def polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """Horner's rule, one fma a step; coefficients from the lowest degree."""
    *rest, last = coefficients
    result = fma(x, last, rest.pop())
    for coefficient in reversed(rest):
        result = fma(result, x, coefficient)
    return result


def clamp(x: Value, low: float, high: float) -> Value:
    """x within [low, high]; NaN stays NaN."""
    below = select(x > high, high, x)
    return select(below < low, low, below)


@dataclass(frozen=True)
class Format:
    """How a float type is laid out in bits."""

    dtype: DType
    signed: DType  # integers of the same width
    unsigned: DType
    mantissa_bits: int
    bias: int

    @property
    def smallest_normal(self) -> float:
        return float(np.finfo(self.dtype.numpy).smallest_normal)

    @property
    def bits(self) -> int:
        return self.dtype.bits

    @property
    def mantissa_mask(self) -> int:
        return (1 << self.mantissa_bits) - 1

    @property
    def sign_mask(self) -> int:
        return 1 << self.bits - 1

    @property
    def magic(self) -> float:
        """1.5 * 2^mantissa_bits: the sum of it and a small number is rounded to an integer, which
        then stands in the low bits. A sum costs less than rounding and converting, for which
        many vector units lack an instruction or, in 64 bits, both."""
        return 1.5 * 2.0**self.mantissa_bits

    @property
    def magic_bits(self) -> int:
        return (self.bias + self.mantissa_bits << self.mantissa_bits) + (
            self.mantissa_mask + 1
        ) // 2


FORMATS = {
    dtypes.float32: Format(dtypes.float32, dtypes.int32, dtypes.uint32, 23, 127),
    dtypes.float64: Format(dtypes.float64, dtypes.int64, dtypes.uint64, 52, 1023),
}


def round_scaled(x: Value, factor: float) -> tuple[Value, Value]:
    """x * factor rounded to an integer (half to even), as a float and as an integer.

    For |x * factor| < 2^(mantissa_bits - 1); NaN stays NaN in the float.
    """
    layout = FORMATS[x.dtype]
    shifted = x + layout.magic if factor == 1.0 else fma(x, factor, layout.magic)
    return shifted - layout.magic, bitcast(shifted, layout.signed) - layout.magic_bits


def to_float(n: Value, dtype: DType) -> Value:
    """A small integer as a float of the same width."""
    layout = FORMATS[dtype]
    if dtype == dtypes.float32:
        return cast(n, dtype)
    return bitcast(n + layout.magic_bits, dtype) - layout.magic


def power_of_two(n: Value, layout: Format) -> Value:
    """2^n for an integer n whose power is a normal number."""
    return bitcast((n + layout.bias) << layout.mantissa_bits, layout.dtype)


def scale(x: Value, n: Value) -> Value:
    """x * 2^n for an integer n, in two steps, so that a denormal result is rounded once."""
    layout = FORMATS[x.dtype]
    half = n >> 1
    return x * power_of_two(half, layout) * power_of_two(n - half, layout)
