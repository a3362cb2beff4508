"""Groups of nodes as `group` nodes: their regions, operands and results, and a new order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from graphc.ir import Attributes, Graph, Node, Value
from graphc.passes.clone import clone_node
from graphc.passes.fusion_facts import Facts
from graphc.passes.growth import Growth
from graphc.passes.kinds import is_view
from graphc.passes.rewrite import union

# Read through inside the group; other views of memory are free outside, or one copy for all.
_READ_THROUGH = frozenset({"broadcast", "slice", "iota", "constant"})


def draft_groups(facts: Facts, growths: Sequence[Growth]) -> list[Draft]:
    """The groups of two nodes and more, in the order of the graph."""
    drafts = (Draft(facts, growth) for growth in reversed(growths))
    return [draft for draft in drafts if len(draft.nodes) > 1]


def assemble(facts: Facts, drafts: Sequence[Draft]) -> Graph:
    """The graph in which each group is one node, in an order that respects all operands."""
    grouped = {member for draft in drafts for member in draft.group.members}
    loose = _live_loose_nodes(facts, grouped, drafts)
    read = set(facts.graph.results)
    read.update(value for node in loose for value in node.operands)
    read.update(value for draft in drafts for value in draft.operands)
    made = [(draft.group.root, draft.node(read)) for draft in drafts]
    rest = [(facts.position[node.results[0]], node) for node in loose]
    return replace(facts.graph, nodes=_ordered([*made, *rest]))


def _live_loose_nodes(facts: Facts, grouped: set[int], drafts: Iterable[Draft]) -> list[Node]:
    """The nodes in no group that a result, a group or another such node reads."""
    needed = set(facts.graph.results)
    needed.update(value for draft in drafts for value in draft.operands)
    kept = []
    for position in range(len(facts.nodes) - 1, -1, -1):
        node = facts.nodes[position]
        if position in grouped:
            continue
        if not facts.is_transparent(position) or not needed.isdisjoint(node.results):
            kept.append(node)
            needed.update(node.operands)
    return kept


@dataclass
class Draft:
    """A group on its way to a node: what its region holds and what it reads."""

    facts: Facts
    group: Growth

    def __post_init__(self) -> None:
        self._inside = set(self.group.members)
        self._chosen: dict[int, None] = {}
        self._operands: dict[Value, None] = {}
        for member in self.group.members:
            for value in self.facts.nodes[member].operands:
                self._reach(value)
            self._chosen[member] = None

    @property
    def nodes(self) -> list[Node]:
        """All nodes of the region but plain views: each transparent one before its first reader,
        so that equal layers give equal regions."""
        nodes = [self.facts.nodes[position] for position in self._chosen]
        return [node for node in nodes if not is_view(node)]

    @property
    def operands(self) -> tuple[Value, ...]:
        return tuple(self._operands)

    def _reach(self, value: Value) -> None:
        """Take in the transparent node that gives the value, or make the value an operand."""
        position = self.facts.position.get(value)
        if position is not None and position in self._inside:
            return
        if position is None or not self._is_taken_in(position):
            self._operands[value] = None
        elif position not in self._chosen:
            for operand in self.facts.nodes[position].operands:
                self._reach(operand)
            self._chosen[position] = None

    def _is_taken_in(self, position: int) -> bool:
        """Views are read through inside where they must be, or cost nothing there."""
        if not self.facts.is_transparent(position):
            return False
        node = self.facts.nodes[position]
        return not is_view(node) or node.op in _READ_THROUGH or self._leads_inside(position)

    def _leads_inside(self, position: int) -> bool:
        """Whether a view shows something that is computed inside."""
        if position in self._inside:
            return True
        if not self.facts.is_transparent(position):
            return False
        node = self.facts.nodes[position]
        if not is_view(node) or node.op in ("iota", "constant"):
            return True
        inner = self.facts.position.get(node.operands[0])
        return inner is not None and self._leads_inside(inner)

    def node(self, read: set[Value]) -> Node:
        """The `group` node; its results are the values that `read` holds."""
        formal = {value: Value(value.type, value.name) for value in self._operands}
        values = dict(formal)
        inside = [self.facts.nodes[position] for position in self._chosen]
        copies = tuple(clone_node(node, values) for node in inside)
        members = [self.facts.nodes[position] for position in self.group.members]
        results = tuple(v for node in members for v in node.results if v in read)
        name = self._name
        outputs = tuple(values[value] for value in results)
        region = Graph(name, tuple(formal.values()), copies, outputs)
        attrs = Attributes({"name": name, "reason": self.group.describe()})
        return Node("group", self.operands, attrs, results, self.source, (region,))

    @property
    def source(self) -> tuple[str, ...]:
        return union(*(node.source for node in self.nodes))

    @property
    def _name(self) -> str:
        """The main operator, then up to three others in the order of the graph."""
        ops = [node.op for node in self.nodes]
        if self.group.main is not None:
            ops.insert(0, self.facts.nodes[self.group.main].op)
        return "_".join(list(dict.fromkeys(ops))[:4])


def _ordered(nodes: Sequence[tuple[int, Node]]) -> tuple[Node, ...]:
    """Topological order, the lowest of the given positions first among those that may run."""
    makers = {value: i for i, (_, node) in enumerate(nodes) for value in node.results}
    waits = [
        len({makers[value] for value in node.operands if value in makers}) for _, node in nodes
    ]
    readers: list[list[int]] = [[] for _ in nodes]
    for i, (_, node) in enumerate(nodes):
        for maker in {makers[value] for value in node.operands if value in makers}:
            readers[maker].append(i)
    ready = [(nodes[i][0], i) for i, count in enumerate(waits) if count == 0]
    heapq.heapify(ready)
    order: list[Node] = []
    while ready:
        _, i = heapq.heappop(ready)
        order.append(nodes[i][1])
        for reader in readers[i]:
            waits[reader] -= 1
            if waits[reader] == 0:
                heapq.heappush(ready, (nodes[reader][0], reader))
    return tuple(order)
