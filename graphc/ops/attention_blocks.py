"""Building blocks of the attention nests: loops over blocks, local buffers, masked scores.

Queries and keys are taken in blocks. The key block of 64 is part of the meaning, since the sums
over keys are cut there; the block of queries is not, and shrinks where wide heads would not fit.
Local tiles have the query as their last dimension, so that a softmax over keys never folds along
a vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from graphc.dtypes import DType, bool_, int32, int64, uint32
from graphc.loops import (
    Axis,
    Buffer,
    Call,
    Expr,
    Let,
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
    mul,
    reduce,
    select,
    sub,
    variable,
)
from graphc.ops import attention_parts as parts
from graphc.ops.define import NestContext

KEY_BLOCK = 64
_QUERY_BLOCK = 64
_LOCAL_BYTES = 1 << 18


@dataclass(frozen=True)
class Block:
    """Neighbouring rows of a dimension: `first` may depend on loops, `size` is known."""

    first: Expr
    size: int

    def at(self, row: Expr) -> Expr:
        return add(self.first, row)


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

    def __post_init__(self) -> None:
        self.attention = parts.of(self.ctx.node)
        self.dtype = self.ctx.node.operands[0].dtype

    # Names

    def local(self, name: str, *shape: int) -> Buffer:
        return Buffer(self.ctx.fresh(name), shape, self.dtype, space="scratch")

    def variable(self, name: str) -> Variable:
        """An index variable of its own."""
        return variable(self.ctx.fresh(name))

    def let(self, name: str, value: Expr) -> tuple[Let, Variable]:
        made = Let(self.ctx.fresh(name), value)
        return made, Variable(made.name, value.dtype)

    def operand(self, position: int, *at: Expr) -> Expr:
        return self.ctx.operand(position, at)

    def const(self, value: float) -> Expr:
        return const(value, self.dtype)

    # Scores

    def bias_block(
        self, head: tuple[Expr, Expr], queries: Block, keys: Block, p: Buffer
    ) -> list[Statement]:
        """Scores start as an additive mask that has both queries and keys: it is read along keys,
        and they are written along queries."""
        if not self._starts_with_bias:
            return []
        j, i = self.variable("j"), self.variable("i")
        element = self._mask_at((*head, queries.at(i), keys.at(j)))
        return [parallel((j, i), p.shape, write(p, element, j, i))]

    @property
    def _starts_with_bias(self) -> bool:
        if not self.attention.mask:
            return False
        mask = self.ctx.node.operands[3]
        return mask.dtype != bool_ and 1 not in mask.shape[2:]

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
        if self._starts_with_bias:
            product = call("add", product, read(p, j, i))
        elif attention.mask:
            product = self._masked((*head, queries.at(i), keys.at(j)), product)
        if attention.causal:
            # Within the blocks, so that a vector of queries is compared in 32 bits.
            distance = sub(keys.at(j), queries.first)
            earlier = call("le", cast(distance, int32), cast(i, int32))
            product = select(earlier, product, self.const(-math.inf))
        return product

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
            if count > 1 or size == KEY_BLOCK:
                number = self.variable("kb")
                block = Block(mul(number, KEY_BLOCK), size)
                upper = self._visible_blocks(queries, count)
                made.append(Loop("serial", number.name, index(0), upper, tuple(body(block))))
            else:
                block = Block(index(first), size)
                made += self._last_keys(queries, block, tuple(body(block)))
        return made

    def _visible_blocks(self, queries: Block, count: int) -> Expr:
        if not self.attention.causal:
            return index(count)
        last = add(queries.first, queries.size - 1)
        return Call("min", (index(count), add(floordiv(last, KEY_BLOCK), 1)), int64)

    def _last_keys(
        self, queries: Block, keys: Block, body: tuple[Statement, ...]
    ) -> Sequence[Statement]:
        if not self.attention.causal:
            return body
        last = add(queries.first, queries.size - 1)
        return [When(call("le", keys.first, last), body)]

    # Blocks of queries

    def over_queries(self, size: int, body: BlockBody) -> list[Statement]:
        """The body for every block of queries, in serial loops."""
        made: list[Statement] = []
        for first, count, rows in cut(self.attention.queries, size):
            number = self.variable("qb")
            if count == 1:
                made += body(Block(index(first), rows))
            else:
                block = Block(mul(number, size), rows)
                made.append(serial(number, count, *body(block)))
        return made


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
