"""What is in vector registers: the lanes of the vectorised index, and register tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.loops import Buffer

from .function import Val


@dataclass(frozen=True)
class Lanes:
    """The index that is vectorised now; the last `width - active` lanes are past the end."""

    variable: str
    width: int
    active: int


@dataclass
class Tile:
    """A register buffer: rows of vectors, as SSA values."""

    buffer: Buffer
    width: int
    values: list[list[Val]]

    @property
    def columns(self) -> int:
        return self.buffer.shape[-1] if self.buffer.shape else 1

    @property
    def chunks(self) -> int:
        return -(-self.columns // self.width)

    @property
    def rows(self) -> int:
        return self.buffer.size // self.columns

    def flat(self) -> list[Val]:
        return [value for row in self.values for value in row]

    def fill(self, values: Sequence[Val]) -> None:
        chunks = self.chunks
        self.values = [list(values[r * chunks : (r + 1) * chunks]) for r in range(self.rows)]
