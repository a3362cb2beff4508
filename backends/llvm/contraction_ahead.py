"""What a register tile will need next is fetched while its sums are computed.

A tile takes thousands of cycles, a line from the last cache hundreds: fetched at its start, what
the statements after the sums read is there when they come. The sums that earlier blocks of k left
in the result are fetched all at once, instead of one by one as they are added to. Where a's
neighbours along k lie in lines of their own, too far apart for the processor to foresee, those of
the next tile are fetched, one with each product; and so are b's columns of the next panel where
few rows share the cost of copying one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphc.loops import (
    Expr,
    Load,
    Loop,
    Prefetch,
    Statement,
    Store,
    add,
    floordiv,
    index,
    mod,
    mul,
    sub,
    variable,
)
from graphc.loops.build import call
from graphc.loops.substitute import substitute

from .contraction_blocks import ROW_WORK, Blocks

_ROW, _COLUMN = "tile.row", "tile.column"
_LINE_BYTES = 64

# Rows of a group up to which fetching a panel costs less than it saves of the copy.
_FEW_ROWS = 4096

# Products of a tile's column that take longer than a line does from memory.
_LONG = 384


def fetch_beside(
    blocks: Blocks, place: Mapping[str, Expr], shape: tuple[int, int]
) -> Iterator[Statement]:
    """What the statements after the sums read beside them, of a tile's `shape`."""
    if not blocks.nest.window and blocks.chunk_depth * blocks.tile.high >= _LONG:
        for read in blocks.read_beside:
            yield _lines(read, read.dtype.itemsize, place, shape)


def fetch_held(
    blocks: Blocks, held: Store, place: Mapping[str, Expr], shape: tuple[int, int]
) -> Iterator[Statement]:
    """The elements of the result that hold a tile's sums between blocks of k."""
    buffer = blocks.kernel.by_name[held.buffer]
    if buffer.nbytes > blocks.target.l2_bytes // 2:
        yield _lines(held, buffer.dtype.itemsize, place, shape)


def _lines(
    access: Load | Store, itemsize: int, place: Mapping[str, Expr], shape: tuple[int, int]
) -> Statement:
    at = tuple(substitute(i, dict(place)) for i in access.index)
    line = (Prefetch(access.buffer, at),)
    lines = Loop(
        "unroll", _COLUMN, index(0), index(shape[1]), line, max(1, _LINE_BYTES // itemsize)
    )
    return Loop("unroll", _ROW, index(0), index(shape[0]), (lines,))


def next_of_a(blocks: Blocks, place: Mapping[str, Expr]) -> Prefetch | None:
    """A line of the next tile's rows, with each product: the line with the last row at the same k
    where a's neighbours along k lie apart, else the line of one row after the other.

    None where lines stay near anyway, or loads limit the tile.
    """
    a, rows, tile = blocks.nest.dot.body[0], blocks.rows, blocks.tile
    if not isinstance(a, Load) or a.guard is not None:
        return None
    if rows.step > 1 or blocks.nest.dot.where is not None:
        return None
    row: Expr
    if blocks.takes_a_line_for_each_k:
        vectors = -(-tile.wide * a.dtype.itemsize // blocks.target.vector_bytes)
        loads_limit = tile.high * vectors <= tile.high + vectors + 1
        near = blocks.chunk_depth * _LINE_BYTES <= blocks.target.l1_bytes // 2
        if near or loads_limit:
            return None
        row = index(2 * tile.high - 1)
    elif _streams(a, blocks):
        turn = mod(blocks.depth_index, _LINE_BYTES // a.dtype.itemsize)
        row = add(call("min", turn, index(tile.high - 1)), tile.high)
    else:
        return None
    name = rows.names[0]
    last = index(blocks.nest.extent(name) - 1)
    known = {**place, name: call("min", add(tile.row_block, row), last)}
    return Prefetch(a.buffer, tuple(substitute(i, known) for i in a.index))


def _streams(a: Load, blocks: Blocks) -> bool:
    """Whether a group's rows of a plain product, which follow k, outgrow the second cache."""
    long = blocks.chunk_depth * blocks.tile.high >= _LONG
    return long and len(blocks.nest.dot.axes) == 1 and blocks.group_bytes > blocks.target.l2_bytes


def next_of_b(blocks: Blocks) -> Prefetch | None:
    """A line of the next column block's b, with each product: the tiles of a group fetch all of it
    among them. Fetched at once, the lines would keep the products' own waiting; and so they would
    with fewer than two tiles for each line of a row."""
    rows = blocks.all_rows // blocks.groups
    dot, tile = blocks.nest.dot, blocks.tile
    streams = blocks.panel is not None or blocks.streams_b
    if not streams or rows > _FEW_ROWS or len(dot.axes) != 1 or dot.where is not None:
        return None
    b, (axis,) = dot.body[1], dot.axes
    assert isinstance(b, Load)
    width = _LINE_BYTES // b.dtype.itemsize
    lines, tiles = -(-tile.wide // width), blocks.row_count // blocks.groups
    if tiles < 2 * lines:
        return None
    products = _products_for_a_row(tiles)
    start, _ = blocks.bounds(axis)
    own = sub(variable(ROW_WORK), blocks.group_start)
    first = add(start, mul(own, -(-blocks.chunk_depth // products)))
    k = add(first, floordiv(blocks.depth_index, products))
    block = call("min", add(variable("column.block"), 1), index(blocks.column_tiles - 1))
    column = add(mul(block, tile.wide), tile.first_column)
    line = mul(mod(blocks.depth_index, lines), width)
    place = {
        axis.name: call("min", k, index(axis.extent - 1)),
        blocks.nest.column: add(column, line),
    }
    return Prefetch(b.buffer, tuple(substitute(i, place) for i in b.index))


def _products_for_a_row(tiles: int) -> int:
    """For how many products a tile fetches lines of one row of b: a power of 2, the most for
    which the tiles of a group get through all rows."""
    return 1 << (tiles.bit_length() - 1)
