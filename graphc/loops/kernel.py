"""Kernels: code over formal buffers.

    kernel    = name, formal buffers, statements
    statement = loop kind var in [lower, upper) step: statements
              | let name = expr
              | store buffer[expr, ...] = expr            (where guard)
              | local buffer                              register, thread scratch or shared
              | when expr: statements
              | contract tile[i, j] += a(i) * b(j)
              | prefetch buffer[expr, ...]

    kind      serial | parallel | vector | unroll | block | thread

A parallel (block, thread) loop's iterations write disjoint elements and read none that another
writes, so they run in any order, on any number of threads. A vector loop's iterations are
independent too. `contract` adds a product to a register tile: its meaning is its two loops,
tile[i, j] = fma(a(i), b(j), tile[i, j]); the loops around it supply k, in order.
`prefetch` changes nothing: it says that the element is read soon, so that its line may come nearer.

A kernel's naive form holds only serial and parallel loops, lets, stores and reduces. Tiling
rewrites it; both forms compute the same bits.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal as OneOf
from typing import TypeAlias

from graphc.dtypes import DType
from graphc.loops.expressions import Expr

LoopKind = OneOf["serial", "parallel", "vector", "unroll", "block", "thread"]
Access = OneOf["in", "out", "inout"]
Space = OneOf["formal", "register", "scratch", "shared"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory of a kernel: a formal argument, or local.

    shape   logical extents
    order   the dimensions from slowest to fastest; () means as they are
    access  of a formal buffer: in, out or inout. `inout` may be read and written only at the
            store's own index, which is what allows an update in place
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    order: tuple[int, ...] = ()
    access: Access = "in"
    space: Space = "formal"

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements between neighbours along each logical dimension."""
        strides = [0] * len(self.shape)
        step = 1
        for dimension in reversed(self.order or range(len(self.shape))):
            strides[dimension] = step
            step *= self.shape[dimension]
        return tuple(strides)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Loop:
    kind: LoopKind
    var: str
    lower: Expr
    upper: Expr
    body: tuple[Statement, ...]
    step: int = 1


@dataclass(frozen=True, slots=True)
class Let:
    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Store:
    buffer: str
    index: tuple[Expr, ...]
    value: Expr
    guard: Expr | None = None


@dataclass(frozen=True, slots=True)
class Local:
    """A buffer that lives in the enclosing body; its elements are undefined until stored."""

    buffer: Buffer


@dataclass(frozen=True, slots=True)
class When:
    condition: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Contract:
    """tile[row, column] = fma(a, b, tile[row, column]) for all rows and columns of the tile.

    `a` uses the row variable, `b` the column variable, neither the other's.
    """

    tile: str
    row: str
    column: str
    a: Expr
    b: Expr


@dataclass(frozen=True, slots=True)
class Prefetch:
    """The element is read or stored soon. It has no meaning; the buffer is no register tile."""

    buffer: str
    index: tuple[Expr, ...]


Statement: TypeAlias = Loop | Let | Store | Local | When | Contract | Prefetch


@dataclass(frozen=True)
class Kernel:
    """Code over formal buffers; compiled once per structural hash."""

    name: str
    buffers: tuple[Buffer, ...]
    body: tuple[Statement, ...]

    @cached_property
    def by_name(self) -> dict[str, Buffer]:
        return {buffer.name: buffer for buffer in self.buffers}

    @property
    def moved_bytes(self) -> int:
        """What one run must move: see `traffic`."""
        from graphc.loops.traffic import moved_bytes

        return moved_bytes(self)

    @cached_property
    def structural_hash(self) -> str:
        """A digest of all but the name."""
        text = repr((self.buffers, self.body))
        return hashlib.sha256(text.encode()).hexdigest()

    def __str__(self) -> str:
        from graphc.loops.text import format_kernel

        return format_kernel(self)
