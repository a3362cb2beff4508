"""Normalisations and dropout, with torch.nn.functional's names, argument order and defaults."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_float,
    as_tensor,
    broadcast,
    cast,
    emit,
    like,
    together,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_elementwise import (
    abs,
    add,
    divide,
    maximum,
    multiply,
    power,
    sqrt,
    square,
    subtract,
)
from graphc.frontends.tracing.functional_random import uniform
from graphc.frontends.tracing.functional_reductions import max as greatest
from graphc.frontends.tracing.functional_reductions import sum
from graphc.frontends.tracing.functional_shapes import reshape, shape_tuple
from graphc.frontends.tracing.recorder import current
from graphc.frontends.tracing.tensor import Tensor


def _affine(
    what: str, x: Tensor, shape: tuple[int, ...], weight: ArrayLike, bias: ArrayLike
) -> tuple[list[Tensor], str, Tensor | None]:
    """The operands weight and bias, how they are given, and a bias left over.

    Raises ShapeError where they do not have `shape`.
    """
    given = [(name, as_tensor(t)) for name, t in (("weight", weight), ("bias", bias)) if _is(t)]
    for name, tensor in given:
        if tensor.shape != shape:
            raise ShapeError(f"{what}: {name} is {tensor.type}; expected shape {list(shape)}")
    tensors = [cast(tensor, x.dtype) for _, tensor in given]
    if _is(weight):
        return tensors, "both" if _is(bias) else "weight", None
    return [], "none", tensors[0] if tensors else None


def _is(x: ArrayLike) -> bool:
    return x is not None


def _trailing(what: str, x: Tensor, normalized_shape: Any) -> tuple[int, ...]:
    """The normalised shape, which must end x's."""
    shape = shape_tuple(normalized_shape, f"{what}: normalized_shape")
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(f"{what}: {x.type} does not end in the normalized shape {list(shape)}")
    return shape


@face()
def layer_norm(
    input: ArrayLike,
    normalized_shape: Any,
    weight: ArrayLike = None,
    bias: ArrayLike = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions."""
    x = as_float(input)
    shape = _trailing("layer_norm", x, normalized_shape)
    operands, affine, rest = _affine("layer_norm", x, shape, weight, bias)
    y = emit(
        "layer_norm",
        x,
        *operands,
        axes=tuple(range(x.ndim - len(shape), x.ndim)),
        eps=float(eps),
        affine=affine,
    )
    return y if rest is None else add(y, rest)


@face()
def rms_norm(
    input: ArrayLike, normalized_shape: Any, weight: ArrayLike = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x²) + eps) * weight over the last dimensions; eps None is the type's own."""
    x = as_float(input)
    shape = _trailing("rms_norm", x, normalized_shape)
    operands, affine, _ = _affine("rms_norm", x, shape, weight, None)
    small = float(np.finfo(x.dtype.numpy).eps) if eps is None else float(eps)
    return emit(
        "rms_norm",
        x,
        *operands,
        axes=tuple(range(x.ndim - len(shape), x.ndim)),
        eps=small,
        affine=affine,
    )


@face()
def group_norm(
    input: ArrayLike,
    num_groups: int,
    weight: ArrayLike = None,
    bias: ArrayLike = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer norm of each group of channels of [N, C, …]; weight and bias [C]."""
    x = as_float(input)
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups:
        raise ShapeError(f"group_norm: {x.type} has no channels for {num_groups} groups")
    operands, affine, rest = _affine("group_norm", x, x.shape[1:2], weight, bias)
    y = emit("group_norm", x, *operands, groups=num_groups, eps=float(eps), affine=affine)
    return y if rest is None else add(y, _per_channel(rest, x))


def _per_channel(statistic: Tensor, x: Tensor) -> Tensor:
    """[C] as [C, 1, …], which broadcasts over [N, C, …]."""
    return reshape(statistic, (-1,) + (1,) * (x.ndim - 2))


@face()
def batch_norm(
    input: ArrayLike,
    running_mean: ArrayLike,
    running_var: ArrayLike,
    weight: ArrayLike = None,
    bias: ArrayLike = None,
    training: bool = False,
    momentum: ArrayLike = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel of [N, C, …].

    In training mean and variance are the batch's; running statistics that are buffers of a
    module take them in: running = (1 - momentum) running + momentum new (the variance with the
    divisor n - 1). Otherwise the running statistics are used.
    """
    x = as_float(input)
    if x.ndim < 2:
        raise ShapeError(f"batch_norm: {x.type} has no channels; expected [N, C, …]")
    operands, affine, rest = _affine("batch_norm", x, x.shape[1:2], weight, bias)
    attrs: dict[str, Any] = {"eps": float(eps), "affine": affine}
    if training or running_mean is None or running_var is None:
        y, batch_mean, batch_var = current().emit("batch_norm", [x, *operands], attrs)
        _update(x, running_mean, batch_mean, running_var, batch_var, momentum)
    else:
        statistics = [_statistic(x, item) for item in (running_mean, running_var)]
        y = emit("batch_norm_eval", x, *statistics, *operands, **attrs)
    return y if rest is None else add(y, _per_channel(rest, x))


def _statistic(x: Tensor, item: ArrayLike) -> Tensor:
    tensor = cast(as_tensor(item), x.dtype)
    if tensor.shape != x.shape[1:2]:
        raise ShapeError(
            f"batch_norm: input has {x.shape[1]} channels, a running statistic is {tensor.type}"
        )
    return tensor


def _update(
    x: Tensor,
    running_mean: ArrayLike,
    batch_mean: Tensor,
    running_var: ArrayLike,
    batch_var: Tensor,
    momentum: ArrayLike,
) -> None:
    """Let running statistics that are state take in the batch's."""
    count = x.size // max(x.shape[1], 1)
    if x.size and count < 2:
        raise ShapeError(f"batch_norm: {x.type} has one element a channel; training needs more")
    unbiased = multiply(batch_var, count / max(count - 1, 1))
    for running, new in ((running_mean, batch_mean), (running_var, unbiased)):
        holder = running.holder if isinstance(running, Tensor) else None
        if holder is None:
            continue
        old = _statistic(x, running)
        mixed = add(multiply(old, subtract(1.0, momentum)), multiply(new, momentum))
        current().write(holder, cast(mixed, holder.dtype))


@face()
def normalize(input: ArrayLike, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """x / max(norm, eps), the p-norm taken along `dim`."""
    x = as_float(input)
    return divide(x, maximum(vector_norm(x, p, dim, keepdims=True), eps))


@face()
def vector_norm(x: ArrayLike, ord: float = 2.0, axis: Any = None, keepdims: bool = False) -> Tensor:
    """(sum |x|^ord)^(1 / ord); the greatest |x| for infinity."""
    tensor = as_float(x)
    if ord == 2:
        return sqrt(sum(square(tensor), axis, keepdims))
    if ord == 1:
        return sum(abs(tensor), axis, keepdims)
    if ord == float("inf"):
        return greatest(abs(tensor), axis, keepdims)
    if ord <= 0:
        raise ArgumentError(f"vector_norm: ord is {ord}; expected a positive number")
    return power(sum(power(abs(tensor), ord), axis, keepdims), 1 / ord)


@face()
def cosine_similarity(x1: ArrayLike, x2: ArrayLike, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between x1 and x2 along `dim`; norms count as at least eps."""
    a, b = together("cosine_similarity", as_float(x1), as_float(x2))
    lengths = [maximum(vector_norm(x, axis=dim), eps) for x in (a, b)]
    return divide(sum(multiply(a, b), dim), multiply(*lengths))


@face()
def dropout(
    input: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Each element 0 with probability p, else x / (1 - p); x itself outside training."""
    x = as_float(input)
    return _dropped(x, p, training, x.shape)


@face("dropout2d")
def feature_dropout(
    input: ArrayLike, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """As dropout, but whole channels of [N, C, …] at a time."""
    x = as_float(input)
    if x.ndim < 2:
        raise ShapeError(f"feature_dropout: {x.type} has no channels; expected [N, C, …]")
    return _dropped(x, p, training, x.shape[:2] + (1,) * (x.ndim - 2))


def _dropped(x: Tensor, p: float, training: bool, shape: tuple[int, ...]) -> Tensor:
    if not 0 <= p <= 1:
        raise ArgumentError(f"dropout: p is {p}; expected 0 to 1")
    if not training or p == 0:
        return x
    if p == 1:
        return like(0, x)
    chance = uniform(size=shape, dtype=x.dtype)
    kept = emit("ge", chance, like(p, chance))
    return emit("where", broadcast(kept, x.shape), multiply(x, 1 / (1 - p)), like(0, x))
