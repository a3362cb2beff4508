"""The loop nest of attention's gradient: one pass over pairs of blocks, five products.

    for every batch and key head:                     any order, any thread
        for every query head that shares it, every block of queries, in order:
            dq = 0
            for every block of keys, in order:
                p = exp(K (scale Q)ᵀ - lse)           masked
                d = p (V dOᵀ - δ)
                dv += p dO,  dk += scale d Q,  dq += dᵀ K
            scale dq

Keys and values of one head belong to one thread, so that sums have one order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from graphc.loops import Buffer, Expr, Local, Statement, add, call, mul, select
from graphc.ops.attention_blocks import (
    Block,
    Nest,
    Strip,
    dot,
    parallel,
    query_block,
    read,
    serial,
    write,
)
from graphc.ops.attention_parts import Attention
from graphc.ops.define import NestContext

Other: TypeAlias = Callable[[Expr, Expr], Expr]


def attention_grad_nest(ctx: NestContext) -> Sequence[Statement]:
    nest = Nest(ctx)
    attention = nest.attention
    b, key_head = nest.variable("b"), nest.variable("h")
    size = query_block(2 * attention.width + attention.value_width, nest.dtype)
    once = _once(attention, size)
    body = [] if once else [_zero(nest, result, b, key_head) for result in ctx.results[1:]]
    member = nest.variable("g")
    head = add(mul(key_head, attention.group), member)
    heads = (b, head, key_head)
    blocks = nest.over_queries(size, lambda block: _Backward(nest, *heads, block, once).body())
    body.append(serial(member, attention.group, *blocks))
    return [parallel((b, key_head), (attention.batch, attention.key_heads), *body)]


def _once(attention: Attention, size: int) -> bool:
    """Whether each key meets one block of queries: its sums are stored, and not added to."""
    blocks = attention.group * -(-attention.queries // size)
    return blocks == 1 and not (attention.causal and attention.keys > attention.queries)


def _zero(nest: Nest, result: Buffer, b: Expr, h: Expr) -> Statement:
    j, e = nest.variable("j"), nest.variable("e")
    return parallel((j, e), result.shape[2:], write(result, nest.const(0), b, h, j, e))


@dataclass
class _Backward:
    """A block of queries of one head: what it adds to dk and dv, and its dq."""

    nest: Nest
    b: Expr
    h: Expr
    key_head: Expr
    queries: Block
    once: bool

    def __post_init__(self) -> None:
        nest, rows = self.nest, self.queries.size
        attention = nest.attention
        self.q = nest.local("q", attention.width, rows)
        self.dy = nest.local("dy", attention.value_width, rows)
        self.dq = nest.local("dq", rows, attention.width)
        self.lse, self.delta = nest.local("lse", rows), nest.local("delta", rows)
        self.first = attention.operands  # of lse, delta, dy

    def body(self) -> Sequence[Statement]:
        held = (self.q, self.dy, self.dq, self.lse, self.delta)
        made: list[Statement] = [Local(buffer) for buffer in held]
        made += [self._load_queries(), self._load_gradient(), self._load_rows(), self._start()]
        return [*made, *self.nest.over_keys(self.queries, self._key_block), self._finish()]

    def _load_queries(self) -> Statement:
        nest = self.nest
        e, i = nest.variable("e"), nest.variable("i")
        scaled = call("mul", self._query(i, e), nest.const(nest.attention.scale))
        return parallel((e, i), self.q.shape, write(self.q, scaled, e, i))

    def _load_gradient(self) -> Statement:
        e, i = self.nest.variable("e"), self.nest.variable("i")
        return parallel((e, i), self.dy.shape, write(self.dy, self._gradient(i, e), e, i))

    def _load_rows(self) -> Statement:
        """δ, and lse with +inf where nothing is looked at: every exponential is 0 there."""
        nest = self.nest
        i = nest.variable("i")
        at = (self.b, self.h, self.queries.at(i))
        let, lse = nest.let("lse", nest.operand(self.first, *at))
        nothing = call("eq", lse, nest.const(-math.inf))
        return parallel(
            (i,),
            self.lse.shape,
            let,
            write(self.lse, select(nothing, nest.const(math.inf), lse), i),
            write(self.delta, nest.operand(self.first + 1, *at), i),
        )

    def _start(self) -> Statement:
        i, e = self.nest.variable("i"), self.nest.variable("e")
        return parallel((i, e), self.dq.shape, write(self.dq, self.nest.const(0), i, e))

    def _query(self, i: Expr, e: Expr) -> Expr:
        return self.nest.operand(0, self.b, self.h, self.queries.at(i), e)

    def _gradient(self, i: Expr, e: Expr) -> Expr:
        return self.nest.operand(self.first + 2, self.b, self.h, self.queries.at(i), e)

    def _key(self, position: int, keys: Block, j: Expr, e: Expr) -> Expr:
        """An element of the keys (operand 1) or values (2)."""
        return self.nest.operand(position, self.b, self.key_head, keys.at(j), e)

    def _key_block(self, keys: Block) -> Sequence[Statement]:
        nest = self.nest
        p, d = (nest.local(name, keys.size, self.queries.size) for name in ("p", "d"))
        _, dk, dv = nest.ctx.results
        made: list[Statement] = [Local(p), Local(d)]
        made += nest.mask_block((self.b, self.h), self.queries, keys, p)
        by_keys = list(nest.by_keys(self.queries, keys))
        made += (self._probabilities(keys, p, *strips) for strips in by_keys)
        made += (self._score_gradients(keys, p, d, *strips) for strips in by_keys)
        made += (self._add_rows(keys, dv, p, self._gradient, 1.0, *strips) for strips in by_keys)
        scale = nest.attention.scale
        made += (self._add_rows(keys, dk, d, self._query, scale, *strips) for strips in by_keys)
        by_queries = nest.by_queries(self.queries, keys)
        return [*made, *(self._add_queries(keys, d, *strips) for strips in by_queries)]

    def _probabilities(self, keys: Block, p: Buffer, some_keys: Strip, some: Strip) -> Statement:
        nest = self.nest
        row, column, e = (nest.variable(name) for name in ("j", "i", "e"))
        j, i = some_keys.at(row), some.at(column)
        product = dot(e, nest.attention.width, self._key(1, keys, j, e), read(self.q, e, i))
        let, value = nest.let("s", product)
        score = nest.score((self.b, self.h), self.queries, i, keys, j, value, p)
        power = call("exp_negative", call("sub", score, read(self.lse, i)))
        inner = (let, write(p, power, j, i))
        return parallel((row, column), (some_keys.size, some.size), *inner)

    def _score_gradients(
        self, keys: Block, p: Buffer, d: Buffer, some_keys: Strip, some: Strip
    ) -> Statement:
        """d, and p as the values met it: with dropout."""
        nest = self.nest
        row, column, e = (nest.variable(name) for name in ("j", "i", "e"))
        j, i = some_keys.at(row), some.at(column)
        width = nest.attention.value_width
        product = dot(e, width, self._key(2, keys, j, e), read(self.dy, e, i))
        let, dp = nest.let("dp", product)
        gradient: Expr = dp
        power = read(p, j, i)
        statements: list[Statement] = [let]
        if nest.attention.dropout:
            kept = nest.kept(self.b, self.h, self.queries.at(i), keys.at(j))
            kept_let, flag = nest.let("kept", kept)
            statements.append(kept_let)
            gradient = nest.dropped(flag, dp)
        difference = call("sub", gradient, read(self.delta, i))
        statements.append(write(d, call("mul", power, difference), j, i))
        if nest.attention.dropout:
            statements.append(write(p, nest.dropped(flag, power), j, i))
        return parallel((row, column), (some_keys.size, some.size), *statements)

    def _add_rows(
        self,
        keys: Block,
        result: Buffer,
        factors: Buffer,
        other: Other,
        scale: float,
        some_keys: Strip,
        some: Strip,
    ) -> Statement:
        """result[j] += scale Σ factors[j, i] other[i], over some of the block's queries; alone
        where this is `once`."""
        nest = self.nest
        row, e, column = (nest.variable(name) for name in ("j", "e", "i"))
        j, i = some_keys.at(row), some.at(column)
        product = dot(column, some.size, read(factors, j, i), other(i, e))
        let, value = nest.let("w", product)
        at = (self.b, self.key_head, keys.at(j), e)
        factor, old = nest.const(scale), read(result, *at)
        if self.once:
            total = call("mul", value, factor) if scale != 1 else value
        else:
            total = call("fma", value, factor, old) if scale != 1 else call("add", old, value)
        extents = (some_keys.size, result.shape[3])
        return parallel((row, e), extents, let, write(result, total, *at))

    def _add_queries(self, keys: Block, d: Buffer, some: Strip, some_keys: Strip) -> Statement:
        nest = self.nest
        row, e, j = (nest.variable(name) for name in ("i", "e", "j"))
        i = some.at(row)
        product = dot(j, some_keys.size, read(d, j, i), self._key(1, keys, j, e))
        let, value = nest.let("w", product)
        total = call("add", read(self.dq, i, e), value)
        return parallel((row, e), (some.size, self.dq.shape[1]), let, write(self.dq, total, i, e))

    def _finish(self) -> Statement:
        nest = self.nest
        i, e = nest.variable("i"), nest.variable("e")
        value = call("mul", read(self.dq, i, e), nest.const(nest.attention.scale))
        at = (self.b, self.h, self.queries.at(i), e)
        return parallel((i, e), self.dq.shape, write(nest.ctx.results[0], value, *at))
