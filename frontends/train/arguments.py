"""What goes into a step, arrays of a batch, and what comes out, its loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.frontends.tracing.spec import Spec

Array = np.ndarray[Any, Any]


class Loss:
    """A step's loss; reading its number waits for the step, keeping it does not.

    >>> loss = Loss(np.float32(0.5))
    >>> float(loss), loss < 1, f"{loss:.3f}", np.asarray(loss).dtype
    (0.5, True, '0.500', dtype('float32'))
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # equality with numbers, without their hash

    def __init__(self, value: Any) -> None:
        self._value = value

    def __float__(self) -> float:
        return float(np.asarray(self._value))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self._value, dtype)

    def __format__(self, specification: str) -> str:
        return format(float(self), specification)

    def __repr__(self) -> str:
        return f"Loss({float(self)!r})"

    def __bool__(self) -> bool:
        return bool(float(self))

    def __eq__(self, other: object) -> bool:
        return bool(float(self) == _number(other))

    def __lt__(self, other: Any) -> bool:
        return bool(float(self) < _number(other))

    def __le__(self, other: Any) -> bool:
        return bool(float(self) <= _number(other))

    def __gt__(self, other: Any) -> bool:
        return bool(float(self) > _number(other))

    def __ge__(self, other: Any) -> bool:
        return bool(float(self) >= _number(other))


def _number(other: Any) -> Any:
    return float(other) if isinstance(other, Loss) else other


def fit_array(array: Any, spec: Spec, what: str) -> Array:
    """The array in the type of `spec`; `what` names it in errors.

    Types of one kind (bool, whole, floating) convert where every element fits.
    Raises ShapeError or DTypeError.

    >>> fit_array([1, 2], Spec((2,), "int32"), "step: batch 0").dtype
    dtype('int32')
    """
    given = np.asarray(array)
    _check_shape(given, spec, what)
    wanted = spec.dtype.numpy
    if given.dtype == wanted:
        return given
    if _kind(given.dtype) != _kind(wanted):
        raise DTypeError(f"{what} is {given.dtype}, expected {spec.type}")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = given.astype(wanted)
    if not _holds(given, converted):
        raise DTypeError(f"{what}: an element of the {given.dtype} array is beyond {spec.type}")
    return converted


def _check_shape(given: Array, spec: Spec, what: str) -> None:
    if given.ndim != len(spec.shape):
        raise ShapeError(f"{what} has {given.ndim} dimensions {given.shape}, expected {spec.type}")
    for axis, (extent, expected) in enumerate(zip(given.shape, spec.shape, strict=True)):
        if extent != expected:
            raise ShapeError(f"{what}: dimension {axis} is {extent}, expected {expected}")


def _kind(dtype: Any) -> str:
    kinds = {"b": "bool", "i": "whole", "u": "whole"}
    return kinds.get(np.dtype(dtype).kind, "floating")


def _holds(given: Array, converted: Array) -> bool:
    """Whole numbers stay the same; floating ones stay finite where they were."""
    if _kind(given.dtype) == "whole":
        signs = bool(np.array_equal(given < 0, converted < 0))
        return signs and bool(np.array_equal(converted, given))
    if converted.dtype.itemsize >= given.dtype.itemsize:
        return True
    finite = np.isfinite(converted.astype(np.float64))
    return bool(np.array_equal(np.isfinite(given.astype(np.float64)), finite))
