"""The loop nest of attention: one pass over the keys with an online softmax.

    for every block of queries:                       any order, any thread
        top = -inf, total = 0, y = 0
        for every block of keys, in order:
            s = K (scale Q)ᵀ, masked
            rescale = exp(top - new top)
            p = exp(s - new top)
            total = total rescale + Σ p
            y = y rescale + pᵀ V
        y / total, top + log(total)

Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135. Only a block of scores
ever exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphc.loops import Buffer, Expr, Local, Statement, add, call, floordiv, mul, select
from graphc.ops.attention_blocks import (
    Block,
    Nest,
    Strip,
    cut,
    dot,
    parallel,
    query_block,
    read,
    serial,
    write,
)
from graphc.ops.define import NestContext


def attention_nest(ctx: NestContext) -> Sequence[Statement]:
    """One nest for the whole blocks of queries, one for the rest."""
    nest = Nest(ctx)
    attention = nest.attention
    size = query_block(attention.width + attention.value_width, nest.dtype)
    made = []
    for first, count, rows in cut(attention.queries, size):
        b, h, number = nest.variable("b"), nest.variable("h"), nest.variable("qb", count)
        queries = Block(add(mul(number, size), first), rows)
        body = _Forward(nest, b, h, queries).body()
        made.append(parallel((b, h, number), (attention.batch, attention.heads, count), *body))
    return made


@dataclass
class _Forward:
    """A block of queries of one head. Local buffers end in the query, but for `y`."""

    nest: Nest
    b: Expr
    h: Expr
    queries: Block

    def __post_init__(self) -> None:
        nest, rows = self.nest, self.queries.size
        self.q = nest.local("q", nest.attention.width, rows)
        self.y = nest.local("y", rows, nest.attention.value_width)
        self.top, self.total, self.rescale, self.base = (
            nest.local(name, rows) for name in ("top", "total", "rescale", "base")
        )

    @property
    def key_head(self) -> Expr:
        return floordiv(self.h, self.nest.attention.group)

    def body(self) -> list[Statement]:
        held = (self.q, self.y, self.top, self.total, self.rescale, self.base)
        made: list[Statement] = [Local(buffer) for buffer in held]
        made += [self._load_queries(), self._start_sums(), self._start_result()]
        made += self.nest.over_keys(self.queries, self._key_block)
        return [*made, self._finish_sums(), self._finish_result()]

    def _load_queries(self) -> Statement:
        nest = self.nest
        e, i = nest.variable("e"), nest.variable("i")
        element = nest.operand(0, self.b, self.h, self.queries.at(i), e)
        scaled = call("mul", element, nest.const(nest.attention.scale))
        return parallel((e, i), self.q.shape, write(self.q, scaled, e, i))

    def _start_sums(self) -> Statement:
        i = self.nest.variable("i")
        lowest = write(self.top, self.nest.const(-math.inf), i)
        return parallel((i,), self.top.shape, lowest, write(self.total, self.nest.const(0), i))

    def _start_result(self) -> Statement:
        i, e = self.nest.variable("i"), self.nest.variable("e")
        return parallel((i, e), self.y.shape, write(self.y, self.nest.const(0), i, e))

    def _key_block(self, keys: Block) -> Sequence[Statement]:
        p = self.nest.local("p", keys.size, self.queries.size)
        return [
            Local(p),
            *self.nest.mask_block((self.b, self.h), self.queries, keys, p),
            *(self._scores(keys, p, *strips) for strips in self._by_keys(keys)),
            *self._raise_top(keys, p),
            *(self._exponentials(keys, p, *strips) for strips in self._by_keys(keys)),
            *(
                self._add_values(keys, p, *strips)
                for strips in self.nest.by_queries(self.queries, keys)
            ),
        ]

    def _by_keys(self, keys: Block) -> Iterable[tuple[Strip, Strip]]:
        return self.nest.by_keys(self.queries, keys)

    def _scores(self, keys: Block, p: Buffer, some_keys: Strip, some: Strip) -> Statement:
        nest = self.nest
        row, column, e = (nest.variable(name) for name in ("j", "i", "e"))
        j, i = some_keys.at(row), some.at(column)
        key = nest.operand(1, self.b, self.key_head, keys.at(j), e)
        product = dot(e, nest.attention.width, key, read(self.q, e, i))
        let, value = nest.let("s", product)
        score = nest.score((self.b, self.h), self.queries, i, keys, j, value, p)
        inner = (let, write(p, score, j, i))
        return parallel((row, column), (some_keys.size, some.size), *inner)

    def _raise_top(self, keys: Block, p: Buffer) -> list[Statement]:
        """The greatest score so far; `base` is it, but 0 where all are -inf."""
        nest = self.nest
        i, m = nest.variable("i"), nest.variable("i")
        keep = parallel((i,), self.top.shape, write(self.rescale, read(self.top, i), i))
        raised = [self._raise(p, *strips) for strips in self._by_keys(keys)]
        top = read(self.top, m)
        nothing = call("eq", top, nest.const(-math.inf))
        let, base = nest.let("base", select(nothing, nest.const(0), top))
        factor_let, factor = nest.let(
            "f", call("exp_negative", call("sub", read(self.rescale, m), base))
        )
        scale = parallel(
            (m,),
            self.top.shape,
            let,
            factor_let,
            write(self.base, base, m),
            write(self.rescale, factor, m),
            write(self.total, call("mul", read(self.total, m), factor), m),
        )
        return [keep, *raised, scale]

    def _raise(self, p: Buffer, some_keys: Strip, some: Strip) -> Statement:
        row, column = self.nest.variable("j"), self.nest.variable("i")
        j, i = some_keys.at(row), some.at(column)
        score, top = read(p, j, i), read(self.top, i)
        # A score that is no number need not win: its exponential is no number either.
        higher = select(call("gt", score, top), score, top)
        inner = parallel((column,), (some.size,), write(self.top, higher, i))
        return serial(row, some_keys.size, inner)

    def _exponentials(self, keys: Block, p: Buffer, some_keys: Strip, some: Strip) -> Statement:
        nest = self.nest
        row, column = nest.variable("j"), nest.variable("i")
        j, i = some_keys.at(row), some.at(column)
        let, power = nest.let(
            "power", call("exp_negative", call("sub", read(p, j, i), read(self.base, i)))
        )
        probability: Expr = power
        if nest.attention.dropout:
            kept = nest.kept(self.b, self.h, self.queries.at(i), keys.at(j))
            probability = nest.dropped(kept, power)
        inner = parallel(
            (column,),
            (some.size,),
            let,
            write(self.total, call("add", read(self.total, i), power), i),
            write(p, probability, j, i),
        )
        return serial(row, some_keys.size, inner)

    def _add_values(self, keys: Block, p: Buffer, some: Strip, some_keys: Strip) -> Statement:
        nest = self.nest
        row, e, j = (nest.variable(name) for name in ("i", "e", "j"))
        i = some.at(row)
        value = nest.operand(2, self.b, self.key_head, keys.at(j), e)
        let, product = nest.let("w", dot(j, some_keys.size, read(p, j, i), value))
        total = call("fma", read(self.y, i, e), read(self.rescale, i), product)
        return parallel((row, e), (some.size, self.y.shape[1]), let, write(self.y, total, i, e))

    def _finish_sums(self) -> Statement:
        """lse, and `rescale` as what y is multiplied with."""
        nest = self.nest
        i = nest.variable("i")
        empty = call("eq", read(self.total, i), nest.const(0))
        let, divisor = nest.let("divisor", select(empty, nest.const(1), read(self.total, i)))
        lse = call("add", read(self.top, i), call("log", divisor))
        result = nest.ctx.results[1]
        return parallel(
            (i,),
            self.top.shape,
            let,
            write(result, lse, self.b, self.h, self.queries.at(i)),
            write(self.rescale, call("div", nest.const(1), divisor), i),
        )

    def _finish_result(self) -> Statement:
        i, e = self.nest.variable("i"), self.nest.variable("e")
        value = call("mul", read(self.y, i, e), read(self.rescale, i))
        store = write(self.nest.ctx.results[0], value, self.b, self.h, self.queries.at(i), e)
        return parallel((i, e), self.y.shape, store)
