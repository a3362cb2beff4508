"""Contractions in register tiles: matmul, convolution and their gradients alike.

    parallel rows, columns:  let v = reduce dot (k...) a * b; lets; stores
    =>
    parallel work: tile = 0
                   for k...: contract tile[row, column] += a * b
                   unroll row: vector column: lets; stores, v read from the tile

Vectors run along the column, the result's fastest index, which only b reads, with neighbours in
memory. Rows are the one index, read by a alone and by no condition, that is cut in tiles. Products
are added in the order of k with one fma each, so tiles of any size give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    Reduce,
    Statement,
    Store,
    When,
    add,
    const,
    floordiv,
    index,
    load,
    mod,
    mul,
    variable,
)
from graphc.loops.affine import affine, free_variables
from graphc.loops.clamp import clamp, conjuncts
from graphc.loops.expressions import Literal, children
from graphc.loops.intervals import Interval
from graphc.loops.simplify import always_holds, simplify_kernel
from graphc.loops.substitute import substitute
from graphc.target import Target

from .elementwise import substituted

_ROW, _COLUMN, _TILE = "tile.row", "tile.column", "tile"


@dataclass(frozen=True)
class _Nest:
    """A naive contraction kernel taken apart."""

    loops: tuple[Loop, ...]
    name: str
    reduce: Reduce
    rest: tuple[Statement, ...]

    def extent(self, name: str) -> int:
        return next(_count(loop) for loop in self.loops if loop.var == name)


def tile_contraction(kernel: Kernel, target: Target) -> Kernel | None:
    """The tiled kernel, or None where this form does not fit."""
    nest = _take_apart(kernel)
    if nest is None:
        return None
    column = nest.loops[-1].var
    a, b = nest.reduce.body
    if not _is_column(nest, column, a, b, kernel):
        return None
    pieces = _without_border(kernel, nest, column)
    if len(pieces) > 1:
        tiled = [tile_contraction(piece, target) or piece for piece in pieces]
        return replace(kernel, body=tuple(s for piece in tiled for s in piece.body))
    row = _choose_row(nest, column, a, b)
    return None if row is None else _tiled(kernel, nest, row, column, target)


def _without_border(kernel: Kernel, nest: _Nest, column: str) -> list[Kernel]:
    """The kernel cut along one index so that conditions on it hold throughout the widest piece.

    Rows of a tile must share their conditions. Along the padded width of an image they do,
    except at the two borders, which become pieces of their own.
    """
    read_by_b = free_variables(nest.reduce.body[1])
    for loop in reversed(nest.loops):
        name, extent = loop.var, _count(loop)
        where = nest.reduce.where
        usable = where is not None and name in free_variables(where)
        if not usable or name == column or extent < 8 or name in read_by_b:
            continue
        reach = next((r for r in range(1, 4) if _holds(nest, name, r, extent - r)), 0)
        if reach:
            cuts = [(0, reach), (reach, extent - reach), (extent - reach, extent)]
            return [_piece(kernel, nest, name, *cut) for cut in cuts]
    return [kernel]


def _holds(nest: _Nest, name: str, lower: int, upper: int) -> bool:
    """Whether no condition on the index is left where it runs from `lower` to `upper`."""
    ranges = {loop.var: Interval(0, _count(loop) - 1) for loop in nest.loops}
    ranges |= {axis.name: Interval(0, axis.extent - 1) for axis in nest.reduce.axes}
    ranges[name] = Interval(lower, upper - 1)
    conditions = [c for c in conjuncts(nest.reduce.where) if name in free_variables(c)]
    return all(always_holds(condition, ranges) for condition in conditions)


def _piece(kernel: Kernel, nest: _Nest, name: str, lower: int, upper: int) -> Kernel:
    """The kernel for part of an index's range."""
    body: tuple[Statement, ...] = (Let(nest.name, nest.reduce), *nest.rest)
    body = tuple(substituted(s, {name: add(variable(name), lower)}) for s in body)
    for loop in reversed(nest.loops):
        count = upper - lower if loop.var == name else _count(loop)
        body = (Loop("parallel", loop.var, index(0), index(count), body),)
    return simplify_kernel(replace(kernel, body=body))


def _take_apart(kernel: Kernel) -> _Nest | None:
    loops: list[Loop] = []
    body: Sequence[Statement] = kernel.body
    while len(body) == 1 and isinstance(body[0], Loop) and body[0].kind == "parallel":
        loops.append(body[0])
        body = body[0].body
    folds = [s for s in body if isinstance(s, Let) and isinstance(s.value, Reduce)]
    if not loops or len(folds) != 1:
        return None
    reduce, rest = folds[0].value, tuple(s for s in body if s is not folds[0])
    if not isinstance(reduce, Reduce) or reduce.combine != "dot" or not reduce.dtype.is_float:
        return None
    if not all(isinstance(s, Let | Store) and not _has_reduce(s.value) for s in rest):
        return None
    before = {s.name for s in body[: body.index(folds[0])] if isinstance(s, Let)}
    if before & free_variables(reduce):
        return None
    return _Nest(tuple(loops), folds[0].name, reduce, rest)


def _has_reduce(expr: Expr) -> bool:
    return isinstance(expr, Reduce) or any(map(_has_reduce, children(expr)))


def _count(loop: Loop) -> int:
    if isinstance(loop.lower, Literal) and isinstance(loop.upper, Literal):
        return int(loop.upper.value) - int(loop.lower.value)
    return 0


def _is_column(nest: _Nest, name: str, a: Expr, b: Expr, kernel: Kernel) -> bool:
    """Only b depends on the column, and its neighbours lie side by side, in all stores too."""
    where = nest.reduce.where
    if name in free_variables(a) or (where is not None and name in free_variables(where)):
        return False
    if not isinstance(b, Load) or b.guard is not None or _stride(b, name, kernel) != 1:
        return False
    stores = [s for s in nest.rest if isinstance(s, Store)]
    return all(_stride(store, name, kernel) == 1 for store in stores)


def _stride(access: Load | Store, name: str, kernel: Kernel) -> int | None:
    total = 0
    for expr, stride in zip(access.index, kernel.by_name[access.buffer].strides, strict=True):
        form = affine(expr)
        if form is None or form.hides(name):
            return None
        total += stride * form.coefficient(name)
    return total


def _choose_row(nest: _Nest, column: str, a: Expr, b: Expr) -> str | None:
    """The widest index that only a reads and no condition does; the fastest of equals."""
    conditions = set() if nest.reduce.where is None else free_variables(nest.reduce.where)
    blocked = {column} | free_variables(b) | conditions
    names = [loop.var for loop in nest.loops if loop.var not in blocked]
    names = [name for name in names if name in free_variables(a)]
    if not names:
        return None
    full = [name for name in names if nest.extent(name) >= 8]
    return full[-1] if full else max(names, key=nest.extent)


def _tiled(kernel: Kernel, nest: _Nest, row: str, column: str, target: Target) -> Kernel:
    width = max(1, target.vector_bytes // nest.reduce.dtype.itemsize)
    rows, columns = nest.extent(row), nest.extent(column)
    body: list[Statement] = []
    for first_column, column_tiles, wide in _cut(columns, width, rows, target):
        most = _most_rows(-(-wide // width), target)
        for first_row, row_tiles, high in _balanced(rows, most):
            tile = _Tile(row, column, high, wide, first_row, first_column)
            body.append(_work(kernel, nest, tile, row_tiles, column_tiles, target))
    return replace(kernel, body=tuple(body))


def _most_rows(vectors: int, target: Target) -> int:
    """Rows whose accumulators fit in registers beside one row of b, an element of a and, without
    fma, a product."""
    spare = target.registers - vectors - (1 if target.fma else 2)
    return max(1, spare // vectors)


def _cut(columns: int, width: int, rows: int, target: Target) -> list[tuple[int, int, int]]:
    """(first, number of tiles, columns of each): tiles of up to four vectors, nearly equal.

    Wider tiles load fewer elements of a for each product; but a few rows must fit beside them.
    """
    most = next((v for v in (4, 3, 2) if _most_rows(v, target) >= min(6, rows)), 1)
    tiles = []
    for first, count, vectors in _balanced(-(-columns // width), most):
        wide = vectors * width
        rest = columns - (first + (count - 1) * vectors) * width
        if rest < wide:
            tiles += [(first * width, count - 1, wide)] * (count > 1)
            tiles.append((columns - rest, 1, rest))
        else:
            tiles.append((first * width, count, wide))
    return tiles


def _balanced(extent: int, most: int) -> list[tuple[int, int, int]]:
    """Tiles of nearly equal size: a short last one would run at the latency of its few sums."""
    tiles = -(-extent // most)
    small, larger = divmod(extent, tiles)
    cut = [(0, larger, small + 1)] * bool(larger)
    return cut + [(larger * (small + 1), tiles - larger, small)] * bool(tiles - larger)


@dataclass(frozen=True)
class _Tile:
    row: str
    column: str
    high: int
    wide: int
    first_row: int
    first_column: int

    @property
    def row_block(self) -> Expr:
        return add(mul(variable("row.block"), self.high), self.first_row)

    @property
    def column_block(self) -> Expr:
        return add(mul(variable("column.block"), self.wide), self.first_column)


def _work(
    kernel: Kernel, nest: _Nest, tile: _Tile, row_tiles: int, column_tiles: int, target: Target
) -> Statement:
    """The loops over tiles of one size. The widest loop is shared out among threads."""
    local = Buffer(_TILE, (tile.high, tile.wide), nest.reduce.dtype, space="register")
    body: tuple[Statement, ...] = (Local(local), _clear(local), *_products(nest, tile))
    body += (_finish(nest, tile, local),)
    loops = [(loop.var, _count(loop)) for loop in nest.loops[:-1] if loop.var != tile.row]
    loops += [("row.block", row_tiles), ("column.block", column_tiles)]
    if _panel_bytes(nest, tile) * column_tiles > target.l2_bytes // 2:
        loops.insert(0, loops.pop())
    names = [name for name, count in loops if count > 1]
    fixed = {name: index(0) for name, count in loops if count == 1}
    body = tuple(substituted(s, fixed) for s in body)
    return _shared_out(names, dict(loops), body)


def _panel_bytes(nest: _Nest, tile: _Tile) -> int:
    depth = 1
    for axis in nest.reduce.axes:
        depth *= axis.extent
    return depth * tile.wide * nest.reduce.dtype.itemsize


def _shared_out(
    names: Sequence[str], counts: dict[str, int], body: tuple[Statement, ...]
) -> Statement:
    """One parallel loop over all tiles, their indices taken from its number."""
    total = 1
    for name in names:
        total *= counts[name]
    lets: list[Statement] = []
    left: Expr = variable("work")
    for name in reversed(names):
        whole = name == names[0]
        lets.append(Let(name, left if whole else mod(left, counts[name])))
        left = floordiv(left, counts[name])
    return Loop("parallel", "work", index(0), index(total), (*lets, *body))


def _clear(local: Buffer) -> Statement:
    zero = const(0, local.dtype)
    store = Store(_TILE, (variable(_ROW), variable(_COLUMN)), zero)
    inner = Loop("vector", _COLUMN, index(0), index(local.shape[1]), (store,))
    return Loop("unroll", _ROW, index(0), index(local.shape[0]), (inner,))


def _products(nest: _Nest, tile: _Tile) -> Sequence[Statement]:
    a, b = nest.reduce.body
    place = {
        tile.row: add(tile.row_block, variable(_ROW)),
        tile.column: add(tile.column_block, variable(_COLUMN)),
    }
    contract = Contract(_TILE, _ROW, _COLUMN, substitute(a, place), substitute(b, place))
    return _folds(nest.reduce.axes, nest.reduce.where, contract)


def _folds(axes: Sequence[Axis], where: Expr | None, contract: Contract) -> tuple[Statement, ...]:
    if not axes:
        return (contract,) if where is None else (When(where, (contract,)),)
    axis, inner = axes[0], axes[1:]
    lower, upper, left = clamp(axis.name, axis.extent, where, [other.name for other in inner])
    body = _folds(inner, left, contract)
    return (Loop("serial", axis.name, lower, upper, body),)


def _finish(nest: _Nest, tile: _Tile, local: Buffer) -> Statement:
    """What follows the sum, at every element of the tile."""
    result = load(_TILE, (variable(_ROW), variable(_COLUMN)), local.dtype)
    place = {
        tile.row: add(tile.row_block, variable(_ROW)),
        tile.column: add(tile.column_block, variable(_COLUMN)),
        nest.name: result,
    }
    body = tuple(substituted(s, place) for s in nest.rest)
    inner = Loop("vector", _COLUMN, index(0), index(tile.wide), body)
    return Loop("unroll", _ROW, index(0), index(tile.high), (inner,))
