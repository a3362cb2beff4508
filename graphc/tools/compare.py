"""How far two arrays are apart: to the bit, or within what rounding explains."""

from __future__ import annotations

import numpy as np

from graphc.ops.numerics import NumpyArray

# Relative to the largest element; where sums do not cancel, thousands of terms round less far.
_TOLERANCES = {"float64": 1e-11, "float32": 1e-4}


def same_bits(found: NumpyArray, expected: NumpyArray) -> bool:
    """Whether all elements are equal to the bit; any NaN equals any other."""
    if found.dtype.kind != "f":
        return bool(np.array_equal(found, expected))
    bits = np.dtype(f"u{found.dtype.itemsize}")
    equal = np.ascontiguousarray(found).view(bits) == np.ascontiguousarray(expected).view(bits)
    return bool(np.all(equal | (np.isnan(found) & np.isnan(expected))))


def distance(found: NumpyArray, expected: NumpyArray) -> float:
    """The largest difference, relative to the largest finite element that is expected.

    Infinite where shapes differ, or where one is infinite or NaN and the other is not that.

    >>> distance(np.array([1.0, 4.0]), np.array([1.0, 5.0]))
    0.2
    """
    if found.shape != expected.shape:
        return float("inf")
    a, b = (np.asarray(array, np.float64) for array in (found, expected))
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    largest = float(np.abs(b[finite]).max())
    return float(np.abs(a - b)[finite].max()) / max(largest, 1e-30)


def tolerance(array: NumpyArray) -> float:
    """The least `distance` that rounding does not explain."""
    return _TOLERANCES.get(array.dtype.name, 0.0)
