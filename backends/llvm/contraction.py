"""Contractions in register tiles: matmul, convolution and their gradients alike.

    parallel rows, columns:  let v = reduce dot (k...) a * b; lets; stores
    =>
    serial k.block:                                    where a sum is long
        parallel work (column block, rows):
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
    Load,
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
    sub,
    variable,
)
from graphc.loops.affine import free_variables
from graphc.loops.build import call
from graphc.loops.clamp import clamp
from graphc.loops.substitute import substitute
from graphc.target import Target

from .contraction_border import with_group_loop, without_border
from .contraction_nest import Nest, extent_of, take_apart
from .contraction_tiles import Shape, Tile
from .elementwise import stride, substituted

_ROW, _COLUMN, _TILE, _PANEL = "tile.row", "tile.column", "tile", "panel"
_CHUNK = "k.block"

# Rows that make up for copying a panel: the copy is then a few percent of the products.
_ROWS_FOR_PANEL = 64
# Steps of the innermost k, such as few channels, that are written out. Further out, steps share
# elements of a, which would then take registers.
_WRITTEN_OUT = 4
# Work items to share out among threads, where there are rows enough.
_ITEMS = 16


def tile_contraction(kernel: Kernel, target: Target) -> Kernel | None:
    """The tiled kernel, or None where this form does not fit."""
    return _tile_contraction(with_group_loop(kernel), target, whole=True)


def _tile_contraction(kernel: Kernel, target: Target, whole: bool) -> Kernel | None:
    nest = take_apart(kernel)
    if nest is None:
        return None
    settled = nest.has_wide_rows and not nest.has_conditions_on_window
    pieces = [kernel] if settled and not whole else without_border(kernel, nest)
    if len(pieces) > 1:
        tiled = [_tile_contraction(piece, target, whole=False) or piece for piece in pieces]
        return replace(kernel, body=tuple(s for piece in tiled for s in piece.body))
    if not nest.rows():
        return None
    plan = _Plan(kernel, nest, target)
    body = [plan.piece(tile, *counts) for tile, *counts in plan.shape.tiles()]
    return replace(kernel, body=tuple(body))


class _Plan:
    """How one contraction is cut, and the statements that follow."""

    def __init__(self, kernel: Kernel, nest: Nest, target: Target) -> None:
        self.kernel = kernel
        self.nest = nest
        self.target = target
        self.shape = Shape(nest, target)
        self.rows = self.shape.rows

    # Loops

    def piece(self, tile: Tile, row_tiles: int, column_tiles: int) -> Statement:
        """All tiles of one size: the loops over them, shared out among threads."""
        chunk = self._chunk(tile)
        panel = self._needs_panel(row_tiles, tile)
        inner = self._rowwise(row_tiles)
        outer = [(x.var, extent_of(x)) for x in self.nest.loops[:-1]]
        outer = [(name, n) for name, n in outer if name not in self.rows.names]
        outer = [(name, n) for name, n in outer if (name, n) not in inner]
        columns = [("column.block", column_tiles)]
        body = (*self._tile(tile, chunk, panel),)
        if panel is not None:
            count = math.prod(n for _, n in inner)
            groups = self._groups(count, tile, panel, column_tiles * math.prod(n for _, n in outer))
            start = floordiv(mul(variable("group"), count), groups)
            stop = floordiv(mul(add(variable("group"), 1), count), groups)
            body = (*_split("row.work", inner), *body)
            rows = Loop("serial", "row.work", start, stop, body)
            body = (*self._packed(tile, chunk, panel), rows)
            work = [*outer, ("group", groups), *columns]
        elif self._is_large(tile, column_tiles):
            work = [*outer, *columns, *inner]
        else:
            work = [*outer, *inner, *columns]
        loop = _shared_out(work, body)
        if chunk is None:
            return loop
        count = -(-self.nest.dot.axes[0].extent // chunk)
        return Loop("serial", _CHUNK, index(0), index(count), (loop,))

    def _rowwise(self, row_tiles: int) -> list[tuple[str, int]]:
        """Loops that b does not depend on, row blocks last."""
        read_by_b = free_variables(self.nest.dot.body[1])
        names = [loop.var for loop in self.nest.loops[:-1] if loop.var not in read_by_b]
        found = [(n, self.nest.extent(n)) for n in names if n not in self.rows.names]
        return [*found, ("row.block", row_tiles)]

    def _is_large(self, tile: Tile, column_tiles: int) -> bool:
        """Whether all of b does not stay in half of the second cache."""
        return self._panel_bytes(tile) * column_tiles > self.target.l2_bytes // 2

    def _panel_bytes(self, tile: Tile) -> int:
        return self.nest.depth * tile.wide * self.nest.dot.dtype.itemsize

    def _groups(self, blocks: int, tile: Tile, panel: Buffer, others: int) -> int:
        """Parts that the rows are cut in: their part of a stays in the second cache while the
        columns pass, threads share the work, and copies of panels pay."""
        rows = blocks * tile.high * self.rows.step
        read = rows * panel.shape[0] * panel.dtype.itemsize
        wanted = max(-(-read // (self.target.l2_bytes // 2)), -(-_ITEMS // others))
        return min(wanted, max(1, rows // _ROWS_FOR_PANEL))

    # Blocks of k

    def _chunk(self, tile: Tile) -> int | None:
        """Elements of the first axis in a block, where a whole panel outgrows its cache."""
        axes = self.nest.dot.axes
        limit = self.target.l2_bytes // 8
        if self._panel_bytes(tile) <= 2 * limit or self._held() is None:
            return None
        per_element = self._panel_bytes(tile) // axes[0].extent
        chunks = -(-axes[0].extent // max(1, limit // per_element))
        return -(-axes[0].extent // chunks) if chunks > 1 else None

    def _held(self) -> Store | None:
        """The store whose buffer can hold sums between blocks of k."""
        if self.nest.window:
            return None
        for statement in self.nest.rest:
            if isinstance(statement, Store) and statement.guard is None:
                buffer = self.kernel.by_name[statement.buffer]
                if buffer.access == "out" and buffer.dtype == self.nest.dot.dtype:
                    return statement
        return None

    # Panels of b

    def _needs_panel(self, row_tiles: int, tile: Tile) -> Buffer | None:
        """Scratch for a copy of b's columns, where neighbours along k lie apart."""
        b, axes = self.nest.dot.body[1], self.nest.dot.axes
        assert isinstance(b, Load)
        if not axes:  # a product with one k has no panel
            return None
        rows = math.prod(n for _, n in self._rowwise(row_tiles)) * tile.high * self.rows.step
        step = stride(b, axes[-1].name, self.kernel)
        dtype = self.nest.dot.dtype
        if rows < _ROWS_FOR_PANEL or step is None or step <= tile.wide:
            return None
        if self._panel_bytes(tile) < self.target.l1_bytes // 2 or tile.wide % self.shape.width:
            return None
        chunk = self._chunk(tile)
        depth = self.nest.depth
        if chunk is not None:
            depth = depth // axes[0].extent * chunk
        if depth * tile.wide * dtype.itemsize > self.target.l2_bytes:
            return None
        return Buffer(_PANEL, (depth, tile.wide), dtype, space="scratch")

    def _packed(self, tile: Tile, chunk: int | None, panel: Buffer) -> tuple[Statement, ...]:
        place = {self.nest.column: add(tile.column_block, variable(_COLUMN))}
        value = substitute(self.nest.dot.body[1], place)
        store = Store(_PANEL, (self._depth_index(chunk), variable(_COLUMN)), value)
        body: Statement = Loop("vector", _COLUMN, index(0), index(tile.wide), (store,))
        for position, axis in reversed(list(enumerate(self.nest.dot.axes))):
            bounds = _in_chunk(axis, chunk) if position == 0 else (index(0), index(axis.extent))
            body = Loop("serial", axis.name, *bounds, (body,))
        return Local(panel), body

    def _depth_index(self, chunk: int | None) -> Expr:
        """The number of a product within its block of k."""
        first, *others = self.nest.dot.axes
        place: Expr = variable(first.name)
        if chunk is not None:
            place = sub(place, mul(variable(_CHUNK), chunk))
        for axis in others:
            place = add(mul(place, axis.extent), variable(axis.name))
        return place

    # One tile

    def _tile(self, tile: Tile, chunk: int | None, panel: Buffer | None) -> Iterator[Statement]:
        if self.shape.apart:
            yield from self._tiles_apart(tile)
            return
        shape = (tile.high * self.rows.step, tile.wide)
        local = Buffer(_TILE, shape, self.nest.dot.dtype, space="register")
        yield from _cleared(local)
        if chunk is None:
            yield from self._products(tile, chunk, panel)
            yield self._finish(tile, self._window_sums(local))
            return
        held = self._held()
        assert held is not None
        place = self._place(tile)
        at = tuple(substitute(i, place) for i in held.index)
        last = -(-self.nest.dot.axes[0].extent // chunk) - 1
        resumed = _over(shape, (Store(_TILE, _AT, load(held.buffer, at, local.dtype)),))
        kept = _over(shape, (Store(held.buffer, at, load(_TILE, _AT, local.dtype)),))
        yield When(less(index(0), variable(_CHUNK)), (resumed,))
        yield from self._products(tile, chunk, panel)
        yield When(less(variable(_CHUNK), index(last)), (kept,))
        finish = self._finish(tile, self._window_sums(local))
        yield When(less(index(last - 1), variable(_CHUNK)), (finish,))

    def _tiles_apart(self, tile: Tile) -> Iterator[Statement]:
        """A tile for each position of the window, whose loops over k have bounds of their own."""
        window, place = self.nest.window, self._place(tile)
        sums: list[Expr] = []
        for number, position in enumerate(self.nest.positions):
            shape = (tile.high * self.rows.step, tile.wide)
            local = Buffer(f"{_TILE}.{number}", shape, self.nest.dot.dtype, space="register")
            known = {axis.name: index(n) for axis, n in zip(window, position, strict=True)}
            a, b = (substitute(part, place | known) for part in self.nest.dot.body)
            where = self.nest.dot.where
            where = None if where is None else substitute(where, known)
            yield from _cleared(local)
            contract = Contract(local.name, _ROW, _COLUMN, a, b)
            yield from _folds(self.nest.dot.axes, where, contract, None)
            sums.append(load(local.name, _AT, local.dtype))
        yield self._finish(tile, sums)

    def _place(self, tile: Tile) -> dict[str, Expr]:
        place = self.rows.place(variable(_ROW), tile.row_block)
        return place | {self.nest.column: add(tile.column_block, variable(_COLUMN))}

    def _products(self, tile: Tile, chunk: int | None, panel: Buffer | None) -> Sequence[Statement]:
        a, b = self.nest.dot.body
        place = self._place(tile)
        if panel is None:
            b = substitute(b, place)
        else:
            b = load(_PANEL, (self._depth_index(chunk), variable(_COLUMN)), panel.dtype)
        contract = Contract(_TILE, _ROW, _COLUMN, substitute(a, place), b)
        return _folds(self.nest.dot.axes, self.nest.dot.where, contract, chunk)

    def _window_sums(self, local: Buffer) -> list[Expr]:
        """The sum at each position of the window, which the tile's rows count through last."""
        size = self.nest.window_size
        row = mul(variable(_ROW), size)
        return [load(_TILE, (add(row, n), variable(_COLUMN)), local.dtype) for n in range(size)]

    def _finish(self, tile: Tile, sums: Sequence[Expr]) -> Statement:
        """What follows the sums, at every element of the result."""
        rows = replace(self.rows, window=())
        place = rows.place(variable(_ROW), tile.row_block)
        place[self.nest.column] = add(tile.column_block, variable(_COLUMN))
        body = tuple(substituted(s, place) for s in self.nest.finish(sums))
        return _over((tile.high * rows.step, tile.wide), body)


_AT = (variable(_ROW), variable(_COLUMN))


def _over(shape: tuple[int, ...], body: tuple[Statement, ...]) -> Statement:
    """At every element of a tile."""
    inner = Loop("vector", _COLUMN, index(0), index(shape[1]), body)
    return Loop("unroll", _ROW, index(0), index(shape[0]), (inner,))


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


def _in_chunk(axis: Axis, chunk: int | None) -> tuple[Expr, Expr]:
    if chunk is None:
        return index(0), index(axis.extent)
    start = mul(variable(_CHUNK), chunk)
    return start, call("min", add(start, chunk), index(axis.extent))


def _folds(
    axes: Sequence[Axis], where: Expr | None, contract: Contract, chunk: int | None
) -> tuple[Statement, ...]:
    """The loops over k; conditions become their bounds."""
    if not axes:
        return (contract,) if where is None else (When(where, (contract,)),)
    axis, inner = axes[0], axes[1:]
    lower, upper, left = clamp(axis.name, axis.extent, where, [other.name for other in inner])
    if chunk is not None:
        start, stop = _in_chunk(axis, chunk)
        lower, upper = call("max", lower, start), call("min", upper, stop)
    body = _folds(inner, left, contract, None)
    short = not inner and where is None and chunk is None and axis.extent <= _WRITTEN_OUT
    return (Loop("unroll" if short else "serial", axis.name, lower, upper, body),)
