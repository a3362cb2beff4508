"""Where a convolution costs more with its pooling than the map costs that is then not stored.

A tile of a block ends with the fold over its windows, so its sums must be complete and all of a
window's positions be in it. That has two prices, both paid in weights:

    long sums    a convolution alone is computed in blocks of k, whose weights stay near while all
                 rows pass; the sums in between lie in the map. A block has no such place.
    borders      at a padded border each position of a window meets conditions of its own and has
                 tiles of its own, which fetch all weights; alone, only the border itself does.

Caches are those of a common core: what is fused does not depend on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.ir import Node
from graphc.ops.convolution import describe_conv2d
from graphc.ops.windows import Window

_NEAR_BYTES = 1 << 20  # the second cache
_TILE_BYTES = 192  # of a row of weights that a block's tile reads
_TILE_ROWS = 6

# Bytes of weights fetched in the time in which a byte of the map is stored or read, and how many
# more where the map outgrows the second cache by that byte. Measured on a Zen 5.
_WORTH, _WORTH_FAR = 4, 16


class Refused(Exception):
    """Why a block is not made; the text follows the names of its nodes in a remark."""


def expect_few_weights(convolution: Node, pooling: Node) -> None:
    """Refuse where weights are fetched again for longer than the map is stored and read."""
    x, w = (value.shape for value in convolution.operands)
    itemsize = convolution.results[0].dtype.itemsize
    windows = describe_conv2d(x, w, convolution.attrs)
    depth = math.prod(w[1:])
    panel_bytes = depth * min(_TILE_BYTES, w[0] // windows.groups * itemsize)
    if panel_bytes > _NEAR_BYTES // 4:
        raise Refused(
            f"sums of {depth} products: a tile's weights, {panel_bytes} bytes, outgrow a quarter "
            "of the second cache, and sums of a window cannot be computed in blocks"
        )
    map_bytes = math.prod(convolution.results[0].shape) * itemsize
    again = _passes_again([windows.high, windows.wide], pooling, x[0]) * math.prod(w) * itemsize
    far_bytes = max(0, map_bytes - _NEAR_BYTES)
    if again > 2 * (_WORTH * map_bytes + _WORTH_FAR * far_bytes):
        raise Refused(
            f"windows at the padded border would fetch {again} bytes of weights again, which "
            f"takes longer than to store and read the map's {map_bytes} bytes"
        )


@dataclass(frozen=True)
class _Side:
    """Positions along one dimension, and how many of them meet no padding."""

    extent: int
    inner: int


def _passes_again(windows: Sequence[Window], pooling: Node, batch: int) -> int:
    """How many more tiles at borders go through all weights with the pooling than without, less
    those of positions that no window covers."""
    alone = [_Side(window.output, len(_inside(window))) for window in windows]
    kernel, stride = pooling.attrs["kernel"], pooling.attrs["stride"]
    pooled = pooling.results[0].shape[2:]
    shared = [_pooled(*side) for side in zip(windows, pooled, kernel, stride, strict=True)]
    taps: int = math.prod(kernel)
    left_out = math.prod(s.extent for s in alone) - taps * math.prod(s.extent for s in shared)
    borders = taps * _passes(shared, batch) - _passes(alone, batch)
    return borders - batch * left_out // _TILE_ROWS


def _passes(sides: Sequence[_Side], batch: int) -> int:
    """Tiles at a map's borders: rows along an edge share conditions, and images at a corner."""
    high, wide = sides
    edges = (high.extent - high.inner, wide.inner), (wide.extent - wide.inner, high.inner)
    corners = edges[0][0] * edges[1][0]
    pieces = [*edges, (corners, 1)]
    return sum(count * -(-batch * rows // _TILE_ROWS) for count, rows in pieces)


def _inside(window: Window) -> range:
    """Outputs all of whose taps lie on elements."""
    reach = window.size + window.padding - (window.kernel - 1) * window.dilation
    return range(-(-window.padding // window.stride), (reach - 1) // window.stride + 1)


def _pooled(window: Window, extent: int, kernel: int, stride: int) -> _Side:
    """Pooled positions, and those whose windows hold only outputs inside."""
    inside = _inside(window)
    first, last = -(-inside.start // stride), (inside.stop - kernel) // stride
    return _Side(extent, max(0, min(last + 1, extent) - first))
