"""Scalar operations as CUDA C: one row per operation and kind of number.

Text compiles under NVRTC with no header: no <cmath>, no INFINITY. Compiled with -fmad=false,
every row has the bits of `graphc.loops.arithmetic`. Signed integers wrap by way of unsigned ones.
"""

from __future__ import annotations

import math
import re

import numpy as np

from graphc.dtypes import DType
from graphc.errors import CompileError

TYPE = {
    "float32": "float",
    "float64": "double",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
    "bool": "bool",
}
# What an integer type's arithmetic wraps in.
WRAPPING = {
    "int32": "unsigned int",
    "int64": "unsigned long long",
    "uint8": "unsigned int",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
}
_SUFFIX = {"int32": "", "int64": "ll", "uint8": "", "uint32": "u", "uint64": "ull"}

RELATIONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*"}
_BITWISE = {"and": "&", "or": "|", "xor": "^"}
_LOGICAL = {"and": "&&", "or": "||", "xor": "!="}
# float32 forms; float64's lack the final f.
_FLOAT_FUNCTION = {
    "fma": "fmaf",
    "abs": "fabsf",
    "sqrt": "sqrtf",
    "floor": "floorf",
    "ceil": "ceilf",
    "round": "rintf",
    "trunc": "truncf",
    "copysign": "copysignf",
}
_CHOICE = {"max": "larger", "min": "smaller"}
_BITCAST = {
    ("float32", "int32"): "__float_as_int({})",
    ("float32", "uint32"): "__float_as_uint({})",
    ("int32", "float32"): "__int_as_float({})",
    ("uint32", "float32"): "__uint_as_float({})",
    ("float64", "int64"): "__double_as_longlong({})",
    ("float64", "uint64"): "(unsigned long long)__double_as_longlong({})",
    ("int64", "float64"): "__longlong_as_double({})",
    ("uint64", "float64"): "__longlong_as_double((long long){})",
}

# Functions that the rows call, in an order in which each comes before its users.
HELPERS = {
    "larger": """\
template <class T> static __device__ T larger(T a, T b) {
    return a > b || a != a ? a : b;
}""",
    "smaller": """\
template <class T> static __device__ T smaller(T a, T b) {
    return a < b || a != a ? a : b;
}""",
    "floor_divide": """\
template <class T, class U> static __device__ T floor_divide(T a, T b) {
    if (b == 0) return 0;
    if (T(-1) < 0 && b == T(-1)) return T(U(0) - U(a));
    T q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}""",
    "floor_modulo": """\
template <class T> static __device__ T floor_modulo(T a, T b) {
    if (b == 0 || (T(-1) < 0 && b == T(-1))) return 0;
    T r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}""",
    "saturate": """\
template <class T, class F> static __device__ T saturate(F x, F low, F high, T least, T greatest) {
    return x != x ? T(0) : x >= high ? greatest : x <= low ? least : T(x);
}""",
}


def literal(value: int | float | bool, dtype: DType) -> str:
    """A constant; what has no digits is spelled by its bits."""
    if dtype.is_float:
        return _float_literal(float(value), dtype)
    if dtype.kind == "bool":
        return "true" if value else "false"
    number = int(value) & (1 << dtype.bits) - 1
    if dtype.kind == "int" and number >> dtype.bits - 1:
        number -= 1 << dtype.bits
    if number == -(1 << dtype.bits - 1):  # C has no negative literals
        return f"({number + 1}{_SUFFIX[dtype.name]} - 1)"
    text = f"{number}{_SUFFIX[dtype.name]}"
    if dtype.name == "uint8":
        return f"(unsigned char){text}"
    return f"({text})" if number < 0 else text


def _float_literal(value: float, dtype: DType) -> str:
    number = dtype.numpy.type(value)
    if not math.isfinite(number):
        if dtype.name == "float32":
            return f"__uint_as_float(0x{number.view(np.uint32):08x}u)"
        return f"__longlong_as_double(0x{number.view(np.uint64):016x}ll)"
    whole = number == np.trunc(number) and abs(number) < 2**53
    digits = f"{int(number)}.0" if whole and number else str(number)
    text = digits if dtype.name == "float64" else f"{digits}f"
    return f"({text})" if text.startswith("-") else text


def operation(op: str, args: list[str], given: DType, dtype: DType) -> str:
    """An operation on texts of type `given` (of the last one), its result of type `dtype`.

    Raises CompileError for an operation with no row.
    """
    if op == "select":
        return "({} ? {} : {})".format(*args)
    if op in RELATIONS:
        return f"({args[0]} {RELATIONS[op]} {args[1]})"
    if op in ("cast", "bitcast"):
        return (cast if op == "cast" else bitcast)(args[0], given, dtype)
    if op in _CHOICE:
        return f"{_CHOICE[op]}<{TYPE[given.name]}>({args[0]}, {args[1]})"
    kind = {"float": _float, "bool": _logical}.get(given.kind, _integer)
    text = kind(op, args, given)
    if text is None:
        raise CompileError(f"no CUDA form of operation {op!r} on {given}")
    return text


def _float(op: str, args: list[str], given: DType) -> str | None:
    if op in _ARITHMETIC or op == "div":
        return f"({args[0]} {_ARITHMETIC.get(op, '/')} {args[1]})"
    if op == "neg":
        return f"(-{args[0]})"
    if op not in _FLOAT_FUNCTION:
        return None
    name = _FLOAT_FUNCTION[op]
    return f"{name if given.bits == 32 else name[:-1]}({', '.join(args)})"


def _logical(op: str, args: list[str], given: DType) -> str | None:
    if op == "not":
        return f"(!{args[0]})"
    return f"({args[0]} {_LOGICAL[op]} {args[1]})" if op in _LOGICAL else None


def _integer(op: str, args: list[str], given: DType) -> str | None:
    type, wrapping = TYPE[given.name], WRAPPING[given.name]
    if op in _ARITHMETIC:
        return _wrap(f"({wrapping}){args[0]} {_ARITHMETIC[op]} ({wrapping}){args[1]}", type)
    if op in _BITWISE:
        return _narrow(f"({args[0]} {_BITWISE[op]} {args[1]})", given)
    if op in ("shl", "shr"):
        return _shift(op, args, given)
    match op:
        case "neg":
            return _wrap(f"({wrapping})0 - ({wrapping}){args[0]}", type)
        case "abs" if given.is_signed:
            return f"({args[0]} < 0 ? {_integer('neg', args, given)} : {args[0]})"
        case "abs":
            return args[0]
        case "not":
            return _narrow(f"(~{args[0]})", given)
        case "floordiv":
            return f"floor_divide<{type}, {wrapping}>({args[0]}, {args[1]})"
        case "mod":
            return f"floor_modulo<{type}>({args[0]}, {args[1]})"
        case "mulhi" if given.bits < 32:
            return _wrap(f"({wrapping}){args[0]} * {args[1]} >> {given.bits}", type)
        case "mulhi":
            name = "__umulhi" if given.bits == 32 else "__umul64hi"
            return f"({type}){name}({args[0]}, {args[1]})"
        case _:
            return None


def _wrap(text: str, type: str) -> str:
    return f"({type})({text})"


def _narrow(text: str, given: DType) -> str:
    """C computes with unsigned char as int."""
    return f"(unsigned char){text}" if given.name == "uint8" else text


def _shift(op: str, args: list[str], given: DType) -> str:
    type, (value, count) = TYPE[given.name], args
    plain = re.fullmatch(r"(\d+)(u|l|ll|ull)?", count)
    mask = given.bits - 1
    count = str(int(plain[1]) & mask) if plain else f"({count} & {mask})"
    if op == "shr":
        return _narrow(f"({value} >> {count})", given)
    return _wrap(f"({WRAPPING[given.name]}){value} << {count}", type)


def cast(value: str, given: DType, dtype: DType) -> str:
    if dtype.kind == "bool":
        return f"({value} != 0)" if given.kind != "bool" else value
    if given.is_float and dtype.is_integer:
        return _saturate(value, given, dtype)
    return f"({TYPE[dtype.name]}){value}"


def _saturate(value: str, given: DType, dtype: DType) -> str:
    """Ends of the range as floats: those at which truncation leaves it."""
    limits = np.iinfo(dtype.numpy)
    low = float(limits.min) if dtype.is_signed else -1.0
    ends = [literal(low, given), literal(float(int(limits.max) + 1), given)]
    values = [literal(int(limits.min), dtype), literal(int(limits.max), dtype)]
    types = f"{TYPE[dtype.name]}, {TYPE[given.name]}"
    return f"saturate<{types}>({', '.join([value, *ends, *values])})"


def bitcast(value: str, given: DType, dtype: DType) -> str:
    row = _BITCAST.get((given.name, dtype.name))
    return row.format(value) if row else f"({TYPE[dtype.name]}){value}"


def helpers_of(text: str) -> list[str]:
    """The definitions of the helpers that a text calls."""
    called = set(re.findall(r"\b(\w+)(?:<[\w ,]+>)?\(", text))
    return [definition for name, definition in HELPERS.items() if name in called]


def unparenthesised(text: str) -> str:
    """The text without a pair of parentheses around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and position < len(text) - 1:
            return text
    return text[1:-1]
