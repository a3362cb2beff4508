"""Random numbers, with numpy.random's names: `F.random.uniform(low, high, size)`.

A number depends on the model's key, on the call's place in the traced program (its stream) and
on its index only, so it is the same for any number of threads, in any layout, and again in the
gradient. In the body of a scan each iteration has a key of its own.
"""

from __future__ import annotations

from typing import Any

from graphc.dtypes import DType, float32, get
from graphc.errors import ArgumentError, DTypeError
from graphc.frontends.tracing.convert import ArrayLike, emit, is_weak
from graphc.frontends.tracing.face import entry
from graphc.frontends.tracing.functional_elementwise import add, multiply, subtract
from graphc.frontends.tracing.functional_logic import less
from graphc.frontends.tracing.functional_shapes import shape_tuple
from graphc.frontends.tracing.recorder import current
from graphc.frontends.tracing.tensor import Tensor


def _draw(op: str, size: Any, dtype: Any = None) -> Tensor:
    recorder = current()
    attrs: dict[str, Any] = {
        "shape": shape_tuple(() if size is None else size, "random: size"),
        "stream": recorder.session.next_stream(),
    }
    if dtype is not None:
        attrs["dtype"] = _float_row(dtype)
    return emit(op, recorder.key(), **attrs)


def _float_row(dtype: Any) -> DType:
    row = get(dtype)
    if not row.is_float:
        raise DTypeError(f"random: dtype is {row}; expected a float type")
    return row


@entry
def uniform(
    low: ArrayLike = 0.0, high: ArrayLike = 1.0, size: Any = None, dtype: Any = float32
) -> Tensor:
    """Uniform in low ≤ x < high."""
    chance = _draw("random_uniform", size, dtype)
    if is_weak(low) and is_weak(high) and (low, high) == (0, 1):
        return chance
    return add(multiply(chance, subtract(high, low)), low)


@entry
def normal(
    loc: ArrayLike = 0.0, scale: ArrayLike = 1.0, size: Any = None, dtype: Any = float32
) -> Tensor:
    """Normal with mean `loc` and standard deviation `scale`."""
    deviate = _draw("random_normal", size, dtype)
    if not (is_weak(scale) and scale == 1):
        deviate = multiply(deviate, scale)
    return deviate if is_weak(loc) and loc == 0 else add(deviate, loc)


@entry
def bernoulli(p: ArrayLike = 0.5, size: Any = None) -> Tensor:
    """True with probability p, bool; without a size, of p's shape."""
    if is_weak(p) and not 0 <= p <= 1:
        raise ArgumentError(f"bernoulli: p is {p}; expected 0 to 1")
    shape = getattr(p, "shape", ()) if size is None else size
    return less(_draw("random_uniform", shape, float32), p)


@entry
def bits(size: Any = None) -> Tensor:
    """32 random bits each, u32."""
    return _draw("random_bits", size)
