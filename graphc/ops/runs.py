"""Runs of elements along one dimension: what each output of an average pooling is the mean of.

`Strided` runs are the windows of avg_pool2d, `Adaptive` ones those of adaptive_avg_pool2d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from graphc.dtypes import int64
from graphc.loops import Call, Expr, add, floordiv, index, less, mul, sub
from graphc.ops.windows import Window


class Runs(Protocol):
    """Which elements of one dimension each output averages."""

    @property
    def size(self) -> int: ...

    @property
    def output(self) -> int: ...

    @property
    def taps(self) -> int:
        """The greatest number of elements of an output."""
        ...

    @property
    def covers(self) -> int:
        """The greatest number of outputs that cover an element."""
        ...

    def bounds(self, output: int) -> tuple[int, int]:
        """The elements of an output: the first, and behind the last."""
        ...

    def divisor(self, output: int) -> int: ...

    def source(self, output: Expr, tap: Expr) -> tuple[Expr, Expr | None]:
        """The element under a tap, and whether it is one."""
        ...

    def covering(self, element: Expr, number: Expr) -> tuple[Expr, Expr | None]:
        """Candidate `number` of the outputs that cover an element, and whether it is one."""
        ...

    def count(self, output: Expr) -> Expr:
        """`divisor` as an expression."""
        ...


@dataclass(frozen=True)
class Strided:
    """The runs of avg_pool2d: padding counts on request, what hangs over it never."""

    window: Window
    count_include_pad: bool

    @property
    def size(self) -> int:
        return self.window.size

    @property
    def output(self) -> int:
        return self.window.output

    @property
    def taps(self) -> int:
        return self.window.kernel

    @property
    def covers(self) -> int:
        return self.window.covers

    def bounds(self, output: int) -> tuple[int, int]:
        return self.window.bounds(output)

    def divisor(self, output: int) -> int:
        if not self.count_include_pad:
            low, high = self.bounds(output)
            return high - low
        start = output * self.window.stride - self.window.padding
        return min(start + self.taps, self.size + self.window.padding) - start

    def source(self, output: Expr, tap: Expr) -> tuple[Expr, Expr | None]:
        return self.window.source(output, tap), self.window.inside(output, tap)

    def covering(self, element: Expr, number: Expr) -> tuple[Expr, Expr | None]:
        output = self.window.covering(element, number)
        return output, self.window.is_covered(element, output)

    def count(self, output: Expr) -> Expr:
        start = self.window.source(output, index(0))
        limit = self.size + (self.window.padding if self.count_include_pad else 0)
        high = Call("min", (add(start, self.taps), index(limit)), int64)
        low = start if self.count_include_pad else Call("max", (start, index(0)), int64)
        return sub(high, low)


@dataclass(frozen=True)
class Adaptive:
    """The runs of adaptive_avg_pool2d: floor(o size / output) to ceil((o + 1) size / output)."""

    size: int
    output: int

    @property
    def taps(self) -> int:
        return _longest(self.size, self.output)

    @property
    def covers(self) -> int:
        return _longest(self.output, self.size)

    def bounds(self, output: int) -> tuple[int, int]:
        return _run(output, self.size, self.output)

    def divisor(self, output: int) -> int:
        low, high = self.bounds(output)
        return high - low

    def source(self, output: Expr, tap: Expr) -> tuple[Expr, Expr | None]:
        return _run_member(output, tap, self.size, self.output)

    def covering(self, element: Expr, number: Expr) -> tuple[Expr, Expr | None]:
        # Output o covers element i  <=>  o is in run i of the same division, sizes exchanged.
        return _run_member(element, number, self.output, self.size)

    def count(self, output: Expr) -> Expr:
        start, stop = _run_expressions(output, self.size, self.output)
        return sub(stop, start)


def _run(position: int, length: int, parts: int) -> tuple[int, int]:
    return position * length // parts, -(-(position + 1) * length // parts)


def _longest(length: int, parts: int) -> int:
    runs = (_run(position, length, parts) for position in range(parts))
    return max((high - low for low, high in runs), default=0)


def _run_expressions(position: Expr, length: int, parts: int) -> tuple[Expr, Expr]:
    if length % parts == 0:
        start = mul(position, length // parts)
        return start, add(start, length // parts)
    if parts % length == 0:
        start = floordiv(position, parts // length)
        return start, add(start, 1)
    stop = floordiv(add(mul(add(position, 1), length), parts - 1), parts)
    return floordiv(mul(position, length), parts), stop


def _run_member(position: Expr, number: Expr, length: int, parts: int) -> tuple[Expr, Expr | None]:
    start, stop = _run_expressions(position, length, parts)
    member = add(start, number)
    even = length % parts == 0 or parts % length == 0
    return member, None if even else less(member, stop)
