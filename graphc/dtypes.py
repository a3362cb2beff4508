"""Element types: one row each.

A row holds how an element is stored and the type its arithmetic is done in, so that a storage
format such as bfloat16 is a row here and nothing elsewhere.

>>> get("float32").short, get("f32").itemsize
('f32', 4)
>>> promote(float32, int64).name
'float32'
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from graphc.errors import DTypeError

Kind = Literal["float", "int", "uint", "bool"]


@dataclass(frozen=True)
class DType:
    """An element type: its names, its storage and the type it is computed in."""

    name: str  # no other row has it
    short: str = field(compare=False)
    kind: Kind = field(compare=False)
    storage: str = field(compare=False)  # the NumPy type of a stored element
    arithmetic: str = field(compare=False)  # the name of the type its arithmetic is done in

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.storage)

    @cached_property
    def itemsize(self) -> int:
        return self.numpy.itemsize

    @property
    def bits(self) -> int:
        return 8 * self.itemsize

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def is_signed(self) -> bool:
        return self.kind in ("float", "int")

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.short


def _row(name: str, short: str, kind: Kind) -> DType:
    return DType(name, short, kind, storage=name, arithmetic=name)


float32 = _row("float32", "f32", "float")
float64 = _row("float64", "f64", "float")
int32 = _row("int32", "i32", "int")
int64 = _row("int64", "i64", "int")
uint8 = _row("uint8", "u8", "uint")
uint32 = _row("uint32", "u32", "uint")
uint64 = _row("uint64", "u64", "uint")
bool_ = _row("bool", "bool", "bool")

ALL = (float32, float64, int32, int64, uint8, uint32, uint64, bool_)
_BY_NAME = {name: row for row in ALL for name in (row.name, row.short)}


def get(name: Any) -> DType:
    """The row of a name ("float32", "f32"), a NumPy dtype or scalar type, or a row.

    Raises DTypeError for a type that graphc has no row for.
    """
    if isinstance(name, DType):
        return name
    if isinstance(name, str) and name in _BY_NAME:
        return _BY_NAME[name]
    try:
        return _BY_NAME[np.dtype(name).name]
    except (TypeError, KeyError):
        known = ", ".join(row.name for row in ALL)
        raise DTypeError(f"no element type {name!r}; graphc has {known}") from None


_INTEGER_RANK = {"bool": 0, "uint8": 1, "int32": 2, "uint32": 2, "int64": 3, "uint64": 3}


def promote(a: DType, b: DType) -> DType:
    """The type of an arithmetic result, by torch's rules.

    A float wins over any integer and keeps its width; of two integers the wider wins.
    Raises DTypeError for uint32 or uint64 with a signed integer.
    """
    if a == b:
        return a
    if a.is_float and b.is_float:
        return a if a.itemsize >= b.itemsize else b
    if a.is_float or b.is_float:
        return a if a.is_float else b
    names = {a.name, b.name}
    if names & {"uint32", "uint64"} and names & {"int32", "int64"}:
        raise DTypeError(f"{a} and {b} have no common type; cast one of them")
    return a if _INTEGER_RANK[a.name] >= _INTEGER_RANK[b.name] else b
