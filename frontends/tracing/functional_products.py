"""Sums of products: matrix products and convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_float,
    cast,
    common_type,
    emit,
    normal_axis,
    strong_operand,
    to,
    whole_number,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_elementwise import add
from graphc.frontends.tracing.functional_padding import pad
from graphc.frontends.tracing.functional_shapes import expand_dims, reshape, squeeze, transpose
from graphc.frontends.tracing.tensor import Tensor


def same_type(*xs: ArrayLike) -> list[Tensor]:
    """The operands in their promoted type, each in its own shape."""
    operands = [strong_operand(x) for x in xs]
    dtype = common_type(*operands)
    return [to(operand, dtype) for operand in operands]


@face()
def matmul(a: ArrayLike, b: ArrayLike) -> Tensor:
    """a[…, M, K] times b[…, K, N]; leading dimensions broadcast, vectors are rows or columns."""
    left, right = same_type(a, b)
    if left.ndim == 0 or right.ndim == 0:
        raise ShapeError(f"matmul: {left.type} and {right.type}; scalars are multiplied with *")
    added = []
    if right.ndim == 1:
        right = expand_dims(right, 1)
        added.append(-1)
    if left.ndim == 1:
        left = expand_dims(left, 0)
        added.append(-2)
    product = emit("matmul", left, right)
    return squeeze(product, tuple(added)) if added else product


@face()
def dot(a: ArrayLike, b: ArrayLike) -> Tensor:
    """NumPy's dot: the last dimension of a with the last but one of b (or its only one)."""
    left, right = same_type(a, b)
    if left.ndim == 0 or right.ndim == 0:
        return left * right
    return tensordot(left, right, ([left.ndim - 1], [max(right.ndim - 2, 0)]))


@face()
def outer(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The products of every element of a with every one of b, [size of a, size of b]."""
    left, right = same_type(a, b)
    return reshape(left, (left.size, 1)) * reshape(right, (1, right.size))


@face()
def tensordot(a: ArrayLike, b: ArrayLike, axes: Any = 2) -> Tensor:
    """The sum of products over pairs of dimensions: the last n and the first n, or two lists."""
    left, right = same_type(a, b)
    summed = _summed_axes(left, right, axes)
    left_axes, right_axes = summed
    kept_left = [axis for axis in range(left.ndim) if axis not in left_axes]
    kept_right = [axis for axis in range(right.ndim) if axis not in right_axes]
    shape = [left.shape[axis] for axis in kept_left] + [right.shape[axis] for axis in kept_right]
    inner = math.prod(left.shape[axis] for axis in left_axes)
    rows = math.prod(left.shape[axis] for axis in kept_left)
    columns = math.prod(right.shape[axis] for axis in kept_right)
    flat_left = reshape(transpose(left, [*kept_left, *left_axes]), (rows, inner))
    flat_right = reshape(transpose(right, [*right_axes, *kept_right]), (inner, columns))
    return reshape(emit("matmul", flat_left, flat_right), shape)


def _summed_axes(left: Tensor, right: Tensor, axes: Any) -> tuple[list[int], list[int]]:
    if isinstance(axes, int):
        pairs: tuple[Sequence[int], Sequence[int]] = (
            range(left.ndim - axes, left.ndim),
            range(axes),
        )
    else:
        first, second = axes
        pairs = (
            first if isinstance(first, list | tuple) else [first],
            second if isinstance(second, list | tuple) else [second],
        )
    a = [normal_axis(axis, left.ndim, "tensordot") for axis in pairs[0]]
    b = [normal_axis(axis, right.ndim, "tensordot") for axis in pairs[1]]
    if [left.shape[axis] for axis in a] != [right.shape[axis] for axis in b]:
        raise ShapeError(
            f"tensordot: axes {tuple(a)} of {left.type} and {tuple(b)} of {right.type} "
            "have different extents"
        )
    return a, b


@face()
def linear(input: ArrayLike, weight: ArrayLike, bias: ArrayLike = None) -> Tensor:
    """input[…, I] times weight[O, I] transposed, plus bias[O]."""
    x, w = same_type(as_float(input), weight)
    if w.ndim != 2 or x.ndim == 0 or x.shape[-1] != w.shape[1]:
        features = f"{x.shape[-1]} features" if x.ndim else "no dimension"
        raise ShapeError(f"linear: input {x.type} has {features}, weight is {w.type}")
    product = matmul(x, transpose(w))
    return product if bias is None else add(product, to(bias, product.dtype))


@face()
def bilinear(
    input1: ArrayLike, input2: ArrayLike, weight: ArrayLike, bias: ArrayLike = None
) -> Tensor:
    """input1[…, I] weight[O, I, J] input2[…, J] for each output, plus bias[O]."""
    x, y, w = same_type(as_float(input1), input2, weight)
    if w.ndim != 3 or x.shape[-1:] != w.shape[1:2] or y.shape[-1:] != w.shape[2:]:
        raise ShapeError(f"bilinear: inputs are {x.type} and {y.type}, weight is {w.type}")
    inner = tensordot(x, w, ([x.ndim - 1], [1]))  # […, O, J]
    result = squeeze(matmul(inner, expand_dims(y, -1)), -1)
    return result if bias is None else add(result, to(bias, result.dtype))


# Convolutions


def pair(value: Any, what: str) -> tuple[int, int]:
    """An int for both dimensions, or two. Raises ArgumentError otherwise."""
    if isinstance(value, tuple | list):
        if len(value) == 1:
            value = (value[0], value[0])
        if len(value) != 2:
            raise ArgumentError(f"{what} is {value}; expected one integer or two")
        return whole_number(value[0], what), whole_number(value[1], what)
    return whole_number(value, what), whole_number(value, what)


@face()
def conv2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """input[N, C, H, W] (or [C, H, W]) with weight[O, C / groups, KH, KW], plus bias[O].

    `padding` is zeros on each side, "valid" (none) or "same" (as many as keep the size).
    """
    x, w = same_type(as_float(input), weight)
    if x.ndim not in (3, 4) or w.ndim != 4:
        raise ShapeError(
            f"conv2d: input is {x.type} and weight {w.type}; expected [N, C, H, W] or [C, H, W] "
            "and [O, C / groups, KH, KW]"
        )
    batched = x if x.ndim == 4 else expand_dims(x, 0)
    strides = pair(stride, "conv2d: stride")
    dilations = pair(dilation, "conv2d: dilation")
    batched, zeros = _padded(batched, w, strides, padding, dilations)
    y = emit(
        "conv2d",
        batched,
        w,
        stride=strides,
        padding=zeros,
        dilation=dilations,
        groups=whole_number(groups, "conv2d: groups"),
    )
    if bias is not None:
        y = add(y, reshape(_bias(bias, y), (-1, 1, 1)))
    return y if x.ndim == 4 else squeeze(y, 0)


def _bias(bias: ArrayLike, y: Tensor) -> Tensor:
    tensor = cast(as_float(bias), y.dtype)
    if tensor.shape != y.shape[1:2]:
        raise ShapeError(f"conv2d: bias is {tensor.type}; expected shape [{y.shape[1]}]")
    return tensor


def _padded(
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: Any,
    dilation: tuple[int, int],
) -> tuple[Tensor, tuple[int, int]]:
    """The input and the symmetric padding left to the operator."""
    if padding == "valid":
        return x, (0, 0)
    if padding != "same":
        return x, pair(padding, "conv2d: padding")
    if stride != (1, 1):
        raise ArgumentError(f"conv2d: padding 'same' needs stride 1; it is {stride}")
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    odd = [total % 2 for total in reach]
    if any(odd):  # the extra zero goes to the end, as torch's
        x = pad(x, (0, odd[1], 0, odd[0]))
    return x, (reach[0] // 2, reach[1] // 2)


@face()
def conv1d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """input[N, C, L] (or [C, L]) with weight[O, C / groups, K], plus bias[O]."""
    x, w = same_type(as_float(input), weight)
    if x.ndim not in (2, 3) or w.ndim != 3:
        raise ShapeError(
            f"conv1d: input is {x.type} and weight {w.type}; expected [N, C, L] or [C, L] "
            "and [O, C / groups, K]"
        )
    wide = expand_dims(x if x.ndim == 3 else expand_dims(x, 0), 2)
    padded = padding if isinstance(padding, str) else (0, _single(padding, "padding"))
    y = conv2d(
        wide,
        expand_dims(w, 2),
        bias,
        (1, _single(stride, "stride")),
        padded,
        (1, _single(dilation, "dilation")),
        groups,
    )
    y = squeeze(y, 2)
    return y if x.ndim == 3 else squeeze(y, 0)


def _single(value: Any, what: str) -> int:
    if isinstance(value, tuple | list) and len(value) == 1:
        value = value[0]
    return whole_number(value, f"conv1d: {what}")
