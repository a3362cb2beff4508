"""How the tiles of one size are gone through: blocks of k, groups of rows, panels of b.

A sum over many k is cut in blocks of the first axis, so that b's columns of a tile stay in their
part of the second cache. Where b's rows lie far apart, these columns are copied to a panel first,
for a group of rows. (Copies of a in the same manner were tried: they cost what they save.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

from graphc.loops import (
    Axis,
    Buffer,
    Expr,
    Kernel,
    Load,
    Local,
    Loop,
    Statement,
    Store,
    add,
    floordiv,
    index,
    load,
    mul,
    sub,
    variable,
)
from graphc.loops.affine import free_variables
from graphc.loops.build import call
from graphc.loops.substitute import substitute

from .contraction_nest import extent_of
from .contraction_tiles import Shape, Tile
from .elementwise import loads, stride, values

CHUNK, ROW_WORK = "k.block", "row.work"
_PANEL, _COLUMN = "panel", "tile.column"

# Rows that make up for copying a panel: the copy is then a few percent of the products.
_ROWS_FOR_PANEL = 64
_SEVERAL_LINES, _ROWS_FOR_WIDE_PANEL, _ROWS_FOR_SHORT_PANEL = 4, 256, 1024
# Rows of a group where there are enough items without: the copy then hardly counts.
_ROWS_IN_GROUP, _FEW_ITEMS = 1024, 4
# Rows of a group that reads b where it lies: each group streams all of it again.
_ROWS_WITHOUT_PANEL = 64
_LINE_BYTES = 64
# Work items to share out among threads, where there are rows enough.
_ITEMS = 16


class Blocks:
    """The loops over the tiles of one size, and what is copied for them."""

    def __init__(self, kernel: Kernel, shape: Shape, tile: Tile, counts: tuple[int, int]) -> None:
        self.kernel = kernel
        self.nest = shape.nest
        self.rows = shape.rows
        self.target = shape.target
        self.tile = tile
        self.row_tiles, self.column_tiles = counts

    # Loops

    @cached_property
    def rowwise(self) -> list[tuple[str, int]]:
        """Loops that b does not depend on, row blocks last."""
        read_by_b = free_variables(self.nest.dot.body[1])
        names = [loop.var for loop in self.nest.loops[:-1] if loop.var not in read_by_b]
        found = [(n, self.nest.extent(n)) for n in names if n not in self.rows.names]
        return [*found, ("row.block", self.row_tiles)]

    @cached_property
    def outer(self) -> list[tuple[str, int]]:
        """Loops that b depends on."""
        inner = {name for name, _ in self.rowwise} | set(self.rows.names)
        loops = self.nest.loops[:-1]
        return [(loop.var, extent_of(loop)) for loop in loops if loop.var not in inner]

    @cached_property
    def row_count(self) -> int:
        return math.prod(n for _, n in self.rowwise)

    @cached_property
    def all_rows(self) -> int:
        """Rows that read the same b, of tiles of every height."""
        others = self.row_count // self.row_tiles
        return others * self.nest.extent(self.rows.names[0]) * self.rows.step

    @property
    def panel_bytes(self) -> int:
        return self.nest.depth * self.tile.wide * self.nest.dot.dtype.itemsize

    @property
    def in_groups(self) -> bool:
        """Whether all rows of a group pass before the next columns."""
        return self._b_bytes > self.target.l2_bytes // 2 or self.panel is not None

    @property
    def streams_b(self) -> bool:
        """Whether b is read where it lies, and much larger than the second cache."""
        return self._b_bytes > 2 * self.target.l2_bytes and not self._copies_b

    @property
    def _b_bytes(self) -> int:
        return self.panel_bytes * self.column_tiles

    @cached_property
    def groups(self) -> int:
        """Parts that the rows are cut in: their part of a stays near while the columns pass,
        threads share the work, and copies of panels pay.

        a streams at a tenth of the rate of b, so that its part may outgrow the second cache.
        """
        rows = self.all_rows
        read = rows * self._row_bytes
        others = self.column_tiles * math.prod(n for _, n in self.outer)
        wanted = max(-(-read // (2 * self.target.l2_bytes)), -(-_ITEMS // others))
        least = _ROWS_IN_GROUP if others >= _FEW_ITEMS else _ROWS_FOR_PANEL
        if self.panel is None:
            least = _ROWS_WITHOUT_PANEL
        return min(wanted, max(1, rows // least))

    @property
    def _row_bytes(self) -> int:
        """What a row reads of a in a block of k."""
        return self.chunk_depth * self.nest.dot.dtype.itemsize

    @property
    def group_bytes(self) -> int:
        """What the rows of a group read of a in a block of k."""
        return self.all_rows // self.groups * self._row_bytes

    @property
    def group_start(self) -> Expr:
        """The first row block of a group, and of the next one."""
        return floordiv(mul(variable("group"), self.row_count), self.groups)

    @property
    def group_stop(self) -> Expr:
        return floordiv(mul(add(variable("group"), 1), self.row_count), self.groups)

    # Blocks of k

    @cached_property
    def chunk(self) -> int | None:
        """Elements of the first axis in a block, where a whole panel outgrows its cache.

        The parts of the second cache are measured. The next columns of a b that streams leave
        less of it; and so do a's lines, each with one k, that the next rows read.
        """
        axes = self.nest.dot.axes
        most, limit = self.target.l2_bytes // 4, self.target.l2_bytes // 8
        if self.takes_a_line_for_each_k:
            limit = min(limit, self._beside_lines_of_a)
            most = limit
        elif self.streams_b:
            most = limit
        if self.panel_bytes <= most or self.held is None:
            return None
        per_element = self.panel_bytes // axes[0].extent
        chunks = -(-axes[0].extent // max(1, limit // per_element))
        return -(-axes[0].extent // chunks) if chunks > 1 else None

    @property
    def _beside_lines_of_a(self) -> int:
        """Bytes of b's columns that stay in the first cache beside lines of a, one for each k.

        Where a row of b is several lines, products take longer than lines from the second cache.
        """
        row_bytes = self.tile.wide * self.nest.dot.dtype.itemsize
        if row_bytes > _LINE_BYTES:
            return self.target.l2_bytes
        return self.target.l1_bytes * 3 // 4 * row_bytes // (row_bytes + _LINE_BYTES)

    @property
    def takes_a_line_for_each_k(self) -> bool:
        """Whether a's neighbours along k lie in lines of their own."""
        a, axes = self.nest.dot.body[0], self.nest.dot.axes
        if not isinstance(a, Load) or not axes:
            return False
        step = stride(a, axes[-1].name, self.kernel)
        return step is not None and step * self.nest.dot.dtype.itemsize >= _LINE_BYTES

    @cached_property
    def chunks(self) -> int:
        return 1 if self.chunk is None else -(-self.nest.dot.axes[0].extent // self.chunk)

    @cached_property
    def chunk_depth(self) -> int:
        """Products of a sum in a block of k."""
        if self.chunk is None:
            return self.nest.depth
        return self.nest.depth // self.nest.dot.axes[0].extent * self.chunk

    @cached_property
    def held(self) -> Store | None:
        """The store whose buffer can hold sums between blocks of k."""
        if self.nest.window:
            return None
        for statement in self.nest.rest:
            if isinstance(statement, Store) and statement.guard is None:
                buffer = self.kernel.by_name[statement.buffer]
                if buffer.access == "out" and buffer.dtype == self.nest.dot.dtype:
                    return statement
        return None

    @cached_property
    def read_beside(self) -> list[Load]:
        """What the statements after the sums read of tensors that lie as the result does, and
        outgrow a small part of the second cache, which others use too."""
        found: dict[tuple[str, tuple[Expr, ...]], Load] = {}
        for read in (read for value in values(self.nest.rest) for read in loads(value)):
            large = self.kernel.by_name[read.buffer].nbytes > self.target.l2_bytes // 8
            if not large or read.guard is not None:
                continue
            by_rows = set(self.rows.names) & set().union(*map(free_variables, read.index))
            if by_rows and stride(read, self.nest.column, self.kernel) == 1:
                found.setdefault((read.buffer, read.index), read)
        return list(found.values())

    def bounds(self, axis: Axis) -> tuple[Expr, Expr]:
        """An axis within this block of k."""
        if self.chunk is None or axis is not self.nest.dot.axes[0]:
            return index(0), index(axis.extent)
        start = mul(variable(CHUNK), self.chunk)
        return start, call("min", add(start, self.chunk), index(axis.extent))

    @cached_property
    def depth_index(self) -> Expr:
        """The number of a product within its block of k."""
        first, *others = self.nest.dot.axes
        place: Expr = variable(first.name)
        if self.chunk is not None:
            place = sub(place, mul(variable(CHUNK), self.chunk))
        for axis in others:
            place = add(mul(place, axis.extent), variable(axis.name))
        return place

    # Panels of b

    @cached_property
    def panel(self) -> Buffer | None:
        if not self._copies_b:
            return None
        panel = Buffer(
            _PANEL, (self.chunk_depth, self.tile.wide), self.nest.dot.dtype, space="scratch"
        )
        return panel if panel.nbytes <= self.target.l2_bytes else None

    @cached_property
    def _copies_b(self) -> bool:
        """Whether b's rows lie far apart, and enough rows read a copy."""
        b, axes = self.nest.dot.body[1], self.nest.dot.axes
        assert isinstance(b, Load)
        if not axes:  # a product with one k has no panel
            return False
        step = stride(b, axes[-1].name, self.kernel)
        if self.all_rows < self._rows_for_panel or step is None or step <= self.tile.wide:
            return False
        width = self.target.vector_bytes // self.nest.dot.dtype.itemsize
        return self.panel_bytes >= self.target.l1_bytes // 2 and self.tile.wide % width == 0

    @property
    def _rows_for_panel(self) -> int:
        """Rows that make up for a panel's copy. Where a row of b is several lines, reading it
        where it lies costs less than that of one line, the less so in a short sum."""
        if self.tile.wide * self.nest.dot.dtype.itemsize < _SEVERAL_LINES * _LINE_BYTES:
            return _ROWS_FOR_PANEL
        short = self.panel_bytes <= self.target.l2_bytes // 8
        return _ROWS_FOR_SHORT_PANEL if short else _ROWS_FOR_WIDE_PANEL

    def pack_panel(self) -> Iterator[Statement]:
        if self.panel is None:
            return
        place = {self.nest.column: add(self.tile.column_block, variable(_COLUMN))}
        value = substitute(self.nest.dot.body[1], place)
        store = Store(_PANEL, (self.depth_index, variable(_COLUMN)), value)
        vector = Loop("vector", _COLUMN, index(0), index(self.tile.wide), (store,))
        yield Local(self.panel)
        yield self._over_k(vector)

    def _over_k(self, body: Statement) -> Statement:
        for axis in reversed(self.nest.dot.axes):
            body = Loop("serial", axis.name, *self.bounds(axis), (body,))
        return body

    def b(self, place: dict[str, Expr]) -> Expr:
        """b at a product, from its panel where there is one."""
        if self.panel is None:
            return substitute(self.nest.dot.body[1], place)
        return load(_PANEL, (self.depth_index, variable(_COLUMN)), self.panel.dtype)
