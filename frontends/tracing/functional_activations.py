"""Activation functions, with the names and defaults of torch.nn.functional.

`inplace` is taken and ignored: values never change, and memory is planned by the compiler.
"""

from __future__ import annotations

from typing import Any

from graphc.dtypes import get
from graphc.errors import ArgumentError
from graphc.frontends.tracing.convert import ArrayLike, as_float, as_tensor, emit, normal_axis, to
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_elementwise import (
    abs,
    add,
    clip,
    divide,
    exp,
    expm1,
    log1p,
    maximum,
    minimum,
    multiply,
    negative,
    subtract,
)
from graphc.frontends.tracing.functional_logic import greater, where
from graphc.frontends.tracing.functional_shapes import split
from graphc.frontends.tracing.tensor import Tensor


@face()
def relu(input: ArrayLike, inplace: bool = False) -> Tensor:
    """max(x, 0); NaN stays NaN."""
    tensor = as_tensor(input)
    return emit("relu", tensor) if tensor.dtype.is_float else maximum(tensor, 0)


@face()
def relu6(input: ArrayLike, inplace: bool = False) -> Tensor:
    return clip(as_float(input), 0.0, 6.0)


@face()
def leaky_relu(input: ArrayLike, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope x."""
    return emit("leaky_relu", as_float(input), slope=float(negative_slope))


@face()
def prelu(input: ArrayLike, weight: ArrayLike) -> Tensor:
    """x where x > 0, else weight x; one weight, or one for each channel (dimension 1)."""
    tensor, slope = as_float(input), as_float(weight)
    if slope.size > 1 and tensor.ndim > 1:
        slope = slope.reshape((-1,) + (1,) * (tensor.ndim - 2))
    return where(greater(tensor, 0), tensor, multiply(slope, tensor))


@face()
def elu(input: ArrayLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1)."""
    return emit("elu", as_float(input), alpha=float(alpha))


@face()
def selu(input: ArrayLike, inplace: bool = False) -> Tensor:
    """Klambauer et al. 2017, "Self-Normalizing Neural Networks": scale elu(x, alpha)."""
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return multiply(elu(input, alpha), scale)


@face()
def gelu(input: ArrayLike, approximate: str = "none") -> Tensor:
    """x Phi(x), exactly by erf, or approximately by tanh."""
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"gelu: approximate is {approximate!r}; expected 'none' or 'tanh'")
    return emit("gelu", as_float(input), approximate=approximate)


@face()
def silu(input: ArrayLike, inplace: bool = False) -> Tensor:
    """x sigmoid(x)."""
    return emit("silu", as_float(input))


@face()
def mish(input: ArrayLike, inplace: bool = False) -> Tensor:
    """x tanh(softplus(x))."""
    tensor = as_float(input)
    return multiply(tensor, tanh(softplus(tensor)))


@face()
def softplus(input: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x > threshold."""
    return emit("softplus", as_float(input), beta=float(beta), threshold=float(threshold))


@face()
def sigmoid(input: ArrayLike) -> Tensor:
    return emit("sigmoid", as_float(input))


@face()
def logsigmoid(input: ArrayLike) -> Tensor:
    """log(sigmoid(x)) as min(x, 0) - log(1 + exp(-|x|)), without overflow."""
    tensor = as_float(input)
    return subtract(minimum(tensor, 0.0), log1p(exp(negative(abs(tensor)))))


@face()
def tanh(input: ArrayLike) -> Tensor:
    return emit("tanh", as_float(input))


@face()
def hardtanh(
    input: ArrayLike, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    return clip(as_float(input), min_val, max_val)


@face()
def hardsigmoid(input: ArrayLike, inplace: bool = False) -> Tensor:
    """clip(x + 3, 0, 6) / 6."""
    return divide(relu6(add(as_float(input), 3.0)), 6.0)


@face()
def hardswish(input: ArrayLike, inplace: bool = False) -> Tensor:
    tensor = as_float(input)
    return multiply(tensor, hardsigmoid(tensor))


@face()
def softsign(input: ArrayLike) -> Tensor:
    tensor = as_float(input)
    return divide(tensor, add(abs(tensor), 1.0))


@face()
def celu(input: ArrayLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(x, 0) + min(alpha (exp(x / alpha) - 1), 0)."""
    tensor = as_float(input)
    below = minimum(multiply(expm1(divide(tensor, alpha)), alpha), 0.0)
    return add(maximum(tensor, 0.0), below)


@face()
def glu(input: ArrayLike, dim: int = -1) -> Tensor:
    """The first half along `dim`, gated by the sigmoid of the second."""
    first, second = split(as_float(input), 2, dim)
    return multiply(first, sigmoid(second))


@face()
def softmax(input: ArrayLike, dim: int = -1, dtype: Any = None) -> Tensor:
    """exp(x) divided by its sum along `dim`, without overflow."""
    return _along("softmax", input, dim, dtype)


@face()
def log_softmax(input: ArrayLike, dim: int = -1, dtype: Any = None) -> Tensor:
    """log(softmax(x)), without overflow."""
    return _along("log_softmax", input, dim, dtype)


def _along(op: str, input: ArrayLike, dim: int, dtype: Any) -> Tensor:
    tensor = as_float(input) if dtype is None else to(input, get(dtype))
    return emit(op, tensor, axis=normal_axis(dim, tensor.ndim, op))


@face()
def softmin(input: ArrayLike, dim: int = -1) -> Tensor:
    return softmax(negative(as_float(input)), dim)
