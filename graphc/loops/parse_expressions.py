"""Reads the expressions of the loop language; `graphc.loops.text` has their grammar.

Operators are read by rank: what binds tighter than the operator at hand is read first. Depth is
bounded, so that no text can exhaust the stack of this reader or of anything that walks its trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graphc.dtypes import DType, bool_, int64
from graphc.lexing import NESTING_LIMIT, Scanner, Token
from graphc.loops.build import COMPARISONS
from graphc.loops.expressions import (
    Axis,
    Call,
    Expr,
    Item,
    Literal,
    Load,
    Reduce,
    Variable,
    children,
)
from graphc.loops.operations import result_type
from graphc.loops.text import COMPARISON_RANK, INFIX, RESERVED

DEPTH_LIMIT = 2 * NESTING_LIMIT  # of an expression's tree

_OPERATORS = {symbol: (op, rank) for op, (symbol, rank) in INFIX.items()}


class Names:
    """The types of variables and buffers in scope."""

    def __init__(self) -> None:
        self._variables: dict[str, DType] = {}
        self._buffers: dict[str, DType] = {}
        self._hidden: list[tuple[dict[str, DType], str, DType | None]] = []

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is declared inside is forgotten after."""
        outer, self._hidden = self._hidden, []
        try:
            yield
        finally:
            for table, name, before in reversed(self._hidden):
                if before is None:
                    del table[name]
                else:
                    table[name] = before
            self._hidden = outer

    def bind(self, name: str, dtype: DType) -> None:
        self._enter(self._variables, name, dtype)

    def declare_buffer(self, name: str, dtype: DType) -> None:
        self._enter(self._buffers, name, dtype)

    def _enter(self, table: dict[str, DType], name: str, dtype: DType) -> None:
        self._hidden.append((table, name, table.get(name)))
        table[name] = dtype

    def variable(self, name: str) -> DType:
        return self._variables.get(name, int64)

    def buffer(self, name: str) -> DType | None:
        return self._buffers.get(name)


def parse_expression(words: Scanner, names: Names) -> Expr:
    """The expression that comes next. Raises ParseError."""
    token = words.token
    return _bounded(_Reader(words, names).expression(), words, token)


def parse_primary(words: Scanner, names: Names) -> Expr:
    """The expression that comes next, in parentheses unless it is not infix."""
    token = words.token
    return _bounded(_Reader(words, names).primary(), words, token)


def _bounded(expr: Expr, words: Scanner, token: Token) -> Expr:
    level, depth = [expr], 0
    while level:
        depth += 1
        if depth > DEPTH_LIMIT:
            raise words.refuse(f"expression of more than {DEPTH_LIMIT} levels", token)
        level = [part for one in level for part in children(one)]
    return expr


class _Reader:
    def __init__(self, words: Scanner, names: Names) -> None:
        self.words = words
        self.names = names

    def expression(self, least: int = 0) -> Expr:
        """An expression of operators that rank `least` or above."""
        left = self.primary()
        ceiling = len(INFIX)  # above every rank
        while True:
            found = self._operator()
            if found is None or not least <= found[1] <= ceiling:
                return left
            op, rank = found
            self.words.advance()
            args = (left, self.expression(rank + 1))
            left = Call(op, args, bool_ if op in COMPARISONS else args[1].dtype)
            # A comparison is not compared again without parentheses.
            ceiling = rank - 1 if rank == COMPARISON_RANK else rank

    def _operator(self) -> tuple[str, int] | None:
        token = self.words.token
        return _OPERATORS.get(token.text) if token.kind in ("name", "symbol") else None

    def primary(self) -> Expr:
        with self.words.nested():
            return self._primary()

    def _primary(self) -> Expr:
        words = self.words
        if words.accept("("):
            inner = self.expression()
            words.expect(")")
            return inner
        if words.token.kind == "number" or words.at("-"):
            return Literal(words.signed(), int64)
        if word := words.accept("true", "false"):
            return Literal(word == "true", bool_)
        if words.at_dtype():
            return self._literal()
        if words.accept("reduce"):
            return self._reduce()
        return self._named()

    def _literal(self) -> Literal:
        """``f32(0.5)``"""
        dtype = self.words.dtype()
        self.words.expect("(")
        word = self.words.accept("true", "false")
        value = word == "true" if word else self.words.number()
        self.words.expect(")")
        return Literal(value, dtype)

    def _named(self) -> Expr:
        """A variable, a load or an operation, by what follows the name."""
        token = self.words.token
        name = self.words.name("an expression", RESERVED)
        if self.words.at("["):
            return self._load(name, token)
        dtype = self._given_type()
        if dtype is None and not self.words.at("("):
            return Variable(name, self.names.variable(name))
        self.words.expect("(")
        args = self.words.listed(self.expression, ")")
        dtype = dtype or result_type(name, args)
        if dtype is None:
            raise self.words.error(f"the type of {name!r}, as in {name}<f32>(...)", token)
        return Call(name, args, dtype)

    def _given_type(self) -> DType | None:
        """``<f32>``, which no comparison looks like: types are no names of variables."""
        if not (self.words.at("<") and self.words.ahead(2).text == ">"):
            return None
        self.words.expect("<")
        dtype = self.words.dtype()
        self.words.expect(">")
        return dtype

    def _load(self, buffer: str, token: Token) -> Load:
        dtype = self.names.buffer(buffer)
        if dtype is None:
            raise self.words.refuse(f"buffer {buffer!r} is not declared", token)
        self.words.expect("[")
        index = self._items()
        guard = self.expression() if self.words.accept("where") else None
        fill = self._fill() if self.words.accept("else") else None
        self.words.expect("]")
        return Load(buffer, index, dtype, guard, fill)

    def _items(self) -> tuple[Expr, ...]:
        """Expressions between commas, up to something else."""
        if self.words.at("]", ")", "where", "else"):
            return ()
        items = [self.expression()]
        while self.words.accept(","):
            items.append(self.expression())
        return tuple(items)

    def _fill(self) -> Literal:
        token = self.words.token
        fill = self._primary()
        if not isinstance(fill, Literal):
            raise self.words.error("a literal", token)
        return fill

    def _reduce(self) -> Reduce | Item:
        combine = self.words.name("the name of a fold", RESERVED)
        given = self._given_type()
        token = self.words.token
        self.words.expect("[")
        axes = self.words.listed(self._axis, "]")
        self.words.expect("lanes")
        self.words.expect("=")
        lanes = self.words.signed()
        self.words.expect("(")
        with self.names.scope():
            for axis in axes:
                self.names.bind(axis.name, int64)
            body = self._items()
            where = self.expression() if self.words.accept("where") else None
        self.words.expect(")")
        dtype = given or (body[0].dtype if body else None)
        if dtype is None:
            raise self.words.error("<type> of a fold with no body", token)
        return self._item(Reduce(combine, axes, body, dtype, where, lanes))

    def _axis(self) -> Axis:
        name = self.words.name("the name of an axis", RESERVED)
        self.words.expect("<")
        return Axis(name, self.words.signed())

    def _item(self, fold: Reduce) -> Reduce | Item:
        if not self.words.accept("."):
            return fold
        token = self.words.token
        position = self.words.integer("the number of an item")
        if position > 0 and position >= len(fold.body):
            raise self.words.refuse(f"no item {position} of {len(fold.body)}", token)
        return Item(fold, position, fold.body[position].dtype if position else fold.dtype)
