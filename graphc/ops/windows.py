"""Sliding windows along one dimension: the geometry that convolutions and pooling share.

    output o, tap k  <->  input  o * stride - padding + k * dilation

The same relation is offered twice: as loop expressions, for lowerings, and as NumPy slices, for
meanings. A condition that holds for every index is None, so unpadded windows have no guards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.dtypes import bool_
from graphc.errors import ArgumentError, ShapeError
from graphc.loops import Call, Expr, add, alltrue, floordiv, index, mod, mul, sub, within
from graphc.ops.define import Attrs


@dataclass(frozen=True)
class Window:
    """A window of `kernel` taps that slides over `size` elements and gives `output` results."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    output: int

    # The input element under an output's tap

    def source(self, output: Expr, tap: Expr) -> Expr:
        return sub(add(mul(output, self.stride), mul(tap, self.dilation)), self.padding)

    def inside(self, output: Expr, tap: Expr) -> Expr | None:
        """The tap lies on an element, not on padding."""
        last = (self.output - 1) * self.stride + (self.kernel - 1) * self.dilation - self.padding
        if self.padding == 0 and last < self.size:
            return None
        return within(self.source(output, tap), self.size)

    # The output whose tap lies on an input element

    def target(self, element: Expr, tap: Expr) -> Expr:
        return floordiv(self._reach(element, tap), self.stride)

    def reaches(self, element: Expr, tap: Expr) -> Expr | None:
        """Some output has this tap on the element."""
        reach = self._reach(element, tap)
        aligned = None
        if self.stride > 1:
            aligned = Call("eq", (mod(reach, self.stride), index(0)), bool_)
        return alltrue(aligned, self._target_in_range(element, tap))

    def _reach(self, element: Expr, tap: Expr) -> Expr:
        return sub(add(element, self.padding), mul(tap, self.dilation))

    def _target_in_range(self, element: Expr, tap: Expr) -> Expr | None:
        lowest = self.padding - (self.kernel - 1) * self.dilation
        highest = (self.size - 1 + self.padding) // self.stride
        if lowest >= 0 and highest < self.output:
            return None
        return within(self.target(element, tap), self.output)

    # The outputs whose window covers an input element, counted up from the first

    @property
    def covers(self) -> int:
        """The greatest number of outputs that cover one element."""
        return (self.kernel - 1) * self.dilation // self.stride + 1

    def covering(self, element: Expr, number: Expr) -> Expr:
        """Candidate `number` (0 ... covers - 1), in increasing order."""
        newest = floordiv(add(element, self.padding), self.stride)
        return sub(add(newest, number), self.covers - 1)

    def tap_of(self, element: Expr, output: Expr) -> Expr:
        """The tap with which `output` covers the element, where it does."""
        return floordiv(self._distance(element, output), self.dilation)

    def is_covered(self, element: Expr, output: Expr) -> Expr | None:
        """`output` exists and has a tap on the element (for outputs that `covering` gives)."""
        distance = self._distance(element, output)
        aligned = overrun = None
        if self.dilation > 1:
            aligned = Call("eq", (mod(distance, self.dilation), index(0)), bool_)
        if self.covers * self.stride > (self.kernel - 1) * self.dilation + 1:
            span = index((self.kernel - 1) * self.dilation)
            overrun = Call("le", (distance, span), bool_)
        return alltrue(self._covering_in_range(output), overrun, aligned)

    def _covering_in_range(self, output: Expr) -> Expr | None:
        highest = (self.size - 1 + self.padding) // self.stride
        first_is_valid = self.padding // self.stride - (self.covers - 1) >= 0
        if first_is_valid and highest < self.output:
            return None
        return within(output, self.output)

    def _distance(self, element: Expr, output: Expr) -> Expr:
        return sub(add(element, self.padding), mul(output, self.stride))

    # NumPy

    def slices(self, tap: int) -> tuple[slice, slice]:
        """The outputs whose tap lies on an element, and those elements.

        >>> Window(size=5, kernel=3, stride=2, padding=1, dilation=1, output=3).slices(0)
        (slice(1, 3, None), slice(1, 4, 2))
        """
        offset = tap * self.dilation - self.padding
        low = max(0, -(offset // self.stride))
        high = min(self.output, (self.size - 1 - offset) // self.stride + 1)
        if high <= low:
            return slice(0, 0), slice(0, 0)
        first = low * self.stride + offset
        return slice(low, high), slice(
            first, first + (high - low - 1) * self.stride + 1, self.stride
        )

    def bounds(self, output: int) -> tuple[int, int]:
        """The elements from the first to behind the last that an undilated window covers."""
        start = output * self.stride - self.padding
        return max(0, start), min(self.size, start + self.kernel)


def output_extent(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool = False
) -> int:
    """Number of window positions, by torch's rules.

    With `ceil_mode` a last window may hang over the end, if it starts before the padding there.

    >>> output_extent(5, 2, 2, 0, 1), output_extent(5, 2, 2, 0, 1, ceil_mode=True)
    (2, 3)
    """
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    extent = -(-room // stride) + 1
    return extent - 1 if (extent - 1) * stride >= size + padding else extent


def make_windows(
    op: str, sizes: Sequence[int], kernel: Sequence[int], attrs: Attrs
) -> tuple[Window, Window]:
    """The windows of the two spatial dimensions, from `stride`, `padding`, `dilation`, `ceil_mode`.

    Raises ArgumentError for a stride below 1 and such, ShapeError where no window fits.
    """
    high, wide = (make_window(op, side, sizes[side], kernel[side], attrs) for side in (0, 1))
    return high, wide


def make_window(op: str, side: int, size: int, kernel: int, attrs: Attrs) -> Window:
    stride, padding = attrs["stride"][side], attrs["padding"][side]
    dilation = attrs["dilation"][side] if "dilation" in attrs else 1
    _check_options(op, kernel=kernel, stride=stride, dilation=dilation)
    if padding < 0:
        raise ArgumentError(f"{op}: padding is {padding}, expected at least 0")
    extent = output_extent(size, kernel, stride, padding, dilation, attrs.get("ceil_mode", False))
    if extent < 1:
        name = ("height", "width")[side]
        raise ShapeError(
            f"{op}: a kernel of {kernel} (dilation {dilation}) does not fit into {name} {size} "
            f"with padding {padding}"
        )
    return Window(size, kernel, stride, padding, dilation, extent)


def _check_options(op: str, **options: int) -> None:
    for name, value in options.items():
        if value < 1:
            raise ArgumentError(f"{op}: {name} is {value}, expected at least 1")
