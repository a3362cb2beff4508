"""Patterns over a graph, and tables of (pattern, replacement, reason).

    x, y = Any("x"), Any("y")
    Row(
        Apply("neg", (Apply("neg", (x,)),)),
        lambda m: m["x"],
        "the sign bit flipped twice",
    )

A pattern is matched from a node backward over its operands. `Any` takes every value, and the same
value where its name occurs twice; `Literal` takes a value whose elements all equal a number;
`Apply` takes a value that a node of this operator computes, whichever way round a commutative
operator holds its operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any as Anything
from typing import TypeAlias

import numpy as np

from graphc.ir import Array, Node, TensorType, Value
from graphc.ops.define import get
from graphc.passes.rewrite import Rewriter, Rule


@dataclass(frozen=True)
class Any:
    """Every value."""

    name: str


@dataclass(frozen=True)
class Literal:
    """A constant, or a broadcast or reshape of one, whose elements are all this number.

    The sign of a zero counts; `number` None takes any number, which `name` then gives.
    """

    number: float | None
    name: str = ""


@dataclass(frozen=True)
class Apply:
    """The first result of a node of this operator; `name` gives the node to the replacement."""

    op: str
    operands: tuple[Pattern, ...]
    name: str = ""


@dataclass(frozen=True)
class Either:
    """The first of the patterns that matches."""

    patterns: tuple[Pattern, ...]


Pattern: TypeAlias = Any | Literal | Apply | Either


@dataclass
class Match:
    """What a pattern found: values and nodes by name, and all nodes that it covers."""

    builder: Rewriter
    root: Node
    values: dict[str, Value] = field(default_factory=dict)
    named: dict[str, Node] = field(default_factory=dict)
    covered: list[Node] = field(default_factory=list)

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def node(self, name: str) -> Node:
        return self.named[name]

    def number(self, name: str) -> Anything:
        """The number of a `Literal`, in its element type."""
        number = uniform_value(self.builder, self.values[name])
        assert number is not None  # a Literal matched it
        return number

    @property
    def type(self) -> TensorType:
        """The type that the replacement must have."""
        return self.root.results[0].type


Replacement: TypeAlias = Callable[[Match], "Value | Sequence[Value] | None"]


@dataclass(frozen=True)
class Row:
    """One rewrite. `replacement` gives the root's results, or None where it does not apply."""

    pattern: Apply
    replacement: Replacement
    reason: str


def rules_of(rows: Iterable[Row]) -> dict[str, list[Rule]]:
    """The rows as rules of the rewriting driver, by the operator of their root."""
    by_op: dict[str, list[Row]] = {}
    for row in rows:
        by_op.setdefault(row.pattern.op, []).append(row)
    return {op: [_rule_of(tuple(chosen))] for op, chosen in by_op.items()}


def _rule_of(rows: Sequence[Row]) -> Rule:
    """One rule that tries the rows in order, only those that the operands' producers allow."""

    def rule(rewriter: Rewriter, node: Node) -> Sequence[Value] | None:
        for row in rows:
            if not _is_plausible(rewriter, row.pattern, node):
                continue
            results = _apply_row(rewriter, row, node)
            if results is not None:
                return results
        return None

    return rule


def _apply_row(rewriter: Rewriter, row: Row, node: Node) -> Sequence[Value] | None:
    for match in find(rewriter, row.pattern, node):
        with rewriter.sources(*(covered.source for covered in match.covered)):
            results = row.replacement(match)
        if results is not None:
            return (results,) if isinstance(results, Value) else results
    return None


_REPEATING = frozenset({"constant", "broadcast", "reshape", "transpose"})


def _is_plausible(rewriter: Rewriter, pattern: Apply, node: Node) -> bool:
    """A quick look at the operands that refuses most rows before any matching."""
    return any(
        all(map(partial(_may_match, rewriter), pattern.operands, operands))
        for operands in _arrangements(node)
    )


def _may_match(rewriter: Rewriter, pattern: Pattern, value: Value) -> bool:
    if isinstance(pattern, Literal):
        return _is_literal(rewriter, pattern, value)
    if isinstance(pattern, Apply):
        producer = rewriter.producer(value)
        return producer is not None and producer.op == pattern.op
    return True


def _is_literal(rewriter: Rewriter, pattern: Literal, value: Value) -> bool:
    number = uniform_value(rewriter, value)
    return number is not None and (pattern.number is None or is_number(number, pattern.number))


def find(rewriter: Rewriter, pattern: Apply, node: Node) -> Iterable[Match]:
    """All ways in which the pattern matches at the node."""
    return _match_node(pattern, node, Match(rewriter, node))


def _match_node(pattern: Apply, node: Node, match: Match) -> Iterable[Match]:
    if node.op != pattern.op:
        return
    for operands in _arrangements(node):
        yield from _match_operands(pattern.operands, operands, _enter(match, pattern, node))


def _arrangements(node: Node) -> tuple[tuple[Value, ...], ...]:
    if len(node.operands) == 2 and get(node.op).commutative:
        return (node.operands, node.operands[::-1])
    return (node.operands,)


def _match_operands(
    patterns: tuple[Pattern, ...], values: tuple[Value, ...], match: Match
) -> Iterable[Match]:
    """Depth first over the operands, so that a later failure tries the earlier ones again."""
    if len(patterns) > len(values):
        return
    if not patterns:
        yield match
        return
    for first in _match_value(patterns[0], values[0], match):
        yield from _match_operands(patterns[1:], values[1:], first)


def _match_value(pattern: Pattern, value: Value, match: Match) -> Iterable[Match]:
    match_kind = _MATCHERS[type(pattern)]
    yield from match_kind(pattern, value, match)


def _match_any(pattern: Any, value: Value, match: Match) -> Iterable[Match]:
    known = match.values.get(pattern.name)
    if known is value:
        yield match
    elif known is None:
        yield _bind(match, pattern.name, value)


def _match_literal(pattern: Literal, value: Value, match: Match) -> Iterable[Match]:
    if _is_literal(match.builder, pattern, value):
        yield _bind(match, pattern.name, value) if pattern.name else match


def _match_apply(pattern: Apply, value: Value, match: Match) -> Iterable[Match]:
    node = match.builder.producer(value)
    if node is not None and node.results[0] is value:
        yield from _match_node(pattern, node, match)


def _match_either(pattern: Either, value: Value, match: Match) -> Iterable[Match]:
    for choice in pattern.patterns:
        yield from _match_value(choice, value, match)


_MATCHERS: dict[type, Callable[..., Iterable[Match]]] = {
    Any: _match_any,
    Literal: _match_literal,
    Apply: _match_apply,
    Either: _match_either,
}


def _bind(match: Match, name: str, value: Value) -> Match:
    values = {**match.values, name: value}
    return Match(match.builder, match.root, values, match.named, match.covered)


def _enter(match: Match, pattern: Apply, node: Node) -> Match:
    named = {**match.named, pattern.name: node} if pattern.name else match.named
    return Match(match.builder, match.root, match.values, named, [*match.covered, node])


def uniform_value(rewriter: Rewriter, value: Value) -> Anything:
    """The number that every element of a constant value equals, else None."""
    known = rewriter.numbers
    if value not in known:
        known[value] = _find_uniform_value(rewriter, value)
    return known[value]


def _find_uniform_value(rewriter: Rewriter, value: Value) -> Anything:
    node = rewriter.producer(value)
    while node is not None and node.op in _REPEATING and node.operands:
        node = rewriter.producer(node.operands[0])
    if node is None or node.op != "constant":
        return None
    return uniform_element(node.attrs["value"])


def uniform_element(array: Array) -> Anything:
    """The element that all of an array's elements equal bit for bit, else None."""
    data = array.data
    if data.size == 0:
        return None
    first = data.reshape(-1)[0]
    if data.size == 1 or data.tobytes() == first.tobytes() * data.size:
        return first
    return None


def is_number(element: Anything, number: float) -> bool:
    """Equality that tells 0.0 from -0.0.

    >>> is_number(np.float32(-0.0), 0.0), is_number(np.int32(0), 0.0)
    (False, True)
    """
    if number != 0 or element != 0:
        return bool(element == number)
    return bool(np.signbit(element) == np.signbit(number))
