"""What goes into a step, arrays of a batch, and what comes out, its loss."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.frontends.tracing.spec import Spec

Array = np.ndarray[Any, Any]


def _arithmetic(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The method of `operation` with the loss on its left."""
    return lambda loss, other: operation(float(loss), _number(other))


def _reflected(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The method of `operation` with the loss on its right."""
    return lambda loss, other: operation(_number(other), float(loss))


class Loss:
    """A step's loss; reading its number waits for the step, keeping it does not.

    Arithmetic gives plain numbers.

    >>> loss = Loss(np.float32(0.5))
    >>> float(loss), loss < 1, f"{loss:.3f}", np.asarray(loss).dtype
    (0.5, True, '0.500', dtype('float32'))
    >>> loss + 1, sum([loss, loss]) / 2, round(loss), float(np.mean([loss, loss]))
    (1.5, 0.5, 0, 0.5)
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # equality with numbers, without their hash

    def __init__(self, value: Any) -> None:
        self._value = value

    def __float__(self) -> float:
        return float(np.asarray(self._value))

    def item(self) -> float:
        return float(self)

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

    __add__, __radd__ = _arithmetic(operator.add), _reflected(operator.add)
    __sub__, __rsub__ = _arithmetic(operator.sub), _reflected(operator.sub)
    __mul__, __rmul__ = _arithmetic(operator.mul), _reflected(operator.mul)
    __truediv__, __rtruediv__ = _arithmetic(operator.truediv), _reflected(operator.truediv)
    __floordiv__, __rfloordiv__ = _arithmetic(operator.floordiv), _reflected(operator.floordiv)
    __mod__, __rmod__ = _arithmetic(operator.mod), _reflected(operator.mod)
    __pow__, __rpow__ = _arithmetic(operator.pow), _reflected(operator.pow)

    def __neg__(self) -> float:
        return -float(self)

    def __pos__(self) -> float:
        return float(self)

    def __abs__(self) -> float:
        return abs(float(self))

    def __int__(self) -> int:
        return int(float(self))

    def __round__(self, digits: int | None = None) -> Any:
        return round(float(self), digits)


def _number(other: Any) -> Any:
    return float(other) if isinstance(other, Loss) else other


def fit_array(array: Any, spec: Spec, what: str) -> Array:
    """The array in the type of `spec`; `what` names it in errors.

    Types of one kind (bool, whole, floating) convert where every element fits.
    Raises ShapeError or DTypeError.

    >>> fit_array([1, 2], Spec((2,), "int32"), "step: batch 0").dtype
    dtype('int32')
    """
    given = as_array(array)
    _check_shape(given, spec, what)
    wanted = spec.dtype.numpy
    if given.dtype == wanted:
        return given
    if _kind(given.dtype) != _kind(wanted):
        raise DTypeError(
            f"{what} is {given.dtype}, expected {spec.type}; "
            f"convert it with .astype({wanted.name!r})"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        converted = given.astype(wanted)
    if not _holds(given, converted):
        raise DTypeError(f"{what}: an element of the {given.dtype} array is beyond {spec.type}")
    return converted


def as_array(value: Any) -> Array:
    """An array from what NumPy takes, or from what has only DLPack's protocol, on the CPU.

    Raises DTypeError for rows of different lengths, and for memory that NumPy cannot read.
    """
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (ValueError, TypeError, BufferError, RuntimeError) as error:
        kind = type(value).__name__
        raise DTypeError(f"{kind} cannot be read as an array: {error}") from None


def _check_shape(given: Array, spec: Spec, what: str) -> None:
    if given.ndim != len(spec.shape):
        raise ShapeError(f"{what} has {given.ndim} dimensions {given.shape}, expected {spec.type}")
    for axis, (extent, expected) in enumerate(zip(given.shape, spec.shape, strict=True)):
        if extent != expected:
            raise ShapeError(f"{what}: dimension {axis} is {extent}, expected {expected}")


def _kind(dtype: Any) -> str:
    kinds = {"b": "bool", "i": "whole", "u": "whole", "f": "floating"}
    return kinds.get(np.dtype(dtype).kind, "none")


def _holds(given: Array, converted: Array) -> bool:
    """Whole numbers stay the same; floating ones stay finite where they were."""
    if _kind(given.dtype) == "whole":
        signs = bool(np.array_equal(given < 0, converted < 0))
        return signs and bool(np.array_equal(converted, given))
    if converted.dtype.itemsize >= given.dtype.itemsize:
        return True
    finite = np.isfinite(converted.astype(np.float64))
    return bool(np.array_equal(np.isfinite(given.astype(np.float64)), finite))
