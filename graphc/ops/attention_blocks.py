"""Building blocks of the attention nests: loops over blocks, local buffers, masked scores.

Queries and keys are taken in blocks. The key block of 64 is part of the meaning, since the sums
over keys are cut there; the block of queries is not, and shrinks where wide heads would not fit.
Local tiles have the query as their last dimension, so that a softmax over keys never folds along
a vector.

In causal order, blocks of keys after all of a block's queries are left out, and those before them
have no mask. Where both kinds of block are of 64 only one block of keys crosses a block of queries;
it is cut into strips of 16, which leaves out three eighths of its products:

    keys     0..16 with queries 0..64           queries  0..16 with keys 0..16
            16..32             16..64                   16..32          0..32
            32..48             32..64                   32..48          0..48
            48..64             48..64                   48..64          0..64
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from graphc.dtypes import DType, bool_, int32, uint32
from graphc.loops import (
    Axis,
    Buffer,
    Expr,
    Let,
    Local,
    Loop,
    Statement,
    Store,
    Variable,
    When,
    add,
    call,
    cast,
    const,
    floordiv,
    index,
    load,
    mod,
    mul,
    reduce,
    select,
    sub,
    variable,
)
from graphc.loops.affine import affine, interval
from graphc.loops.intervals import Interval
from graphc.ops import attention_parts as parts
from graphc.ops.define import NestContext

KEY_BLOCK = 64
_QUERY_BLOCK = 64
_STRIP = 16
_LOCAL_BYTES = 1 << 18


@dataclass(frozen=True)
class Block:
    """Neighbouring rows of a dimension: `first` may depend on loops, `size` is known.

    crossed   whether a causal order leaves only some of these keys to some of the queries
    """

    first: Expr
    size: int
    crossed: bool = False

    def at(self, row: Expr) -> Expr:
        return add(self.first, row)


@dataclass(frozen=True)
class Strip:
    """Neighbouring rows of a block."""

    first: int
    size: int

    def at(self, row: Expr) -> Expr:
        return add(row, self.first)


BlockBody: TypeAlias = Callable[[Block], Sequence[Statement]]


def query_block(width: int, dtype: DType) -> int:
    """How many queries of `width` elements in all of their local buffers are taken at once."""
    size = _QUERY_BLOCK
    while size > 1 and size * width * dtype.itemsize > _LOCAL_BYTES:
        size //= 2
    return size


def cut(extent: int, size: int) -> Iterator[tuple[int, int, int]]:
    """(first, number of blocks, size): whole blocks, then what is left.

    >>> list(cut(150, 64))
    [(0, 2, 64), (128, 1, 22)]
    """
    whole, rest = divmod(extent, size)
    if whole:
        yield 0, whole, size
    if rest:
        yield whole * size, 1, rest


@dataclass
class Nest:
    """Writes one attention nest: sizes, operands, names."""

    ctx: NestContext
    attention: parts.Attention = field(init=False)
    dtype: DType = field(init=False)
    ranges: dict[str, Interval] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.attention = parts.of(self.ctx.node)
        self.dtype = self.ctx.node.operands[0].dtype

    # Names

    def local(self, name: str, *shape: int) -> Buffer:
        return Buffer(self.ctx.fresh(name), shape, self.dtype, space="scratch")

    def variable(self, name: str, extent: int | None = None) -> Variable:
        """An index variable of its own, less than `extent` where that is known."""
        made = variable(self.ctx.fresh(name))
        if extent is not None:
            self.ranges[made.name] = Interval(0, extent - 1)
        return made

    def let(self, name: str, value: Expr) -> tuple[Let, Variable]:
        made = Let(self.ctx.fresh(name), value)
        return made, Variable(made.name, value.dtype)

    def operand(self, position: int, *at: Expr) -> Expr:
        return self.ctx.operand(position, at)

    def const(self, value: float) -> Expr:
        return const(value, self.dtype)

    # Scores

    def mask_block(
        self, head: tuple[Expr, Expr], queries: Block, keys: Block, p: Buffer
    ) -> list[Statement]:
        """Scores start as a mask that has both queries and keys: it is read along keys, and they
        are written along queries. A boolean one is 0 or -inf, in numbers before it is turned."""
        if not self._starts_with_mask:
            return []
        j, i = self.variable("j"), self.variable("i")
        element = self._mask_at((*head, queries.at(i), keys.at(j)))
        if element.dtype != bool_:
            return [parallel((j, i), p.shape, write(p, element, j, i))]
        m = self.local("m", queries.size, keys.size)
        hidden = select(element, self.const(0), self.const(-math.inf))
        numbers = parallel((i, j), m.shape, write(m, hidden, i, j))
        column, row = self.variable("j"), self.variable("i")
        turned = write(p, read(m, row, column), column, row)
        return [Local(m), numbers, parallel((column, row), p.shape, turned)]

    @property
    def _starts_with_mask(self) -> bool:
        return self.attention.mask and 1 not in self.ctx.node.operands[3].shape[2:]

    def score(
        self,
        head: tuple[Expr, Expr],
        queries: Block,
        i: Expr,
        keys: Block,
        j: Expr,
        product: Expr,
        p: Buffer,
    ) -> Expr:
        """The product of query i and key j of two blocks, scaled before, with the masks on it."""
        attention = self.attention
        if self._starts_with_mask:
            product = self._started(product, read(p, j, i))
        elif attention.mask:
            product = self._masked((*head, queries.at(i), keys.at(j)), product)
        if keys.crossed:
            # Within the blocks, so that a vector of queries is compared in 32 bits.
            distance = sub(keys.at(j), queries.first)
            earlier = call("le", cast(distance, int32), cast(i, int32))
            product = select(earlier, product, self.const(-math.inf))
        return product

    def _started(self, product: Expr, mask: Expr) -> Expr:
        if self.ctx.node.operands[3].dtype == bool_:
            return select(call("eq", mask, self.const(0)), product, self.const(-math.inf))
        return call("add", product, mask)

    def _masked(self, at: Sequence[Expr], product: Expr) -> Expr:
        element = self._mask_at(at)
        if element.dtype == bool_:
            return select(element, product, self.const(-math.inf))
        return call("add", product, element)

    def _mask_at(self, at: Sequence[Expr]) -> Expr:
        shape = self.ctx.node.operands[3].shape
        return self.ctx.operand(
            3, [index(0) if n == 1 else i for i, n in zip(at, shape, strict=True)]
        )

    def kept(self, b: Expr, h: Expr, query: Expr, key: Expr) -> Expr:
        """Whether dropout keeps a probability: the counter is its place in [B, H, L, S]."""
        attention = self.attention
        place: Expr = const(0, uint32)
        for i, extent in zip((b, h, query, key), attention.scores_shape, strict=True):
            place = call("add", call("mul", place, const(extent, uint32)), cast(i, uint32))
        words = [self.ctx.operand(attention.key_position, (index(n),)) for n in (0, 1)]
        stream = const(attention.stream, uint32)
        bits = call("shr", call("random_bits", *words, place, stream), const(8, uint32))
        # bits / 2^24 >= p, in whole numbers.
        least = math.ceil(float(np.float32(attention.dropout)) * 2**24)
        return call("ge", bits, const(least, uint32))

    def dropped(self, kept: Expr, value: Expr) -> Expr:
        share = self.const(1 / (1 - self.attention.dropout))
        return select(kept, call("mul", value, share), self.const(0))

    # Blocks of keys

    def over_keys(self, queries: Block, body: BlockBody) -> list[Statement]:
        """The body for every block of keys that some query of a block may look at, in order."""
        made: list[Statement] = []
        for first, count, size in cut(self.attention.keys, KEY_BLOCK):
            last = Block(index(first), size)
            if not self.attention.causal:
                made += self._keys_before(count, body) if size == KEY_BLOCK else body(last)
            elif not self._in_step(queries):
                made += self._all_crossed(queries, last, count, body)
            elif size == KEY_BLOCK:
                made += self._keys_before(self._least(queries, count), body)
                crossed = Block(queries.first, size, crossed=True)
                made += self._where(call("lt", queries.first, index(count * size)), crossed, body)
            else:
                crossed = replace(last, crossed=True)
                made += self._where(call("eq", queries.first, last.first), crossed, body)
                made += self._where(call("lt", last.first, queries.first), last, body)
        return made

    def _in_step(self, queries: Block) -> bool:
        """Whether blocks of queries begin where blocks of keys do."""
        return affine(mod(queries.first, KEY_BLOCK)) == affine(index(0))

    def _keys_before(self, count: Expr | int, body: BlockBody) -> Sequence[Statement]:
        """The body for so many whole blocks of keys."""
        upper = index(count) if isinstance(count, int) else count
        if upper == index(0):
            return []
        number = self.variable("kb")
        inner = body(Block(mul(number, KEY_BLOCK), KEY_BLOCK))
        return [Loop("serial", number.name, index(0), upper, tuple(inner))]

    def _least(self, queries: Block, count: int) -> Expr:
        """The number of whole blocks of keys before a block of queries, `count` at most."""
        before = floordiv(queries.first, KEY_BLOCK)
        bounds = interval(before, self.ranges)
        if bounds.high <= count:
            return before
        return index(count) if bounds.low >= count else call("min", index(count), before)

    def _where(self, condition: Expr, keys: Block, body: BlockBody) -> Sequence[Statement]:
        bounds = interval(condition, self.ranges)
        if bounds.high == 0:
            return []
        inner = tuple(body(keys))
        return inner if bounds.low == 1 else [When(condition, inner)]

    def _all_crossed(
        self, queries: Block, last: Block, count: int, body: BlockBody
    ) -> Sequence[Statement]:
        """Blocks of keys that begin at most at the last of some queries, all with a mask."""
        end = add(queries.first, queries.size - 1)
        if last.size < KEY_BLOCK:
            inner = tuple(body(replace(last, crossed=True)))
            return [When(call("le", last.first, end), inner)]
        number = self.variable("kb")
        inner = tuple(body(Block(mul(number, KEY_BLOCK), KEY_BLOCK, crossed=True)))
        upper = call("min", index(count), add(floordiv(end, KEY_BLOCK), 1))
        return [Loop("serial", number.name, index(0), upper, inner)]

    # Strips of two blocks

    def by_keys(self, queries: Block, keys: Block) -> Iterator[tuple[Strip, Strip]]:
        """Strips of keys, each with the queries that may look at some of it."""
        if not keys.crossed or not self._in_step(queries):
            yield Strip(0, keys.size), Strip(0, queries.size)
            return
        for first, _ in _strips(min(keys.size, queries.size)):
            end = min(first + _STRIP, keys.size)
            yield Strip(first, end - first), Strip(first, queries.size - first)

    def by_queries(self, queries: Block, keys: Block) -> Iterator[tuple[Strip, Strip]]:
        """Strips of queries, each with the keys that some of it may look at."""
        if not keys.crossed or not self._in_step(queries):
            yield Strip(0, queries.size), Strip(0, keys.size)
            return
        for first, size in _strips(queries.size):
            if first + _STRIP >= keys.size:
                yield Strip(first, queries.size - first), Strip(0, keys.size)
                return
            yield Strip(first, size), Strip(0, first + _STRIP)

    # Blocks of queries

    def over_queries(self, size: int, body: BlockBody) -> list[Statement]:
        """The body for every block of queries, in serial loops."""
        made: list[Statement] = []
        for first, count, rows in cut(self.attention.queries, size):
            number = self.variable("qb", count)
            if count == 1:
                made += body(Block(index(first), rows))
            else:
                block = Block(mul(number, size), rows)
                made.append(serial(number, count, *body(block)))
        return made


def _strips(extent: int) -> Iterator[tuple[int, int]]:
    for first in range(0, extent, _STRIP):
        yield first, min(_STRIP, extent - first)


def parallel(names: Sequence[Variable], extents: Sequence[int], *body: Statement) -> Statement:
    """Independent loops, one in another."""
    found: tuple[Statement, ...] = body
    for name, extent in reversed(list(zip(names, extents, strict=True))):
        found = (Loop("parallel", name.name, index(0), index(extent), found),)
    return found[0]


def serial(name: Variable, extent: int, *body: Statement) -> Statement:
    return Loop("serial", name.name, index(0), index(extent), body)


def dot(inner: Variable, extent: int, a: Expr, b: Expr) -> Expr:
    """The sum of products over `inner`, in order."""
    return reduce("dot", (Axis(inner.name, extent),), a, b)


def read(buffer: Buffer, *at: Expr) -> Expr:
    return load(buffer.name, at, buffer.dtype)


def write(buffer: Buffer, value: Expr, *at: Expr) -> Statement:
    return Store(buffer.name, at, value)
