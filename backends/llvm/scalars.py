"""Scalar and vector operations as LLVM text: one row per operation and kind of number.

No fast-math flag is ever set, so a vector lane and a scalar compute the same bits. What the
target lacks is spelled out here: without fma a product and a sum round twice.
"""

from __future__ import annotations

import struct
from functools import cache

from graphc.dtypes import DType
from graphc.errors import CompileError
from graphc.target import Target

from .function import SCALAR, Function, Val, overload, vector

_FLOAT_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INTEGER_BINARY = {"add": "add", "sub": "sub", "mul": "mul"}
_BITS = {"and": "and", "or": "or", "xor": "xor"}
_FLOAT_RELATION = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
_RELATION = {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "eq": "eq", "ne": "ne"}
_FLOAT_UNARY = {
    "abs": "fabs",
    "sqrt": "sqrt",
    "floor": "floor",
    "ceil": "ceil",
    "round": "roundeven",
    "trunc": "trunc",
}


def literal(value: int | float | bool, dtype: DType, width: int = 1) -> Val:
    """A constant, the same in every lane."""
    if dtype.is_float:
        text = _float_text(float(value), dtype)
    elif dtype.kind == "bool":
        text = "true" if value else "false"
    else:
        text = str(_signed(int(value), dtype.bits))
    scalar = SCALAR[dtype.name]
    if width == 1:
        return Val(text, scalar)
    return Val(f"splat ({scalar} {text})", vector(scalar, width), width)


def _float_text(value: float, dtype: DType) -> str:
    """LLVM writes a float as the bits of the double of equal value."""
    if dtype.bits == 32:
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if bits > 8 and value >> (bits - 1) else value


@cache
def _tables(given: DType) -> list[tuple[dict[str, str], str]]:
    """What has a word of its own in LLVM, and what stands before that word."""
    if given.is_float:
        return [(_FLOAT_BINARY, ""), (_FLOAT_RELATION, "fcmp "), (_FLOAT_UNARY, "call")]
    signed = "s" if given.is_signed else "u"
    relations = {
        op: word if op in ("eq", "ne") else signed + word for op, word in _RELATION.items()
    }
    return [(_INTEGER_BINARY, ""), (_BITS, ""), (relations, "icmp ")]


class Scalars:
    """The operations of the loop language, written into a function for a target."""

    def __init__(self, function: Function, target: Target) -> None:
        self.function = function
        self.target = target

    def call(self, op: str, args: list[Val], given: DType, dtype: DType) -> Val:
        """`op` on operands of equal width; `given` is the type of the (last) operand."""
        rule = getattr(self, f"_{op}", None)
        if rule is not None:
            result: Val = rule(args, given, dtype)
            return result
        for table, prefix in _tables(given):
            if op in table:
                return self._write(table[op], prefix, args)
        raise CompileError(f"no LLVM form of operation {op!r} on {given}")

    def _write(self, word: str, prefix: str, args: list[Val]) -> Val:
        first = args[0]
        if prefix == "call":
            return self.function.intrinsic(word, first.type, first.width, args)
        result = vector("i1", first.width) if prefix else first.type
        text = f"{prefix}{word} {first.type} " + ", ".join(arg.name for arg in args)
        return self.function.pure(text, result, first.width, *args)

    # Arithmetic that is more than one word

    def _fma(self, args: list[Val], given: DType, dtype: DType) -> Val:
        a, b, c = args
        if self.target.fma:
            return self.function.intrinsic("fma", a.type, a.width, args)
        return self.call("add", [self.call("mul", [a, b], given, given), c], given, given)

    def _neg(self, args: list[Val], given: DType, dtype: DType) -> Val:
        (x,) = args
        if given.is_float:
            return self.function.pure(f"fneg {x}", x.type, x.width, x)
        return self.call("sub", [literal(0, given, x.width), x], given, given)

    def _abs(self, args: list[Val], given: DType, dtype: DType) -> Val:
        (x,) = args
        if given.is_float:
            return self.function.intrinsic("fabs", x.type, x.width, args)
        if not given.is_signed:
            return x
        negative = self.call("lt", [x, literal(0, given, x.width)], given, given)
        return self.select(negative, self._neg(args, given, dtype), x)

    def _max(self, args: list[Val], given: DType, dtype: DType) -> Val:
        return self._pick("gt", args, given)

    def _min(self, args: list[Val], given: DType, dtype: DType) -> Val:
        return self._pick("lt", args, given)

    def _pick(self, relation: str, args: list[Val], given: DType) -> Val:
        """a where it is beyond b or NaN, else b: a NaN on either side wins."""
        a, b = args
        beyond = self.select(self.call(relation, [a, b], given, given), a, b)
        if not given.is_float:
            return beyond
        nan = self.function.pure(  # apart, since a comparison and its choice are one instruction
            f"fcmp uno {a.type} {a.name}, {a.name}", vector("i1", a.width), a.width, a
        )
        return self.select(nan, a, beyond)

    def _copysign(self, args: list[Val], given: DType, dtype: DType) -> Val:
        return self.function.intrinsic("copysign", args[0].type, args[0].width, args)

    def _not(self, args: list[Val], given: DType, dtype: DType) -> Val:
        (x,) = args
        ones = literal(True, given, x.width) if given.kind == "bool" else None
        return self.function.binary("xor", x, ones or literal(-1, given, x.width))

    def _shl(self, args: list[Val], given: DType, dtype: DType) -> Val:
        return self._shift("shl", args, given)

    def _shr(self, args: list[Val], given: DType, dtype: DType) -> Val:
        return self._shift("ashr" if given.is_signed else "lshr", args, given)

    def _shift(self, word: str, args: list[Val], given: DType) -> Val:
        """Counts are taken modulo the width; LLVM leaves larger ones undefined."""
        x, count = args
        if not (_is_constant(count) and 0 <= _constant_value(count) < given.bits):
            mask = literal(given.bits - 1, given, count.width)
            count = self.function.binary("and", count, mask)
        return self.function.binary(word, x, count)

    def _floordiv(self, args: list[Val], given: DType, dtype: DType) -> Val:
        return self._divide(args, given)[0]

    def _mod(self, args: list[Val], given: DType, dtype: DType) -> Val:
        return self._divide(args, given)[1]

    def _divide(self, args: list[Val], given: DType) -> tuple[Val, Val]:
        """Quotient toward minus infinity and remainder, total: a division by zero would trap."""
        a, b = args
        if _is_constant(b) and _constant_value(b) == 0:
            zero = literal(0, given, a.width)
            return zero, zero
        if given.kind == "int" and _is_power_of_two(b):
            return self._shift_divide(a, b, given)
        zero, one = literal(0, given, a.width), literal(1, given, a.width)
        unsafe = self.call("eq", [b, zero], given, given)
        if given.is_signed:  # the least integer over -1 overflows, and traps too
            unsafe = self.function.binary("or", unsafe, self._is(b, -1, given))
        safe = b if _is_harmless(b) else self.select(unsafe, one, b)
        sign = "s" if given.is_signed else "u"
        quotient = self.function.binary(f"{sign}div", a, safe)
        remainder = self.function.binary(f"{sign}rem", a, safe)
        if given.is_signed:
            quotient, remainder = self._toward_minus_infinity(quotient, remainder, safe, given)
        if _is_harmless(b):
            return quotient, remainder
        if given.is_signed:
            minus = self._is(b, -1, given)
            quotient = self.select(minus, self._neg([a], given, given), quotient)
            remainder = self.select(minus, zero, remainder)
        none = self._is(b, 0, given)
        return self.select(none, zero, quotient), self.select(none, zero, remainder)

    def _shift_divide(self, a: Val, b: Val, given: DType) -> tuple[Val, Val]:
        value = _constant_value(b)
        shift = literal(value.bit_length() - 1, given, a.width)
        mask = literal(value - 1, given, a.width)
        return self.function.binary("ashr", a, shift), self.function.binary("and", a, mask)

    def _toward_minus_infinity(
        self, quotient: Val, remainder: Val, divisor: Val, given: DType
    ) -> tuple[Val, Val]:
        zero = literal(0, given, quotient.width)
        off = self.call("ne", [remainder, zero], given, given)
        differs = self.function.binary("xor", remainder, divisor)
        off = self.function.binary("and", off, self.call("lt", [differs, zero], given, given))
        lower = self.call("sub", [quotient, literal(1, given, quotient.width)], given, given)
        raised = self.call("add", [remainder, divisor], given, given)
        return self.select(off, lower, quotient), self.select(off, raised, remainder)

    def _is(self, x: Val, value: int, given: DType) -> Val:
        return self.call("eq", [x, literal(value, given, x.width)], given, given)

    def _mulhi(self, args: list[Val], given: DType, dtype: DType) -> Val:
        a, b = args
        wide = vector(f"i{2 * given.bits}", a.width)
        long = [self.function.pure(f"zext {x} to {wide}", wide, x.width, x) for x in (a, b)]
        product = self.function.binary("mul", *long)
        amount = str(given.bits) if a.width == 1 else f"splat (i{2 * given.bits} {given.bits})"
        high = self.function.binary("lshr", product, Val(amount, wide, a.width))
        return self.function.pure(f"trunc {high} to {a.type}", a.type, a.width, high)

    # Conversions

    def select(self, condition: Val, yes: Val, no: Val) -> Val:
        return self.function.pure(
            f"select {condition}, {yes}, {no}", yes.type, yes.width, condition, yes, no
        )

    def _bitcast(self, args: list[Val], given: DType, dtype: DType) -> Val:
        (x,) = args
        type = vector(SCALAR[dtype.name], x.width)
        return x if type == x.type else self._convert("bitcast", x, type)

    def _cast(self, args: list[Val], given: DType, dtype: DType) -> Val:
        (x,) = args
        type = vector(SCALAR[dtype.name], x.width)
        if dtype.kind == "bool":
            return self.call("ne", [x, literal(0, given, x.width)], given, dtype)
        if given.is_float and dtype.is_float:
            word = "fpext" if dtype.bits > given.bits else "fptrunc"
            return x if dtype == given else self._convert(word, x, type)
        if given.is_float:
            return self._saturate(x, dtype, type)
        if dtype.is_float:
            return self._convert("sitofp" if given.is_signed else "uitofp", x, type)
        return self._resize(x, given, dtype, type)

    def _resize(self, x: Val, given: DType, dtype: DType, type: str) -> Val:
        bits = 1 if given.kind == "bool" else given.bits
        if bits == dtype.bits:
            return x
        if bits > dtype.bits:
            return self._convert("trunc", x, type)
        return self._convert("sext" if given.is_signed else "zext", x, type)

    def _convert(self, word: str, x: Val, type: str) -> Val:
        return self.function.pure(f"{word} {x} to {type}", type, x.width, x)

    def _saturate(self, x: Val, dtype: DType, type: str) -> Val:
        """Float to integer: NaN gives 0, what is too large the nearest end of the range."""
        word = "fptosi" if dtype.is_signed else "fptoui"
        suffix = f"{overload(type)}.{overload(x.type)}"
        self.function.declare(f"{type} @llvm.{word}.sat.{suffix}({x.type})")
        return self.function.pure(f"call {type} @llvm.{word}.sat.{suffix}({x})", type, x.width, x)


def _is_constant(value: Val) -> bool:
    return not value.name.startswith("%")


def _constant_value(value: Val) -> int:
    digits = value.name.removeprefix("splat (").removesuffix(")").split()[-1]
    return int(digits)


def _is_harmless(divisor: Val) -> bool:
    """A number by which no division traps."""
    return _is_constant(divisor) and _constant_value(divisor) not in (0, -1)


def _is_power_of_two(value: Val) -> bool:
    if not _is_constant(value):
        return False
    number = _constant_value(value)
    return number > 0 and number & (number - 1) == 0
