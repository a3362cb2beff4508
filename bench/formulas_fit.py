"""Fit the polynomials of graphc/loops/formulas/coefficients.py; prints that file's tables.

    python bench/formulas_fit.py [name...]        # needs mpmath and numpy

Each row is a function, an interval and a weight. The fit is least squares at Chebyshev points in
60-digit arithmetic, whose largest error is within a fraction of a bit of the minimax polynomial's
(Trefethen, Approximation Theory and Approximation Practice, chapter 16). The coefficients are
rounded one by one, lowest first, each time refitting the rest, so that the rounded polynomial
stays near the best one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Function = Callable[[Any], Any]
GRID_POINTS = 200


@dataclass(frozen=True)
class Fit:
    """A polynomial P with `count` coefficients so that weight(x) * (P(x) - f(x)) is least."""

    name: str
    function: Function
    low: float
    high: float
    weight: Function
    count: int
    dtype: str


def chebyshev_grid(low: float, high: float) -> list[Any]:
    """Points of [low, high], dense at the ends, none exactly at 0 where quotients are 0/0."""
    middle, half = mp.mpf(low + high) / 2, mp.mpf(high - low) / 2
    angles = [mp.pi * (2 * i + 1) / (2 * GRID_POINTS) for i in range(GRID_POINTS)]
    return [middle - half * mp.cos(angle) for angle in angles]


def least_squares(
    grid: list[Any], values: list[Any], weights: list[Any], first: int, count: int
) -> list[Any]:
    """Coefficients of x^first ... x^(first+count-1), by the normal equations."""
    columns = [
        [w * x ** (first + k) for x, w in zip(grid, weights, strict=True)] for k in range(count)
    ]
    target = [w * y for y, w in zip(values, weights, strict=True)]
    system = mp.matrix(count, count)
    for i in range(count):
        for j in range(i + 1):
            system[i, j] = system[j, i] = mp.fdot(columns[i], columns[j])
    solution = mp.lu_solve(system, mp.matrix([mp.fdot(c, target) for c in columns]))
    return [solution[k] for k in range(count)]


def rounded(value: Any, dtype: str) -> Any:
    number = np.float32(float(value)) if dtype == "f32" else np.float64(float(value))
    return mp.mpf(float(number))


def fit(row: Fit) -> tuple[list[Any], Any]:
    """Rounded coefficients, lowest degree first, and their largest weighted error."""
    grid = chebyshev_grid(row.low, row.high)
    values, weights = [row.function(x) for x in grid], [row.weight(x) for x in grid]
    remaining, fixed = values, []
    for k in range(row.count):
        coefficients = least_squares(grid, remaining, weights, k, row.count - k)
        fixed.append(rounded(coefficients[0], row.dtype))
        remaining = [y - fixed[-1] * x**k for x, y in zip(grid, remaining, strict=True)]
    worst = max(abs(w * y) for w, y in zip(weights, remaining, strict=True))
    return fixed, worst


def square_root_argument(function: Function) -> Function:
    """A function of z = t*t as one of t."""
    return lambda z: function(mp.sqrt(z))


HALF_LN2 = 0.34667
QUARTER_PI = 0.78545

exp_rest = lambda r: (mp.expm1(r) - r) / r**2  # noqa: E731 - rows of a table read best so
log_rest = lambda f: (mp.log1p(f) - f) / f**2  # noqa: E731
# log((1+s)/(1-s)) = 2s + s z R(z), z = s*s
log_odd_rest = square_root_argument(lambda s: (2 * mp.atanh(s) - 2 * s) / s**3)
log2_odd = square_root_argument(lambda s: 2 * mp.atanh(s) / s / mp.log(2))
log_odd_tail = square_root_argument(lambda s: (2 * mp.atanh(s) - 2 * s - 2 * s**3 / 3) / s**5)
tanh_rest = square_root_argument(lambda t: (mp.tanh(t) - t) / t**3)
erf_rest = square_root_argument(lambda t: mp.erf(t) / t - 1)
erfc_root = lambda t: mp.erfc(t) ** (mp.mpf(1) / 8)  # noqa: E731
log_erfc_rest = lambda t: -mp.log(mp.erfc(t)) / t - 1  # noqa: E731
# of the standard normal distribution: its density where x^2 / 2 = -r ln 2
normal_density = lambda r: mp.mpf(2) ** r / mp.sqrt(2 * mp.pi)  # noqa: E731
sin_rest = square_root_argument(lambda r: (mp.sin(r) - r) / r**3)
cos_rest = square_root_argument(lambda r: (mp.cos(r) - 1 + r**2 / 2) / r**4)


def normal_tail(u: Any) -> Any:
    """What lies above a, over the density there and t = 1 / (1 + a/4), in u = a t."""
    t = 1 - u / 4
    return mp.ncdf(-u / t) / mp.npdf(u / t) / t


def normal_tail_weight(u: Any) -> Any:
    """Relative near 0; errors may grow with the root of what the tail loses."""
    return mp.exp(-((u / (1 - u / 4)) ** 2) / 4) / normal_tail(u)


ROWS = [
    Fit("EXP", exp_rest, -HALF_LN2, HALF_LN2, lambda r: abs(r), 6, "f32"),
    Fit("EXP", exp_rest, -HALF_LN2, HALF_LN2, lambda r: abs(r), 11, "f64"),
    Fit("LOG", log_rest, -0.33334, 0.33334, lambda f: abs(f), 9, "f32"),
    Fit("LOG", log_odd_rest, 0, 0.0295, lambda z: z, 7, "f64"),
    Fit("LOG2", log2_odd, 0, 0.0295, lambda z: 1, 5, "f64"),
    Fit("LOG_TAIL", log_odd_tail, 0, 0.0295, lambda z: z**2, 7, "f64"),
    Fit("EXP2", lambda r: mp.mpf(2) ** r, -0.5001, 0.5001, lambda r: 1, 8, "f64"),
    Fit("TANH", tanh_rest, 0, 0.3907, lambda z: z, 5, "f32"),
    Fit("TANH", tanh_rest, 0, 0.3907, lambda z: z, 12, "f64"),
    Fit("ERF", erf_rest, 0, 1.4103, lambda z: 1, 8, "f32"),
    Fit("ERF", erf_rest, 0, 1.0001, lambda z: 1, 12, "f64"),
    Fit("ERFC_ROOT", erfc_root, 1.1875, 4.0, lambda t: 8 * mp.erfc(t) / erfc_root(t), 7, "f32"),
    Fit("LOG_ERFC", log_erfc_rest, 1.0, 5.95, lambda t: t * mp.erfc(t), 18, "f64"),
    Fit("NORMAL_DENSITY", normal_density, -0.5001, 0.5001, lambda r: 2.5, 7, "f32"),
    Fit("NORMAL_TAIL", normal_tail, 0, 2.8572, normal_tail_weight, 7, "f32"),
    Fit("SIN", sin_rest, 0, QUARTER_PI**2, lambda z: z, 4, "f32"),
    Fit("SIN", sin_rest, 0, QUARTER_PI**2, lambda z: z, 6, "f64"),
    Fit("COS", cos_rest, 0, QUARTER_PI**2, lambda z: z**2, 4, "f32"),
    Fit("COS", cos_rest, 0, QUARTER_PI**2, lambda z: z**2, 6, "f64"),
]

TWO_OVER_PI_BITS = 1280


def print_two_over_pi() -> None:
    with mp.workprec(2 * TWO_OVER_PI_BITS):
        digits = f"{int(mp.floor(mp.ldexp(2 / mp.pi, TWO_OVER_PI_BITS))):x}"
    print(f"\nTWO_OVER_PI_BITS = {TWO_OVER_PI_BITS}\nTWO_OVER_PI = int(")
    for start in range(0, len(digits), 80):
        print(f'    "{digits[start : start + 80]}"')
    print("    , 16,\n)")


def main() -> None:
    wanted = set(sys.argv[1:])
    for row in ROWS:
        if wanted and row.name not in wanted:
            continue
        coefficients, worst = fit(row)
        print(f"{row.name}_{row.dtype.upper()} = (  # error below 2**{float(mp.log(worst, 2)):.1f}")
        for coefficient in coefficients:
            number = float(coefficient)
            text = repr(number) if row.dtype == "f64" else str(np.float32(number))
            print(f"    {text},")
        print(")", flush=True)
    print_two_over_pi()


if __name__ == "__main__":
    main()
