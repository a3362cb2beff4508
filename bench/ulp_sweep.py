"""Greatest errors of the formulas, in units in the last place of the exact result.

    python bench/ulp_sweep.py [--stride N] [name...]

float32: every N-th of all 2^32 bit patterns (N = 1 takes minutes a function), against float64.
float64: a million patterns spread over all exponents, against the machine's long double (shown
where it has 64 bits of mantissa). Both with fma and with a product and a sum in its place, as on
targets that have none.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc import dtypes
from graphc.dtypes import DType
from graphc.loops import arithmetic
from graphc.loops.evaluate import evaluate_formula
from graphc.loops.formulas import formula

Array = NDArray[Any]
CHUNK = 1 << 20


def sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


REFERENCES: dict[str, Callable[[Array], Any]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "sin": np.sin,
    "cos": np.cos,
    "rsqrt": lambda x: 1 / np.sqrt(x),
}


def errors(got: Array, exact: Array) -> Array:
    """|got - exact| in ulps of exact; 0 for equal infinities and NaN, infinite where one has them.

    `exact` is in a wider type than `got`.
    """
    limits = np.finfo(got.dtype)
    rounded = exact.astype(got.dtype)
    exponent = np.maximum(np.frexp(exact)[1] - 1, limits.minexp)
    ulp = np.ldexp(np.ones_like(exact), exponent - limits.nmant)
    difference = np.abs(got.astype(exact.dtype) - exact) / ulp
    equal = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    finite = np.isfinite(got) & np.isfinite(rounded)
    return np.asarray(np.where(finite, difference, np.where(equal, 0, np.inf)))


def patterns(dtype: DType, stride: int) -> Iterator[Array]:
    """Arguments of a float type, chunk by chunk."""
    if dtype == dtypes.float32:
        for start in range(0, 1 << 32, CHUNK * stride):
            stop = min(start + CHUNK * stride, 1 << 32)
            yield np.arange(start, stop, stride, dtype=np.uint32).view(np.float32)
        return
    random = np.random.default_rng(0)
    yield random.integers(0, 1 << 64, CHUNK, dtype=np.uint64).view(np.float64)
    yield random.uniform(-30, 30, CHUNK)
    yield random.uniform(-745, 709, CHUNK)


def worst(name: str, dtype: DType, stride: int) -> tuple[float, float]:
    """The greatest error, and its argument."""
    found = (0.0, math.nan)
    wide = np.float64 if dtype == dtypes.float32 else np.longdouble
    for x in patterns(dtype, stride):
        with np.errstate(all="ignore"):
            exact = np.asarray(REFERENCES[name](x.astype(wide)))
            ulps = errors(evaluate_formula(formula(name, dtype), x), exact)
        at = int(np.argmax(ulps))
        found = max(found, (float(ulps[at]), float(x[at])))
    return found


def without_fma(a: Array, b: Array, c: Array) -> Array:
    return np.asarray(a * b + c)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*REFERENCES])
    parser.add_argument("--stride", type=int, default=257)
    options = parser.parse_args()
    wide = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant
    print("function  type     fma            without fma")
    for name in options.names:
        for dtype in (dtypes.float32, dtypes.float64):
            if dtype == dtypes.float64 and (name == "erf" or not wide):
                continue
            row = []
            for operation in (arithmetic.fma, without_fma):
                arithmetic.OPERATIONS["fma"] = operation
                ulps, at = worst(name, dtype, options.stride)
                row.append(f"{ulps:5.3f} at {at:<12.6g}")
            print(f"{name:9} {dtype!s:8}", *row, flush=True)


if __name__ == "__main__":
    main()
