"""The types of operations: what each takes and what it gives, one row each.

    number   add sub mul neg abs            of one type, and of that type
             min max                        also bool, where true is the greater
    float    div fma sqrt floor ceil round trunc copysign, and the formulas
    integer  floordiv mod shl shr mulhi
    bits     and or xor not                 integer or bool
    any      lt le gt ge eq ne              two of one type, give bool
             select                         a bool, then two of one type
             cast, bitcast                  one of any type; bitcast to a type of the same width

>>> from graphc.dtypes import int64
>>> from graphc.loops.expressions import Literal
>>> result_type("lt", (Literal(1, int64), Literal(2, int64)))
bool
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphc.dtypes import DType, bool_
from graphc.loops.build import COMPARISONS
from graphc.loops.expressions import Expr

CONVERSIONS = frozenset({"cast", "bitcast"})


def _any(dtype: DType) -> bool:
    return True


def _number(dtype: DType) -> bool:
    return dtype.kind != "bool"


def _float(dtype: DType) -> bool:
    return dtype.is_float


def _integer(dtype: DType) -> bool:
    return dtype.is_integer


def _bits(dtype: DType) -> bool:
    return not dtype.is_float


@dataclass(frozen=True)
class Signature:
    """How many operands, of what types; all of one type but the first of `select`."""

    operands: int
    takes: Callable[[DType], bool]
    kind: str


def _rows(names: str, operands: int, takes: Callable[[DType], bool], kind: str) -> _Table:
    return {name: Signature(operands, takes, kind) for name in names.split()}


_Table = dict[str, Signature]

TABLE: _Table = {
    **_rows("neg abs", 1, _number, "numbers"),
    **_rows("add sub mul", 2, _number, "numbers"),
    **_rows("min max lt le gt ge eq ne", 2, _any, "values"),
    **_rows("sqrt floor ceil round trunc", 1, _float, "floats"),
    **_rows("div copysign", 2, _float, "floats"),
    **_rows("fma", 3, _float, "floats"),
    **_rows("floordiv mod shl shr mulhi", 2, _integer, "integers"),
    **_rows("and or xor", 2, _bits, "integers or bools"),
    **_rows("not", 1, _bits, "integers or bools"),
    **_rows("select", 3, _any, "values"),
    **_rows("cast bitcast", 1, _any, "values"),
}


def result_type(op: str, args: Sequence[Expr]) -> DType | None:
    """The type an operation gives, where its operands decide it."""
    if op in COMPARISONS:
        return bool_
    return None if op in CONVERSIONS or not args else args[-1].dtype
