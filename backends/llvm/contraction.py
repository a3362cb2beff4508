"""Contractions in register tiles: matmul, convolution and their gradients alike.

    parallel rows, columns:  let v = reduce dot (k...) a * b; lets; stores
    =>
    serial k.block:                                    where a sum is long
        parallel work (group of rows, column block):
            panel = b of this block                    where its rows lie far apart
            serial row block:
                tile = 0, or what the last k block left in the result
                for k...: contract tile[row, column] += a * b
                unroll row: vector column: lets; stores, v read from the tile

Products are added in the order of k with one fma each, so tiles and blocks of any size give the
same bits. A k block needs no barrier: each thread meets its own tiles again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphc.loops import (
    Axis,
    Buffer,
    Contract,
    Expr,
    Kernel,
    Let,
    Local,
    Loop,
    Statement,
    Store,
    When,
    add,
    const,
    floordiv,
    index,
    less,
    load,
    mod,
    mul,
    variable,
)
from graphc.loops.build import call
from graphc.loops.clamp import clamp
from graphc.loops.kernel import LoopKind
from graphc.loops.substitute import substitute
from graphc.target import Target

from .contraction_ahead import fetch_beside, fetch_held, next_of_a, next_of_b
from .contraction_blocks import CHUNK, ROW_WORK, Blocks
from .contraction_border import with_group_loop, without_border
from .contraction_nest import take_apart
from .contraction_strided import without_strides
from .contraction_tiles import Shape, Tile
from .elementwise import substituted

_ROW, _COLUMN, _TILE, _SUMS = "tile.row", "tile.column", "tile", "sums"

# Steps of the innermost k, such as few channels, that are written out. Further out, steps share
# elements of a, which would then take registers.
_WRITTEN_OUT = 4


def tile_contraction(kernel: Kernel, target: Target) -> Kernel | None:
    """The tiled kernel, or None where this form does not fit."""
    return _tile_contraction(with_group_loop(kernel), target, whole=True)


def _tile_contraction(kernel: Kernel, target: Target, whole: bool) -> Kernel | None:
    nest = take_apart(kernel)
    if nest is None:
        return None
    settled = nest.has_wide_rows and not nest.has_conditions_on_window
    pieces = without_strides(kernel, nest)
    whole_pieces = whole and len(pieces) > 1
    if len(pieces) == 1 and (whole or not settled):
        pieces = without_border(kernel, nest)
    if len(pieces) > 1:
        tiled = [_tile_contraction(piece, target, whole_pieces) or piece for piece in pieces]
        return replace(kernel, body=tuple(s for piece in tiled for s in piece.body))
    if not nest.rows():
        return None
    shape = Shape(nest, target)
    body: list[Statement] = []
    for column_tiles, heights in shape.tiles():
        sizes = [_Size(kernel, shape, tile, (count, column_tiles)) for tile, count in heights]
        body += _in_blocks_of_k(sizes)
    return replace(kernel, body=tuple(body))


def _in_blocks_of_k(sizes: Sequence[_Size]) -> Sequence[Statement]:
    """All tiles of one width; blocks of k around them where there are several."""
    loops, blocks = _over_tiles(sizes), sizes[0].blocks
    if blocks.chunk is None:
        return loops
    return (Loop("serial", CHUNK, index(0), index(blocks.chunks), tuple(loops)),)


def _over_tiles(sizes: Sequence[_Size]) -> Sequence[Statement]:
    """The tiles, shared out among threads.

    Where b outgrows half of the second cache or is copied, all rows of a group pass before the
    next columns, tiles of all heights among them: otherwise the few of the other height would
    fetch all of b once more.
    """
    blocks = sizes[0].blocks
    if not blocks.in_groups:
        return [size.rows_outermost() for size in sizes]
    work = [*blocks.outer, ("group", blocks.groups), ("column.block", blocks.column_tiles)]
    rows = [size.rows_of_a_group() for size in sizes]
    return [_shared_out(work, (*blocks.pack_panel(), *rows))]


class _Size:
    """The tiles of one size: the loops over them and the statements inside."""

    def __init__(self, kernel: Kernel, shape: Shape, tile: Tile, counts: tuple[int, int]) -> None:
        self.nest = shape.nest
        self.shape = shape
        self.rows = shape.rows
        self.tile = tile
        self.blocks = Blocks(kernel, shape, tile, counts)

    def rows_outermost(self) -> Statement:
        blocks = self.blocks
        work = [*blocks.outer, *blocks.rowwise, ("column.block", blocks.column_tiles)]
        return _shared_out(work, tuple(self._body()))

    def rows_of_a_group(self) -> Statement:
        blocks = self.blocks
        body = (*_split(ROW_WORK, blocks.rowwise), *self._body())
        return Loop("serial", ROW_WORK, blocks.group_start, blocks.group_stop, body)

    # One tile

    def _body(self) -> Iterator[Statement]:
        if self.shape.apart:
            yield from self._tiles_apart()
            return
        shape = (self.tile.high * self.rows.step, self.tile.wide)
        local = Buffer(_TILE, shape, self.nest.dot.dtype, space="register")
        sums = self._window_sums(local)
        yield from _cleared(local)
        beside = tuple(fetch_beside(self.blocks, self._finish_place(), shape))
        if self.blocks.chunk is None:
            yield from beside
            yield from self._products()
            yield from self._finish(sums)
            return
        held, place = self.blocks.held, self._place()
        assert held is not None
        at = tuple(substitute(i, place) for i in held.index)
        last = self.blocks.chunks - 1
        resumed = _over(shape, (Store(_TILE, _AT, load(held.buffer, at, local.dtype)),))
        kept = _over(shape, (Store(held.buffer, at, load(_TILE, _AT, local.dtype)),))
        yield from fetch_held(self.blocks, held, place, shape)
        yield When(less(index(0), variable(CHUNK)), (resumed,))
        if beside:
            yield When(less(index(last - 1), variable(CHUNK)), beside)
        yield from self._products()
        yield When(less(variable(CHUNK), index(last)), (kept,))
        yield When(less(index(last - 1), variable(CHUNK)), tuple(self._finish(sums)))

    def _tiles_apart(self) -> Iterator[Statement]:
        """A tile for each position of the window, whose loops over k have bounds of their own.

        Their sums are put down in the first cache, so that each tile has all registers.
        """
        place, dot = self._place(), self.nest.dot
        shape = (self.tile.high * self.rows.step, self.tile.wide)
        put = Buffer(_SUMS, (len(self.nest.positions), *shape), dot.dtype, space="scratch")
        yield Local(put)
        sums: list[Expr] = []
        for number, position in enumerate(self.nest.positions):
            local = Buffer(f"{_TILE}.{number}", shape, dot.dtype, space="register")
            known = {x.name: index(n) for x, n in zip(self.nest.window, position, strict=True)}
            a, b = (substitute(part, place | known) for part in dot.body)
            where = None if dot.where is None else substitute(dot.where, known)
            yield from _cleared(local)
            yield from self._folds(dot.axes, where, (Contract(local.name, _ROW, _COLUMN, a, b),))
            at = (index(number), *_AT)
            yield _over(shape, (Store(_SUMS, at, load(local.name, _AT, dot.dtype)),))
            sums.append(load(_SUMS, at, dot.dtype))
        yield from self._finish(sums)

    def _place(self) -> dict[str, Expr]:
        place = self.rows.place(variable(_ROW), self.tile.row_block)
        return place | {self.nest.column: add(self.tile.column_block, variable(_COLUMN))}

    def _products(self) -> Sequence[Statement]:
        place = self._place()
        a = substitute(self.nest.dot.body[0], place)
        contract = Contract(_TILE, _ROW, _COLUMN, a, self.blocks.b(place))
        ahead = next_of_a(self.blocks, place), next_of_b(self.blocks)
        body: list[Statement] = [fetch for fetch in ahead if fetch is not None]
        return self._folds(self.nest.dot.axes, self.nest.dot.where, (*body, contract))

    def _folds(
        self, axes: Sequence[Axis], where: Expr | None, products: tuple[Statement, ...]
    ) -> tuple[Statement, ...]:
        """The loops over k; conditions become their bounds."""
        if not axes:
            return products if where is None else (When(where, products),)
        axis, inner = axes[0], axes[1:]
        lower, upper, left = clamp(axis.name, axis.extent, where, [other.name for other in inner])
        if self.blocks.chunk is not None and axis is self.nest.dot.axes[0]:
            start, stop = self.blocks.bounds(axis)
            lower, upper = call("max", lower, start), call("min", upper, stop)
        body = self._folds(inner, left, products)
        chunked = self.blocks.chunk is not None
        short = not inner and where is None and not chunked and axis.extent <= _WRITTEN_OUT
        return (Loop("unroll" if short else "serial", axis.name, lower, upper, body),)

    # What follows the sums

    def _finish_place(self) -> dict[str, Expr]:
        """Each index of the result at an element of the tile."""
        rows = replace(self.rows, window=())
        place = rows.place(variable(_ROW), self.tile.row_block)
        return place | {self.nest.column: add(self.tile.column_block, variable(_COLUMN))}

    def _window_sums(self, local: Buffer) -> list[Expr]:
        """The sum at each position of the window, which the tile's rows count through last."""
        size = self.nest.window_size
        row = mul(variable(_ROW), size)
        return [load(_TILE, (add(row, n), variable(_COLUMN)), local.dtype) for n in range(size)]

    def _finish(self, sums: Sequence[Expr]) -> Iterator[Statement]:
        """The statements after the sums, at every element of the result.

        Written out over the tile where they are few. Long formulas run in a loop, on sums that
        are put down first: written out, they would push the tile out of its registers.
        """
        place, rows = self._finish_place(), replace(self.rows, window=())
        shape = (self.tile.high * rows.step, self.tile.wide)
        long = self.nest.has_formulas and len(sums) == 1
        if long:
            put = Buffer(_SUMS, shape, self.nest.dot.dtype, space="scratch")
            yield Local(put)
            yield _over(shape, (Store(_SUMS, _AT, sums[0]),))
            sums = [load(_SUMS, _AT, put.dtype)]
        body = tuple(substituted(s, place) for s in self.nest.finish(sums))
        yield _over(shape, body, "serial" if long else "unroll")


_AT = (variable(_ROW), variable(_COLUMN))


def _over(
    shape: tuple[int, ...], body: tuple[Statement, ...], rows: LoopKind = "unroll"
) -> Statement:
    """At every element of a tile."""
    inner = Loop("vector", _COLUMN, index(0), index(shape[1]), body)
    return Loop(rows, _ROW, index(0), index(shape[0]), (inner,))


def _cleared(local: Buffer) -> Iterator[Statement]:
    """A tile of zeros."""
    yield Local(local)
    yield _over(local.shape, (Store(local.name, _AT, const(0, local.dtype)),))


def _split(name: str, loops: Sequence[tuple[str, int]]) -> Iterator[Statement]:
    """The indexes of loops that `name` counts through together."""
    left: Expr = variable(name)
    for position, (inner, count) in reversed(list(enumerate(loops))):
        yield Let(inner, left if position == 0 else mod(left, count))
        left = floordiv(left, count)


def _shared_out(loops: Sequence[tuple[str, int]], body: tuple[Statement, ...]) -> Statement:
    """One parallel loop over all tiles, their indexes taken from its number."""
    fixed = {name: index(0) for name, count in loops if count == 1}
    loops = [(name, count) for name, count in loops if count > 1]
    body = tuple(substituted(s, fixed) for s in body)
    total = math.prod(count for _, count in loops)
    return Loop("parallel", "work", index(0), index(total), (*_split("work", loops), *body))
