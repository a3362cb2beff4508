"""The shape and element type of an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc import dtypes
from graphc.dtypes import DType
from graphc.errors import ArgumentError
from graphc.ir import TensorType


@dataclass(frozen=True, init=False)
class Spec:
    """What a program takes: a shape and an element type.

    >>> Spec((64, 3, 32, 32)), Spec((64,), "int32")
    (Spec(f32[64,3,32,32]), Spec(i32[64]))
    """

    shape: tuple[int, ...]
    dtype: DType

    def __init__(self, shape: Any, dtype: Any = "float32") -> None:
        extents = shape if isinstance(shape, tuple | list) else (shape,)
        object.__setattr__(self, "shape", tuple(_extent(extent, shape) for extent in extents))
        object.__setattr__(self, "dtype", dtypes.get(dtype))

    @property
    def type(self) -> TensorType:
        return TensorType(self.shape, self.dtype)

    def __repr__(self) -> str:
        return f"Spec({self.type})"


def _extent(extent: Any, shape: Any) -> int:
    if isinstance(extent, bool) or not hasattr(extent, "__index__") or extent.__index__() < 0:
        raise ArgumentError(f"Spec: shape is {shape!r}; expected whole numbers, 0 or more")
    return int(extent.__index__())


def spec_of(x: Any) -> Spec:
    """The Spec itself, or that of an array given as an example."""
    if isinstance(x, Spec):
        return x
    if isinstance(x, np.ndarray | np.generic):
        return Spec(x.shape, x.dtype)
    if hasattr(x, "__array__"):
        return spec_of(np.asarray(x))
    raise ArgumentError(
        f"trace: an argument is {type(x).__name__}; expected graphc.Spec(shape, dtype)"
    )
