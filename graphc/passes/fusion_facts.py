"""What fusion asks of a graph: the kinds of its nodes, and who reads what through views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from graphc.ir import Graph, Node, Value
from graphc.ops.define import get
from graphc.passes.kinds import Kind, is_view, kind_of


class Facts:
    """The nodes of one graph by position, their kinds and their readers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = graph.nodes
        self.position = {value: i for i, node in enumerate(graph.nodes) for value in node.results}
        news = {value for _, value in graph.updates}
        self.kinds: list[Kind] = [kind_of(node, news) for node in graph.nodes]
        self._readers: dict[Value, frozenset[int]] = {}
        self._results = frozenset(graph.results)
        self.inputs = frozenset(graph.inputs)
        self._is_result: dict[Value, bool] = {}
        self.copied: dict[int, int] = {}  # see copies.py: how many nodes each reader computes again

    def is_transparent(self, position: int) -> bool:
        return self.kinds[position] == "transparent"

    def see_through(self, positions: Iterable[int]) -> None:
        """Make nodes transparent."""
        for position in positions:
            self.kinds[position] = "transparent"
        self._readers.clear()
        self._is_result.clear()

    def is_copied(self, position: int) -> bool:
        """Whether every reader computes the node for itself."""
        return position in self.copied

    def readers(self, value: Value) -> frozenset[int]:
        """Positions of the nodes that read the value, directly or through transparent nodes."""
        known = self._readers.get(value)
        if known is None:
            found: set[int] = set()
            for user in self.graph.users.get(value, ()):
                position = self.position[user.results[0]]
                if self.is_transparent(position):
                    found |= self.readers(user.results[0])
                else:
                    found.add(position)
            known = self._readers[value] = frozenset(found)
        return known

    def is_result(self, value: Value) -> bool:
        """Whether the graph gives out the value, as it is or through transparent nodes."""
        known = self._is_result.get(value)
        if known is None:
            users = self.graph.users.get(value, ())
            known = value in self._results or any(
                self.is_result(user.results[0])
                for user in users
                if self.is_transparent(self.position[user.results[0]])
            )
            self._is_result[value] = known
        return known

    def is_small(self, value: Value, beside: Value) -> bool:
        """Whether the value is read through a broadcast of less than an eighth of its size."""
        position = self.position.get(value)
        while position is not None and is_view(self.nodes[position]):
            node = self.nodes[position]
            if not node.operands:
                return True
            value = node.operands[0]
            position = self.position.get(value)
        return value.type.size * 8 <= beside.type.size

    def sources(self, position: int) -> frozenset[int]:
        """Positions of the nodes that compute what a node reads, seen through transparent ones."""
        known = self._sources.get(position)
        if known is None:
            known = frozenset(self._find_sources(self.nodes[position]))
            self._sources[position] = known
        return known

    @cached_property
    def _sources(self) -> dict[int, frozenset[int]]:
        return {}

    def _find_sources(self, node: Node) -> Iterator[int]:
        for value in node.operands:
            position = self.position.get(value)
            if position is None:
                continue
            if self.is_transparent(position):
                yield from self.sources(position)
            else:
                yield position

    @cached_property
    def updating(self) -> frozenset[int]:
        """Elementwise nodes that serve nothing but new values of the state.

        They run after the last reader of the old value; nothing earlier may take them in.
        """
        outputs = set(self.graph.outputs)
        found: set[int] = set()
        for position in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[position]
            if self.kinds[position] not in ("elementwise", "transparent"):
                continue
            users = [user for value in node.results for user in self.graph.users.get(value, ())]
            serves = any(value in self._results for value in node.results) or bool(users)
            if serves and outputs.isdisjoint(node.results):
                positions = (self.position[user.results[0]] for user in users)
                if all(user in found for user in positions):
                    found.add(position)
        return frozenset(found)

    def product_before(self, position: int) -> int | None:
        """The product or pooling whose epilogue an elementwise node could be."""
        known = self._products.get(position, -1)
        if known == -1:
            known = self._products[position] = self._find_product(position)
        return known

    @cached_property
    def _products(self) -> dict[int, int | None]:
        return {}

    def _find_product(self, position: int) -> int | None:
        for value in self.nodes[position].operands:
            producer = self.position.get(value)
            if producer is None:
                continue
            if self.kinds[producer] in ("contraction", "window"):
                return producer
            if self.kinds[producer] == "elementwise":
                found = self.product_before(producer)
                if found is not None:
                    return found
        return None

    # Memory order

    @cached_property
    def images(self) -> frozenset[Value]:
        """Tensors N C H W that convolutions and poolings read or write, and all of one shape that
        elementwise nodes connect with these: they lie in memory with the channels last."""
        found: set[Value] = set()
        waiting = [value for node in self.nodes for value in _images_of(node)]
        producers = self.graph.producers
        while waiting:
            value = waiting.pop()
            if value in found:
                continue
            found.add(value)
            near = [*self.graph.users.get(value, ())]
            near += [producers[value]] if value in producers else []
            for node in near:
                if get(node.op).elementwise:
                    waiting += node.results + node.operands
        return frozenset(found)


def _images_of(node: Node) -> tuple[Value, ...]:
    """The images of a convolution or pooling: its operands and results of four dimensions, but
    for the weights."""
    if "padding" not in node.attrs and "output_size" not in node.attrs:
        return ()
    values = (*node.operands[:1], *node.results)
    return tuple(value for value in values if value.type.rank == 4)
