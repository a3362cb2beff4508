"""What fusion asks of a graph's nodes: their kinds, and who reads what through views.

elementwise   result element i depends on element i of each operand
mover         one value at an index, from elements elsewhere: pad, concat, gather, random…
reduction     folds whole dimensions: sum, max, argmax…
window        folds a window about each result element: pooling and its gradients
contraction   a sum of products: matmul, convolution
transparent   read through: views, counters, one-element constants, and cheap nodes that
              every reader may compute for itself
opaque        runs alone: control flow, sort, scatter, what is stored into a part of the state
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from functools import cached_property
from typing import Literal

from graphc.ir import Graph, Node, Value
from graphc.ops.define import get

Kind = Literal[
    "elementwise", "mover", "reduction", "window", "contraction", "transparent", "opaque"
]

_LONGEST_COPY = 3  # nodes in a chain that every reader computes again
_LONGEST_REPEAT = 8  # where its start is kept for a later reader in any case

# Slow, yet faster in vectors than a store and a load of memory outside the nearest cache.
_REPEATED = frozenset(
    {"exp", "expm1", "log", "log1p", "erf", "tanh", "sigmoid", "sqrt", "rsqrt", "div"}
)

# Correctly rounded, yet slow; other slow operators are known by their error bound.
_SLOW = frozenset(
    {"div", "sqrt", "floordiv", "mod", "random_bits", "random_uniform", "random_normal", "fold_in"}
)


def is_cheap(node: Node) -> bool:
    """Whether computing the node again costs less than a store and a load."""
    return node.op not in _SLOW and get(node.op).max_ulp <= 0.5


def _may_repeat(node: Node) -> bool:
    return is_cheap(node) or node.op in _REPEATED


def is_view(node: Node) -> bool:
    """Nodes that only say where an element lies or what index it has."""
    literal = node.op == "constant" and node.result.type.size == 1
    return get(node.op).view or node.op == "iota" or literal


class Facts:
    """The nodes of one graph by position, their kinds and their readers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = graph.nodes
        self.position = {value: i for i, node in enumerate(graph.nodes) for value in node.results}
        news = {value for _, value in graph.updates}
        self.kinds: list[Kind] = [_kind(node, news) for node in graph.nodes]
        self._readers: dict[Value, frozenset[int]] = {}
        self._results = frozenset(graph.results)
        self._inputs = frozenset(graph.inputs)
        self._is_result: dict[Value, bool] = {}
        self._copied: dict[int, int] = {}
        self._mark_copied()

    def is_transparent(self, position: int) -> bool:
        return self.kinds[position] == "transparent"

    def is_copied(self, position: int) -> bool:
        """Whether every reader computes the node for itself."""
        return position in self._copied

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

    # Nodes that every reader computes for itself

    def _mark_copied(self) -> None:
        """Cheap nodes of several readers, each of which computes them from what lies in memory.

        Chains of up to `_LONGEST_COPY` of them, where no reader needs the result stored.
        """
        for position, node in enumerate(self.nodes):
            if self.kinds[position] == "elementwise" and self._is_copied(node):
                self.kinds[position] = "transparent"
                self._readers.clear()
                self._is_result.clear()

    def _is_copied(self, node: Node) -> bool:
        (result,) = node.results
        readers = self.readers(result)
        kinds = {self.kinds[reader] for reader in readers}
        if self.is_result(result):
            return False
        if (len(readers) > 1 or "mover" in kinds) and self._is_of_an_input(node, kinds):
            return True
        if len(readers) < 2 or not kinds <= {"elementwise", "reduction"}:
            return False
        if self._is_repeated(node):
            return True
        if not is_cheap(node):
            return False
        wide = {value for value in node.operands if not self.is_small(value, result)}
        return len(wide) == 1 and self._is_at_hand(wide.pop(), node)

    def _is_of_an_input(self, node: Node, kinds: set[Kind]) -> bool:
        """Whether the node is computed in cheap steps from one input alone, which is always at
        hand: masks and safe indices of a batch's class numbers."""
        if not kinds <= {"elementwise", "reduction", "mover"} or not is_cheap(node):
            return False
        chain, bases = self._chain(node)
        cheap = all(is_cheap(self.nodes[position]) for position in chain)
        if not cheap or len(chain) > _LONGEST_REPEAT or len(bases) != 1:
            return False
        if not bases <= self._inputs:
            return False
        self._copy(chain)
        return True

    def _copy(self, chain: set[int]) -> None:
        for position in chain:
            self._copied[position] = len(chain)
            self.kinds[position] = "transparent"

    def _is_repeated(self, node: Node) -> bool:
        """Whether the node is computed from one tensor that is kept for later readers in any
        case, those of the backward: then they repeat it, and nothing else is kept."""
        (result,) = node.results
        if not self._is_kept(result):
            return False
        chain, bases = self._chain(node)
        if len(bases) != 1 or len(chain) > _LONGEST_REPEAT:
            return False
        (base,) = bases
        if not self._is_kept(base, chain) or max(self.readers(base)) < max(self.readers(result)):
            return False
        self._copy(chain)
        return True

    def _chain(self, node: Node) -> tuple[set[int], set[Value]]:
        """(the node, and all before it that only it needs or that are copied; what these read)."""
        chain: set[int] = set()
        bases: set[Value] = set()
        waiting = [self.position[node.results[0]]] if _may_repeat(node) else []
        while waiting:
            position = waiting.pop()
            chain.add(position)
            member = self.nodes[position]
            for value in member.operands:
                maker = self.position.get(value)
                if maker is not None and (maker in chain or self._is_between(maker, chain)):
                    waiting += [] if maker in chain else [maker]
                elif not self.is_small(value, member.results[0]):
                    bases.add(value)
        return chain, bases

    def _is_between(self, maker: int, chain: set[int]) -> bool:
        """Whether a node that a chain reads is copied anyway, or serves nothing else."""
        if maker in self._copied:
            return True
        node = self.nodes[maker]
        if self.kinds[maker] != "elementwise" or not _may_repeat(node):
            return False
        return not self.is_result(node.results[0]) and self.readers(node.results[0]) <= chain

    def _makers(self, node: Node) -> Iterator[int]:
        for value in node.operands:
            if value in self.position:
                yield self.position[value]

    def _is_kept(self, value: Value, but: Iterable[int] = ()) -> bool:
        """Whether a reader, other than `but`, meets what comes after a node that runs alone."""
        maker = self.position.get(value)
        depth = 0 if maker is None else self._depths[maker]
        return any(self._reaches[reader] > depth for reader in self.readers(value) - set(but))

    @cached_property
    def _reaches(self) -> list[int]:
        """The greatest level of what follows from each node element by element, itself too."""
        reaches = [0] * len(self.nodes)
        for position in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[position]
            users = [self.position[u.results[0]] for v in node.results for u in self._users(v)]
            near = [reaches[u] for u in users if self.kinds[u] in ("elementwise", "transparent")]
            reaches[position] = max(self._level(node), *near, 0)
        return reaches

    def _users(self, value: Value) -> tuple[Node, ...]:
        return self.graph.users.get(value, ())

    def _level(self, node: Node) -> int:
        return max((self._depths[maker] for maker in self._makers(node)), default=0)

    @cached_property
    def _depths(self) -> list[int]:
        """How many nodes that run alone come one after another up to each node, itself too."""
        alone = ("contraction", "window", "opaque")
        depths: list[int] = []
        for node, kind in zip(self.nodes, self.kinds, strict=True):
            level = max((depths[maker] for maker in self._makers(node)), default=0)
            depths.append(level + (kind in alone))
        return depths

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

    def _is_at_hand(self, value: Value, node: Node) -> bool:
        """Whether the value lies in memory in any case, or is computed from such in few steps.

        Its memory is then held until the last reader; a result of fewer bytes, such as a mask,
        would take less, unless the value is held that long anyway.
        """
        own = self.position[node.results[0]]
        position = self.position.get(value)
        steps = 1 if position is None else 1 + self._copied.get(position, 0)
        if steps > _LONGEST_COPY or not self._is_stored(value, own):
            return False
        smaller = node.results[0].dtype.itemsize < value.dtype.itemsize
        last = max(self.readers(node.results[0]))
        if smaller and max(self.readers(value)) < last:
            return False
        self._copied[own] = steps
        return True

    def _is_stored(self, value: Value, own: int) -> bool:
        position = self.position.get(value)
        if position is None or position in self._copied:
            return True
        if self.kinds[position] in ("opaque", "reduction"):
            return True
        others = self.readers(value) - self.readers(self.nodes[own].results[0]) - {own}
        return any(self.kinds[other] not in ("elementwise", "mover") for other in others)

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


def _kind(node: Node, news: Set[Value]) -> Kind:
    """The kind of a node; `news` are the new values of the state."""
    record = get(node.op)
    if is_view(node):
        return "transparent"
    if record.lower is None or node.op == "constant":
        return "opaque"
    if record.nest is not None and not news.isdisjoint(node.results):
        return "opaque"
    if record.elementwise:
        return "elementwise"
    if record.contraction:
        return "contraction"
    if record.reduction:
        return "reduction" if _folds_dimensions(node) else "window"
    return "mover" if len(node.results) == 1 else "opaque"


def _folds_dimensions(node: Node) -> bool:
    return node.results[0].type.rank < node.operands[0].type.rank


def folded_axes(node: Node) -> tuple[int, ...]:
    """The dimensions that a reduction folds."""
    found: tuple[int, ...] = node.attrs["axes"] if "axes" in node.attrs else (node.attrs["axis"],)
    return found
