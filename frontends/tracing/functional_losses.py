"""Losses, with the names, argument order and defaults of torch.nn.functional.

`reduction` is "mean", "sum" or "none"; torch's retired `size_average` and `reduce` keep their
places in the argument lists and are refused.
"""

from __future__ import annotations

import math
from typing import Any

from graphc.dtypes import int32, int64
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_float,
    as_tensor,
    cast,
    common_type,
    emit,
    to,
    together,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_elementwise import (
    abs,
    add,
    clip,
    divide,
    exp,
    log,
    log1p,
    maximum,
    multiply,
    negative,
    square,
    subtract,
)
from graphc.frontends.tracing.functional_indexing import take, take_along_axis
from graphc.frontends.tracing.functional_logic import equal, less, not_equal, where
from graphc.frontends.tracing.functional_reductions import mean, sum
from graphc.frontends.tracing.functional_shapes import expand_dims, reshape, squeeze
from graphc.frontends.tracing.tensor import Tensor


def _check_options(what: str, reduction: str, size_average: Any, reduce: Any) -> None:
    if size_average is not None or reduce is not None:
        raise ArgumentError(f"{what}: size_average and reduce are retired; use reduction=")
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f"{what}: reduction is {reduction!r}; expected 'mean', 'sum' or 'none'")


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    return mean(loss) if reduction == "mean" else sum(loss)


def _pair(what: str, input: ArrayLike, target: ArrayLike) -> tuple[Tensor, Tensor]:
    """Prediction and target in one float type and one shape, which must have been equal."""
    first, second = as_float(input), as_tensor(target)
    if first.shape != second.shape:
        raise ShapeError(f"{what}: input is {first.type}, target {second.type}; shapes must agree")
    dtype = common_type(first, second)
    return cast(first, dtype), cast(second, dtype)


@face()
def mse_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """(input - target)²."""
    _check_options("mse_loss", reduction, size_average, reduce)
    prediction, truth = _pair("mse_loss", input, target)
    return _reduced(square(subtract(prediction, truth)), reduction)


@face()
def l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """|input - target|."""
    _check_options("l1_loss", reduction, size_average, reduce)
    prediction, truth = _pair("l1_loss", input, target)
    return _reduced(abs(subtract(prediction, truth)), reduction)


@face()
def smooth_l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d² / (2 beta) where d = |input - target| < beta, else d - beta / 2."""
    _check_options("smooth_l1_loss", reduction, size_average, reduce)
    if beta < 0:
        raise ArgumentError(f"smooth_l1_loss: beta is {beta}; expected at least 0")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    distance = _distance("smooth_l1_loss", input, target)
    near = multiply(square(distance), 0.5 / beta)
    far = subtract(distance, 0.5 * beta)
    return _reduced(where(less(distance, beta), near, far), reduction)


@face()
def huber_loss(
    input: ArrayLike, target: ArrayLike, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """d² / 2 where d = |input - target| < delta, else delta (d - delta / 2)."""
    _check_options("huber_loss", reduction, None, None)
    distance = _distance("huber_loss", input, target)
    near = multiply(square(distance), 0.5)
    far = multiply(subtract(distance, 0.5 * delta), delta)
    return _reduced(where(less(distance, delta), near, far), reduction)


def _distance(what: str, input: ArrayLike, target: ArrayLike) -> Tensor:
    prediction, truth = _pair(what, input, target)
    return abs(subtract(prediction, truth))


@face()
def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: ArrayLike = None,
) -> Tensor:
    """-(t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))), without overflow.

    With m = log(1 + exp(-|x|)) + max(-x, 0) = -log sigmoid(x), the loss is (1 - t) x + m, or
    (1 - t) x + (1 + (pos_weight - 1) t) m.
    """
    _check_options("binary_cross_entropy_with_logits", reduction, size_average, reduce)
    x, t = _pair("binary_cross_entropy_with_logits", input, target)
    tail = add(log1p(exp(negative(abs(x)))), maximum(negative(x), 0.0))
    if pos_weight is not None:
        tail = multiply(add(multiply(subtract(pos_weight, 1.0), t), 1.0), tail)
    loss = add(multiply(subtract(1.0, t), x), tail)
    return _reduced(loss if weight is None else multiply(loss, weight), reduction)


@face()
def binary_cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) of probabilities; logs are at least -100, as torch's."""
    _check_options("binary_cross_entropy", reduction, size_average, reduce)
    p, t = _pair("binary_cross_entropy", input, target)
    hit = multiply(t, clip(log(p), -100.0))
    miss = multiply(subtract(1.0, t), clip(log1p(negative(p)), -100.0))
    loss = negative(add(hit, miss))
    return _reduced(loss if weight is None else multiply(loss, weight), reduction)


@face()
def kl_div(
    input: ArrayLike,
    target: ArrayLike,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target (log target - input) where `input` holds log-probabilities; 0 where target is 0.

    Reduction "batchmean" is the sum divided by the first extent.
    """
    _check_options("kl_div", "sum" if reduction == "batchmean" else reduction, size_average, reduce)
    prediction, truth = _pair("kl_div", input, target)
    if log_target:
        loss = multiply(exp(truth), subtract(truth, prediction))
    else:
        empty = equal(truth, 0.0)
        surprise = subtract(log(where(empty, 1.0, truth)), prediction)
        loss = where(empty, 0.0, multiply(truth, surprise))
    if reduction == "batchmean":
        return divide(sum(loss), float(prediction.shape[0] if prediction.ndim else 1))
    return _reduced(loss, reduction)


# Losses over classes


@face()
def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-weight[target] input[target] over log-probabilities [N, C, …] and classes [N, …].

    "mean" divides by the sum of the weights; positions with target `ignore_index` count nothing.
    """
    _check_options("nll_loss", reduction, size_average, reduce)
    logits, classes, batched = _class_operands("nll_loss", input, target)
    counted = not_equal(classes, ignore_index)
    valid = where(counted, classes, 0)
    picked = squeeze(take_along_axis(logits, expand_dims(valid, 1), 1), 1)
    scale = _class_weights(weight, valid, counted, logits)
    loss = negative(multiply(picked, scale))
    if reduction == "mean":
        return divide(sum(loss), sum(scale))
    if reduction == "sum":
        return sum(loss)
    return loss if batched else reshape(loss, ())


def _class_weights(weight: ArrayLike, valid: Tensor, counted: Tensor, logits: Tensor) -> Tensor:
    """weight[target], 0 where the position is ignored."""
    if weight is None:
        return cast(counted, logits.dtype)
    return where(counted, take(to(weight, logits.dtype), valid), 0.0)


@face()
def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input) at the target, over logits [N, C, …] (or [C]).

    `target` holds classes [N, …] of an integer type, or probabilities in the logits' shape.
    """
    _check_options("cross_entropy", reduction, size_average, reduce)
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"cross_entropy: label_smoothing is {label_smoothing}; expected 0 to 1")
    attrs = {"label_smoothing": float(label_smoothing), "reduction": reduction}
    truth = as_tensor(target)
    if truth.dtype.is_float:
        return _soft_cross_entropy(as_float(input), truth, weight, attrs)
    logits, classes, batched = _class_operands("cross_entropy", input, truth)
    operands = [logits, classes, *_optional(weight, logits)]
    loss = emit("cross_entropy", *operands, ignore_index=int(ignore_index), **attrs)
    return loss if batched or reduction != "none" else reshape(loss, ())


def _soft_cross_entropy(
    logits: Tensor, probabilities: Tensor, weight: ArrayLike, attrs: dict[str, Any]
) -> Tensor:
    if logits.shape != probabilities.shape:
        raise ShapeError(
            f"cross_entropy: input is {logits.type}, target {probabilities.type}; a target of "
            "probabilities has the shape of the logits, one of classes an integer type"
        )
    x, p = together("cross_entropy", logits, probabilities)
    batched = x.ndim > 1
    if not batched:
        x, p = expand_dims(x, 0), expand_dims(p, 0)
    loss = emit("soft_cross_entropy", x, p, *_optional(weight, x), **attrs)
    return loss if batched or attrs["reduction"] != "none" else reshape(loss, ())


def _optional(weight: ArrayLike, logits: Tensor) -> list[Tensor]:
    return [] if weight is None else [to(weight, logits.dtype)]


def _class_operands(what: str, input: ArrayLike, target: ArrayLike) -> tuple[Tensor, Tensor, bool]:
    """Logits [N, C, …], classes [N, …] as i32 or i64, and whether they came with a batch."""
    logits, classes = as_float(input), as_tensor(target)
    if not classes.dtype.is_integer:
        raise DTypeError(f"{what}: target is {classes.type}; expected classes of an integer type")
    expected = logits.shape[:1] + logits.shape[2:] if logits.ndim > 1 else ()
    if logits.ndim == 0 or classes.shape != expected:
        raise ShapeError(
            f"{what}: input is {logits.type}, so the target's shape must be "
            f"{list(expected)}; it is {classes.type}"
        )
    classes = classes if classes.dtype in (int32, int64) else cast(classes, int64)
    if logits.ndim == 1:
        return expand_dims(logits, 0), expand_dims(classes, 0), False
    return logits, classes, True


@face()
def gaussian_nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    var: ArrayLike,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log v + (input - target)² / v) / 2 with v = max(var, eps)."""
    _check_options("gaussian_nll_loss", reduction, None, None)
    prediction, truth = _pair("gaussian_nll_loss", input, target)
    variance = maximum(var, eps)
    loss = multiply(add(log(variance), divide(square(subtract(prediction, truth)), variance)), 0.5)
    return _reduced(add(loss, 0.5 * math.log(2 * math.pi)) if full else loss, reduction)
