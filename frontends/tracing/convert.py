"""What becomes a tensor, and of which type: Python numbers are weak, arrays and tensors strong.

Types promote as torch's: a float type wins over any integer and keeps its width, of two integers
the wider wins, and a Python number takes the other operand's type where its kind fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from graphc.dtypes import DType, bool_, float32, get, int64, promote
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.frontends.tracing.holder import Holder
from graphc.frontends.tracing.recorder import current
from graphc.frontends.tracing.tensor import Tensor

# What F.* takes where it says ArrayLike: Tensor, NumPy array, Parameter, number, nested lists.
ArrayLike: TypeAlias = Any
Shape: TypeAlias = "tuple[int, ...]"

# NumPy's scalars (the result of np.sqrt(2)) count as Python numbers.
_NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)


def is_weak(x: ArrayLike) -> bool:
    """Whether x is a plain number, which takes the type of what it meets."""
    return isinstance(x, _NUMBERS)


def emit(op: str, *operands: Tensor, **attrs: Any) -> Tensor:
    """Apply an operator of one result."""
    (result,) = current().emit(op, operands, attrs)
    return result


def as_tensor(x: ArrayLike, dtype: DType | None = None) -> Tensor:
    """x as a tensor of the current recorder; a number becomes `dtype`, or its default type."""
    if isinstance(x, Tensor):
        return current().open(x)
    if isinstance(x, Holder):
        return current().read(x)
    if is_weak(x):
        row = dtype or default_type(x)
        return cast(current().constant(literal(x, get(row.arithmetic))), row)
    return current().constant(_as_array(x))


def _as_array(x: ArrayLike) -> np.ndarray[Any, Any]:
    if isinstance(x, list | tuple) and any(isinstance(item, Tensor) for item in x):
        raise ArgumentError("a list of traced values is no array; use F.stack")
    try:
        array = np.asarray(x)
        row = get(array.dtype)
    except (ValueError, DTypeError) as error:
        raise DTypeError(f"{type(x).__name__} cannot become a tensor: {error}") from None
    if isinstance(x, list | tuple) and row.is_float:
        row = float32  # lists of Python numbers are as weak as these: no silent float64
    return np.asarray(array, row.numpy)


def default_type(x: ArrayLike) -> DType:
    """The type of a number that meets no tensor: bool, i64 or f32."""
    if isinstance(x, bool | np.bool_):
        return bool_
    return int64 if isinstance(x, int | np.integer) else float32


def literal(x: ArrayLike, dtype: DType) -> np.ndarray[Any, Any]:
    """A number as an array of shape (). Raises ArgumentError where it is out of range."""
    try:
        if dtype.is_integer and isinstance(x, float | np.floating):
            raise OverflowError
        return np.asarray(x.item() if isinstance(x, np.generic) else x, dtype.numpy)
    except OverflowError:
        raise ArgumentError(f"{x} is no {dtype} number") from None


def weak_type(x: ArrayLike, dtype: DType) -> DType:
    """The type in which a number meets tensors of type `dtype`."""
    default = default_type(x)
    if dtype.is_float or default.kind == "bool":
        return dtype
    if default.is_float or dtype.kind == "bool":
        return default
    return dtype


def strong_operand(x: ArrayLike) -> ArrayLike:
    """x as a tensor, but a number left as it is."""
    return x if is_weak(x) else as_tensor(x)


def common_type(*xs: ArrayLike) -> DType:
    """The type that all operands are converted to. Raises DTypeError where there is none."""
    strong = [strong_operand(x).dtype for x in xs if not is_weak(x)]
    weak = [x for x in xs if is_weak(x)]
    if not strong:
        strong = [default_type(x) for x in weak]
        weak = []
    result: DType = strong[0]
    for dtype in strong[1:]:
        result = promote(result, dtype)
    for x in weak:
        result = weak_type(x, result)
    return result


def float_type(dtype: DType) -> DType:
    """The type of a function with fractional results: integers and bools become f32."""
    return dtype if dtype.is_float else float32


def cast(x: Tensor, dtype: DType) -> Tensor:
    return x if x.dtype == dtype else emit("cast", x, dtype=dtype)


def to(x: ArrayLike, dtype: DType) -> Tensor:
    """x as a tensor of type `dtype`."""
    return cast(as_tensor(x, dtype), dtype)


def as_float(x: ArrayLike) -> Tensor:
    """x as a tensor of a float type."""
    tensor = as_tensor(x, float32 if is_weak(x) else None)
    return cast(tensor, float_type(tensor.dtype))


def as_bool(x: ArrayLike) -> Tensor:
    """x as a condition: whatever is not zero holds."""
    tensor = as_tensor(x)
    return cast(tensor, bool_)


def broadcast(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x if x.shape == tuple(shape) else emit("broadcast", x, shape=tuple(shape))


def broadcast_shape(what: str, *shapes: Shape) -> Shape:
    """The shape to which all broadcast. Raises ShapeError that names `what` and the shapes."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = " and ".join(str(list(shape)) for shape in shapes)
        raise ShapeError(f"{what}: shapes {listed} do not broadcast to one shape") from None


def together(what: str, *xs: ArrayLike, dtype: DType | None = None) -> list[Tensor]:
    """The operands in one type (by default the promoted one) and one shape."""
    operands = [strong_operand(x) for x in xs]
    chosen = dtype or common_type(*operands)
    tensors = [to(operand, chosen) for operand in operands]
    shape = broadcast_shape(what, *(tensor.shape for tensor in tensors))
    return [broadcast(tensor, shape) for tensor in tensors]


def like(number: float, x: Tensor) -> Tensor:
    """A number in the shape and type of x."""
    return broadcast(as_tensor(number, x.dtype), x.shape)


def normal_axis(axis: int, rank: int, what: str) -> int:
    """An axis counted from the front. Raises ArgumentError where there is none."""
    position = axis.__index__()
    if not -rank <= position < rank:
        raise ArgumentError(f"{what}: axis {axis} of an array of {rank} dimensions")
    return position % rank


def normal_axes(axis: Any, rank: int, what: str) -> Shape:
    """Sorted axes of None (all), an int or a sequence. Raises ArgumentError for doubles."""
    if axis is None:
        return tuple(range(rank))
    listed = axis if isinstance(axis, tuple | list) else (axis,)
    axes = tuple(sorted(normal_axis(item, rank, what) for item in listed))
    if len(set(axes)) != len(axes):
        raise ArgumentError(f"{what}: axes {tuple(listed)} name one dimension twice")
    return axes


def whole_number(value: object, what: str) -> int:
    """An option that must be a Python integer. Raises ArgumentError for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ArgumentError(f"{what} is {value!r}; expected an integer")
    return int(value.__index__())
