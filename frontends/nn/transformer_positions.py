"""Positions for models that have no order of their own: sinusoidal, learned, rotary."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.nn import init
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F

Array = np.ndarray[Any, Any]


def sinusoids(length: int, width: int, base: float = 10000.0) -> Array:
    """[length, width] of float64: sin at even, cos at odd places, of position / base^(2i / width).

    Vaswani et al., 2017, section 3.5.

    >>> sinusoids(2, 4).round(3).tolist()
    [[0.0, 1.0, 0.0, 1.0], [0.841, 0.54, 0.01, 1.0]]
    """
    angles = np.arange(length)[:, None] / base ** (np.arange(0, width, 2) / width)
    table = np.empty((length, width))
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles[:, : width // 2])
    return table


def _check_length(x: Any, axis: int, most: int, what: str) -> int:
    """How many positions x has. Raises ShapeError for more than there are."""
    length = int(x.shape[axis])
    if length > most:
        raise ShapeError(f"{what}: {x.type} has {length} positions, {most} are there")
    return length


def rows_from(table: Any, position: Any, length: int) -> Any:
    """`length` rows of table[n, width] from row `position`, a number or i32[]."""
    if isinstance(position, int):
        if not 0 <= position <= table.shape[0] - length:
            raise ShapeError(f"positions {position} to {position + length - 1} of {table.shape[0]}")
        return table if (position, length) == (0, table.shape[0]) else table[position:][:length]
    return F.dynamic_slice(table, (position, 0), (length, table.shape[1]))


class SinusoidalPositions(Module):
    """x[…, L, width] plus sinusoids of the positions `position` … `position` + L - 1."""

    def __init__(self, max_length: int, width: int) -> None:
        super().__init__()
        self.max_length, self.width = max_length, width

    def forward(self, x: Any, position: Any = 0) -> Any:
        length = _check_length(x, -2, self.max_length, "SinusoidalPositions")
        return x + F.astype(self._table(position, length), x.dtype)

    def _table(self, position: Any, length: int) -> Any:
        if isinstance(position, int) and position == 0:
            return F.asarray(sinusoids(length, self.width))
        return rows_from(F.asarray(sinusoids(self.max_length, self.width)), position, length)

    def extra_repr(self) -> str:
        return f"{self.max_length}, {self.width}"


class LearnedPositions(Module):
    """x[…, L, width] plus L rows of weight[max_length, width], from row `position` on."""

    def __init__(self, max_length: int, width: int, dtype: Any = None) -> None:
        super().__init__()
        self.max_length, self.width = max_length, width
        self.weight = Parameter((max_length, width), init.normal(0.0, 0.02), dtype)

    def forward(self, x: Any, position: Any = 0) -> Any:
        length = _check_length(x, -2, self.max_length, "LearnedPositions")
        return x + rows_from(self.weight, position, length)

    def extra_repr(self) -> str:
        return f"{self.max_length}, {self.width}"


class RotaryPositions(Module):
    """Turns queries or keys x[…, L, width] by angles that grow with the position.

    Elements i of the first and the second half are a pair, turned by position / base^(2i / width),
    so that a product of a query and a key depends on their distance. The first of the L is at
    `position`. Su et al., arXiv:2104.09864, in the order of halves that GPT-NeoX and Llama keep.
    """

    def __init__(self, max_length: int, width: int, base: float = 10000.0) -> None:
        super().__init__()
        if width % 2:
            raise ArgumentError(f"RotaryPositions: width {width} is odd; elements turn in pairs")
        self.max_length, self.width, self.base = max_length, width, base

    def forward(self, x: Any, position: Any = 0) -> Any:
        length = _check_length(x, -2, self.max_length, "RotaryPositions")
        if x.shape[-1] != self.width:
            raise ShapeError(f"RotaryPositions: {x.type} is not {self.width} wide")
        turns = np.arange(self.max_length)[:, None] / self.base ** (
            np.arange(0, self.width, 2) / self.width
        )
        cos, sin = (
            F.astype(rows_from(F.asarray(f(turns)), position, length), x.dtype)
            for f in (np.cos, np.sin)
        )
        first, second = F.split(x, 2, axis=-1)
        return F.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def extra_repr(self) -> str:
        return f"{self.max_length}, {self.width}"
