"""Nests that work on local blocks (attention and its gradient): their inner loops in registers.

    parallel b, h:                                 parallel owner:
        local p[64, 64]                                local p[64, 64]
        parallel j, i: let s = reduce dot (e) a * b    serial blocks: tile = 0
                       p[j, i] = f(s)              =>      serial e: contract tile += a * b
                                                           unroll j: vector i: p[j, i] = f(tile)
        serial j: parallel i: top[i] = max(…)          serial j: vector i: registers = max(…)
        serial j: parallel i: p[j, i] = exp(…)         serial j: vector i: p[j, i] = exp(…)

The outer loops become one, so that threads share all blocks out. Products are added in the order
of the naive nest, so that no choice here changes a bit. Where a block has one query (`single_row`),
vectors lie along keys and a head's elements instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from graphc.loops import (
    Axis,
    Buffer,
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
    floordiv,
    index,
    load,
    mod,
    variable,
)
from graphc.loops.affine import affine, free_variables
from graphc.loops.expressions import Literal, children, with_children
from graphc.loops.kernel import LoopKind
from graphc.target import Target

from .attention_ahead import Ahead, Rows
from .elementwise import loads
from .register_products import Beside, Product
from .single_row import part, single, worth_crossing
from .transposed import tile_transposed


def tile_local_blocks(kernel: Kernel, target: Target) -> Kernel | None:
    """The kernel with its inner loops in registers; None where no nest has local buffers."""
    nests = [_take_apart(statement) for statement in kernel.body]
    if not any(_declares(body) for _, body in nests):
        return None
    if not all(loops for loops, _ in nests):
        nests = [([], kernel.body)]  # what stands outside of loops is shared by all that follows
    return replace(kernel, body=tuple(_shared_out(kernel, *nest, target) for nest in nests))


def _take_apart(statement: Statement) -> tuple[list[Loop], tuple[Statement, ...]]:
    """The outermost parallel loops that hold only one another, and what the last one holds."""
    loops: list[Loop] = []
    body: tuple[Statement, ...] = (statement,)
    while len(body) == 1 and isinstance(body[0], Loop) and body[0].kind == "parallel":
        if not isinstance(body[0].upper, Literal):
            break
        loops.append(body[0])
        body = body[0].body
    return loops, body


def _declares(body: Sequence[Statement]) -> bool:
    return any(
        _declares(s.body) if isinstance(s, Loop | When) else isinstance(s, Local) for s in body
    )


def _shared_out(
    kernel: Kernel, loops: Sequence[Loop], body: Sequence[Statement], target: Target
) -> Statement:
    """One parallel loop over all blocks, their indices taken from its number."""
    left: Expr = variable("owner")
    lets: list[Let] = []
    for loop in reversed(loops):
        outermost = loop is loops[0]
        lets.append(Let(loop.var, left if outermost else mod(left, _extent(loop))))
        left = floordiv(left, _extent(loop))
    total = math.prod(map(_extent, loops))
    ahead = Ahead(total, tuple(lets))
    inner = _Blocks(dict(kernel.by_name), target, ahead).body(body)
    return Loop("parallel", "owner", index(0), index(total), (*lets, *inner))


def _extent(loop: Loop) -> int:
    assert isinstance(loop.upper, Literal)
    return int(loop.upper.value)


Places: TypeAlias = Mapping[str, tuple[Expr, ...]]


@dataclass
class _Blocks:
    """Rewrites the statements of one owner; `buffers` are those in scope."""

    buffers: dict[str, Buffer]
    target: Target
    ahead: Ahead

    def body(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        return tuple(
            new
            for statement, fetched in self.ahead.share_out(statements, self.buffers)
            for new in self.statement(statement, fetched)
        )

    def statement(self, statement: Statement, fetched: Sequence[Rows]) -> Sequence[Statement]:
        match statement:
            case Local(buffer):
                self.buffers[buffer.name] = buffer
                return (statement,)
            case When(condition, body):
                return (When(condition, self.body(body)),)
            case Loop(kind="parallel"):
                return self._independent(statement, fetched)
            case Loop(kind="serial"):
                running = self._running(statement)
                if running:
                    return running
                self.ahead.loops.append(statement)
                body = self.body(statement.body)
                self.ahead.loops.pop()
                return (replace(statement, body=body),)
            case _:
                return (statement,)

    def _independent(self, statement: Loop, fetched: Sequence[Rows]) -> Sequence[Statement]:
        loops, body = _take_apart(statement)
        product = self._product(loops, body, fetched)
        if product is not None:
            return product
        crossed = self._crossed(loops, body)
        if crossed is not None:
            return crossed
        return (self._vectors(loops, body),)

    def _crossed(
        self, loops: Sequence[Loop], body: tuple[Statement, ...]
    ) -> tuple[Statement, ...] | None:
        for loop in reversed(loops):
            body = (replace(loop, body=body),)
        alone = Kernel("block", tuple(self.buffers.values()), body)
        crossed = tile_transposed(alone, self.target)
        return None if crossed is None else crossed.body

    # Elementwise

    def _vectors(self, loops: Sequence[Loop], body: tuple[Statement, ...]) -> Statement:
        """The innermost loop in vectors, where it stores neighbours."""
        stores = [s for s in body if isinstance(s, Store)]
        plain = len(stores) > 0 and all(isinstance(s, Let | Store) for s in body)
        in_vectors = plain and all(self._stride(s, loops[-1].var) == 1 for s in stores)
        for loop in reversed(loops):
            wide = in_vectors and loop is loops[-1] and _extent(loop) > 1
            body = (replace(loop, kind="vector" if wide else "serial", body=body),)
        return body[0]

    def _stride(self, access: Load | Store, name: str) -> int | None:
        total = 0
        strides = self.buffers[access.buffer].strides
        for expr, stride in zip(access.index, strides, strict=True):
            form = affine(expr)
            if form is None or form.hides(name):
                return None
            total += stride * form.coefficient(name)
        return total

    def _running(self, loop: Loop) -> Sequence[Statement] | None:
        """A fold along `loop` of rows side by side: what it updates stays in registers."""
        if all(isinstance(s, Let | Store) for s in loop.body):
            return self._of_one_row(loop)
        if len(loop.body) != 1 or not isinstance(loop.body[0], Loop):
            return None
        inner = loop.body[0]
        if inner.kind != "parallel" or not isinstance(inner.upper, Literal):
            return None
        if not all(isinstance(s, Let | Store) for s in inner.body) or _extent(inner) < 2:
            return None
        held = self._accumulators(loop, inner)
        return self._in_registers(loop, inner, held) if held else None

    def _of_one_row(self, loop: Loop) -> Sequence[Statement] | None:
        """What does not wait for the iteration before goes ahead, in vectors along `loop`."""
        held = [b for b in self._stored(loop) if b.space == "scratch" and b.shape == (1,)]
        parted = part(loop, {buffer.name for buffer in held}) if held else None
        if parted is None:
            return None
        rows, ahead, behind = parted
        self.buffers.update((row.name, row) for row in rows)
        before = [self._vectors([loop], ahead)] if ahead else []
        places = {buffer.name: (index(0),) for buffer in held}
        folded = self._in_registers(loop, single(behind), places)
        return (*map(Local, rows), *before, *folded)

    def _in_registers(self, loop: Loop, inner: Loop, held: Places) -> Sequence[Statement]:
        """`held` are the rows that `inner` updates, and where; the buffers hold more, maybe."""
        kind: LoopKind = "vector" if _extent(inner) > 1 else "unroll"
        own = (index(0), variable(inner.var))
        registers, fill, spill = [], [], []
        for name, at in held.items():
            buffer = self.buffers[name]
            row = Buffer(f"{name}.{loop.var}", (1, _extent(inner)), buffer.dtype, space="register")
            registers.append(row)
            fill.append(Store(row.name, own, load(name, at, row.dtype)))
            spill.append(Store(name, at, load(row.name, own, row.dtype)))
        names = {name: row.name for name, row in zip(held, registers, strict=True)}
        body = tuple(_renamed(s, names, own) for s in inner.body)
        return (
            *map(Local, registers),
            replace(inner, kind=kind, body=tuple(fill)),
            replace(loop, body=(replace(inner, kind=kind, body=body),)),
            replace(inner, kind=kind, body=tuple(spill)),
        )

    def _accumulators(self, loop: Loop, inner: Loop) -> Places:
        """Local rows that `inner` stores to and reads at one place, its own in each round."""
        stores = [s for s in inner.body if isinstance(s, Store)]
        if not all(self._stride(s, inner.var) == 1 for s in stores):
            return {}
        used: dict[str, set[tuple[Expr, ...]]] = {s.buffer: set() for s in stores}
        for s in inner.body:
            assert isinstance(s, Let | Store)
            found: list[Load | Store] = [*loads(s.value)]
            found += [s] if isinstance(s, Store) else []
            for access in found:
                used.get(access.buffer, set()).add(access.index)
        return {
            name: next(iter(places))
            for name, places in used.items()
            if self.buffers[name].space == "scratch"
            and len(self.buffers[name].shape) == len(places) == 1
            and all(loop.var not in free_variables(*at) for at in places)
        }

    def _stored(self, loop: Loop) -> list[Buffer]:
        found = dict.fromkeys(s.buffer for s in loop.body if isinstance(s, Store))
        return [self.buffers[name] for name in found]

    # Products

    def _product(
        self, loops: Sequence[Loop], body: tuple[Statement, ...], fetched: Sequence[Rows]
    ) -> Sequence[Statement] | None:
        """Register tiles of a sum of products over two loops; None where it is something else."""
        if len(loops) == 1:
            loops = [single(()), *loops]
        if len(loops) != 2 or not isinstance(body[0], Let):
            return None
        fold = body[0].value
        if not isinstance(fold, Reduce) or fold.combine != "dot" or len(fold.axes) != 1:
            return None
        row, column = (loop.var for loop in loops)
        a, b = fold.body
        if column in free_variables(a):
            a, b = b, a
        stores = [s for s in body if isinstance(s, Store)]
        fits = column not in free_variables(a) and row not in free_variables(b)
        if not fits or not isinstance(b, Load) or fold.where is not None:
            return None
        if not all(self._stride(s, column) == 1 for s in stores):
            return None
        before: tuple[Statement, ...] = ()
        if self._stride(b, column) != 1:
            found = self._turned(f"{body[0].name}.t", b, fold.axes[0], loops[1])
            if found is None:
                return None
            before, b = found
        product = Product(body[0].name, replace(fold, body=(a, b)), row, column, body[1:])

        def fetch(tile: Expr, tiles: int, steps: int) -> Beside:
            return self.ahead.fetch(fetched, tile, tiles, steps)

        high, wide = map(_extent, loops)
        return *before, *product.in_tiles(high, wide, self.target, fetch)

    def _turned(
        self, name: str, b: Load, axis: Axis, column: Loop
    ) -> tuple[tuple[Statement, ...], Load] | None:
        """A copy of `b` whose neighbours lie along the column, and the load of it instead."""
        copy = Buffer(name, (axis.extent, _extent(column)), b.dtype, space="scratch")
        if self._stride(b, axis.name) != 1 or not worth_crossing(copy, self.target):
            return None
        self.buffers[name] = copy
        at = (variable(axis.name), variable(column.var))
        along = Loop("parallel", axis.name, index(0), index(axis.extent), ())
        copied = self._crossed((along, column), (Store(name, at, b),))
        if copied is None:
            return None
        return (Local(copy), *copied), Load(name, at, b.dtype)


def _renamed(statement: Statement, names: Mapping[str, str], own: tuple[Expr, ...]) -> Statement:
    """A let or store with rows in registers instead: tiles of one row, by their names."""
    assert isinstance(statement, Let | Store)
    value = _loads_renamed(statement.value, names, own)
    if isinstance(statement, Store) and statement.buffer in names:
        return Store(names[statement.buffer], own, value)
    return replace(statement, value=value)


def _loads_renamed(expr: Expr, names: Mapping[str, str], own: tuple[Expr, ...]) -> Expr:
    parts = tuple(_loads_renamed(part, names, own) for part in children(expr))
    expr = with_children(expr, parts)
    if isinstance(expr, Load) and expr.buffer in names:
        return replace(expr, buffer=names[expr.buffer], index=own)
    return expr
