"""The rewriting driver: one sweep over a graph, node by node, in the order of the graph.

A rule looks at one node, whose operands are already rewritten, and gives other values for its
results or None. The driver maps old values to new ones, shares equal nodes (hash-consing), unions
the source lines of what it merges, descends into regions, and keeps every value that no rule
touched; a graph in which nothing changes is returned as the same object. Nodes that lose their
last reader stay: `dce` removes them.

    rule     mul(x, 1) -> x
    before   %2: f32[4] = mul(%x, %1)       # net.py:3
             %3: f32[4] = tanh(%2)          # net.py:4
    after    %3: f32[4] = tanh(%x)          # net.py:4
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from graphc.errors import VerifyError
from graphc.ir import Attribute, Graph, Node, Value
from graphc.ops.build import Builder
from graphc.ops.define import make_node, table
from graphc.passes.changes import map_regions, over, rewritten

Rule: TypeAlias = "Callable[[Rewriter, Node], Sequence[Value] | None]"
Rules: TypeAlias = Mapping[str, Sequence[Rule]]

EVERY = "*"  # the key of rules that are tried on every node, after those of its operator


def rewrite(graph: Graph, rules: Rules, share: bool = True) -> Graph:
    """The graph with every node that a rule rewrites replaced, regions included.

    rules   operator name -> rules, tried in order; the first that answers wins. A node that a
            rule emits is tried too, so one sweep reaches a form that no rule changes.
    share   merge nodes of equal operator, operands and attributes
    """
    return Rewriter(rules, share).sweep(graph)


def union(*sources: tuple[str, ...]) -> tuple[str, ...]:
    """Source lines of merged nodes: each once, in order of appearance.

    >>> union(("a.py:1",), ("a.py:2", "a.py:1"))
    ('a.py:1', 'a.py:2')
    """
    return tuple(dict.fromkeys(line for source in sources for line in source))


class Rewriter(Builder):
    """Builds the new graph; what a rule emits through it is shared and rewritten in turn."""

    def __init__(self, rules: Rules, share: bool = True) -> None:
        super().__init__()
        self.rules = rules
        self.share = share
        self.changed = False
        self.numbers: dict[Value, Any] = {}  # what `patterns.uniform_value` found
        self._every = tuple(rules.get(EVERY, ()))
        self._positions: dict[Value, int] = {}
        self._placed: dict[Any, int] = {}
        self._commutative = frozenset(name for name, op in table().items() if op.commutative)

    # What rules call

    def producer(self, value: Value) -> Node | None:
        """The node of the new graph that computes `value`; None: an input or state."""
        position = self._positions.get(value)
        return None if position is None else self.nodes[position]

    def take(self, node: Node) -> None:
        """Append a node as it is, neither rewritten nor merged; later equal ones become it."""
        self._placed.setdefault(self._key(node), len(self.nodes))
        self._append(node)

    def emit(
        self,
        op: str,
        operands: Sequence[Value],
        attrs: Mapping[str, Attribute] | None = None,
        regions: Sequence[Graph] = (),
    ) -> tuple[Value, ...]:
        """A node of the new graph, or the values that rules or an equal node give for it."""
        return self._place(make_node(op, operands, attrs, regions, self.source))

    @contextmanager
    def sources(self, *sources: tuple[str, ...]) -> Iterator[None]:
        """While open, emitted nodes carry these lines too."""
        before = self.source
        self.source = union(before, *sources)
        try:
            yield
        finally:
            self.source = before

    # The sweep

    def sweep(self, graph: Graph) -> Graph:
        """The graph rewritten; the same object where nothing changed."""
        replaced: dict[Value, Value] = {}
        for node in graph.nodes:
            current = self._with_operands(node, replaced)
            results = self._place(current)
            if results is not node.results:
                self._map(node, results, replaced)
        if not self.changed:
            return graph
        return rewritten(graph, self.nodes, replaced)

    def _with_operands(self, node: Node, replaced: Mapping[Value, Value]) -> Node:
        """The node over the new graph's values, with its regions rewritten; results are kept."""
        node = over(node, replaced)
        inner = map_regions(node, lambda region: rewrite(region, self.rules, self.share))
        self.changed |= inner is not node
        return inner

    def _map(self, node: Node, results: Sequence[Value], replaced: dict[Value, Value]) -> None:
        """Record that the old node's results are now `results`."""
        self.changed = True
        _check_types(node, results)
        for old, new in zip(node.results, results, strict=True):
            if new is not old:
                replaced[old] = new

    def _place(self, node: Node) -> tuple[Value, ...]:
        """What stands for the node's results in the new graph: other values or its own."""
        found = self._apply_rules(node)
        if found is not None:
            return found
        if self.share:
            key = self._key(node)
            position = self._placed.setdefault(key, len(self.nodes))
            if position != len(self.nodes):
                return self._merge(position, node)
        return self._append(node)

    def _append(self, node: Node) -> tuple[Value, ...]:
        for value in node.results:
            self._positions[value] = len(self.nodes)
        self.nodes.append(node)
        return node.results

    def _apply_rules(self, node: Node) -> tuple[Value, ...] | None:
        rules = self.rules.get(node.op)
        if rules is None and not self._every:
            return None
        before = self.source
        self.source = union(before, node.source) if before else node.source
        try:
            for rule in (*(rules or ()), *self._every):
                results = rule(self, node)
                if results is not None:
                    _check_types(node, results)
                    return tuple(results)
        finally:
            self.source = before
        return None

    def _key(self, node: Node) -> Any:
        """Equal for nodes that compute the same values."""
        operands: Any = node.operands
        if node.op in self._commutative:
            operands = frozenset(operands) if len(set(operands)) > 1 else operands
        if not node.regions:
            return (node.op, operands, node.attrs)
        hashes = tuple(region.structural_hash for region in node.regions)
        return (node.op, operands, node.attrs, hashes)

    def _merge(self, position: int, node: Node) -> tuple[Value, ...]:
        """The results of the equal node at `position`, which gets the lines of both."""
        kept = self.nodes[position]
        if not set(node.source) <= set(kept.source) and not self._is_literal(kept):
            self.nodes[position] = replace(kept, source=union(kept.source, node.source))
        return kept.results

    def _is_literal(self, node: Node) -> bool:
        """Constants and their broadcasts: shared by the whole program, they belong to no line."""
        producers = map(self.producer, node.operands)
        return all(producer is not None and not producer.operands for producer in producers)


def _check_types(node: Node, results: Sequence[Value]) -> None:
    if [value.type for value in results] != [value.type for value in node.results]:
        given = ", ".join(str(value.type) for value in results)
        expected = ", ".join(str(value.type) for value in node.results)
        raise VerifyError(
            f"a rule for {node.op!r} gave results {given}; expected {expected} {list(node.source)}"
        )
