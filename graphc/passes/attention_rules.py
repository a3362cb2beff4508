"""softmax(scale Q Kᵀ + mask) V in one node, so that the scores are never stored.

    before  %3: f32[4,8,512,512] = matmul(%q, %kT)                # net.py:7
            %5: f32[4,8,512,512] = where(%earlier, %3, %inf)      # net.py:8
            %6: f32[4,8,512,512] = softmax(%5) {axis=3}           # net.py:9
            %7: f32[4,8,512,64] = matmul(%6, %v)                  # net.py:10
    after   %7: f32[4,8,512,64], %8: f32[4,8,512] = attention(%q, %k, %v) {causal=true, …}

It is looked for back from its second product, after softmax has been found. Between the two may
stand, in any order that keeps the meaning: factors, one mask (added, or chosen against -inf), a
causal order (of constants or of positions) and dropout. Each of these values must have no other
reader: the scores would have to be stored in any case.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from graphc.dtypes import bool_, float32
from graphc.ir import Graph, Node, Remark, Value
from graphc.ops.build import Builder
from graphc.passes.changes import in_regions
from graphc.passes.finding import both_ways
from graphc.passes.rewrite import union

# A finite number that hides a score: whatever is added to it, it stays what it is.
_HIDING = -1e8


class Refused(Exception):
    """Why what looks like attention is none; the text ends a remark."""


@dataclass
class Found:
    """What stands between the products, looked at from the second one."""

    graph: Graph
    product: Node
    nodes: list[Node] = field(default_factory=list)
    scale: float = 1.0
    causal: bool = False
    mask: Value | None = None
    hidden: bool = False  # the bool mask is true where a key is not looked at
    fill: float = -math.inf  # what a bool mask puts in place of a score
    dropout: float = 0.0
    stream: int = 0
    key: Value | None = None

    @property
    def source(self) -> tuple[str, ...]:
        return union(*(node.source for node in self.nodes), self.product.source)


def find_attention(graph: Graph) -> tuple[Graph, list[Remark]]:
    """The graph with its attentions as one node each, regions included, and a remark on each
    product of a softmax; the same object where there is none."""
    remarks: list[Remark] = []
    return _in_graph(graph, remarks), remarks


def _in_graph(graph: Graph, remarks: list[Remark]) -> Graph:
    graph = in_regions(graph, lambda region: _in_graph(region, remarks))
    found = list(_attentions(graph, remarks))
    return _joined(graph, found) if found else graph


def _attentions(graph: Graph, remarks: list[Remark]) -> Iterator[tuple[Found, Node]]:
    """(what stands between, the first product)."""
    for node in graph.nodes:
        if node.op != "matmul" or not node.result.dtype.is_float:
            continue
        found = Found(graph, node)
        try:
            first = _Search(found).first_product()
        except Refused as reason:
            text = f"softmax, matmul not joined: {reason}"
            remarks.append(Remark("recognise", text, found.source))
            continue
        if first is not None:
            text = "joined matmul, softmax, matmul: the scores are not stored"
            remarks.append(Remark("recognise", text, found.source))
            yield found, first


@dataclass
class _Search:
    """Walks back from the second product, along the values of the scores' shape."""

    found: Found

    def first_product(self) -> Node | None:
        """The product of queries and keys; None where no softmax stands before the second."""
        value = self._undropped(self.found.product.operands[0])
        softmax = self._producer(value, "softmax")
        if softmax is None or softmax.attrs["axis"] != value.type.rank - 1:
            return None
        self._pass(softmax)
        value = softmax.operands[0]
        while (node := self._producer(value, "mul", "div", "add", "where")) is not None:
            self._pass(node)
            value = self._before(node)
        first = self._producer(value, "matmul")
        if first is None:
            raise Refused("the scores are no product with a mask")
        self._pass(first)
        self._expect_shapes(first)
        return first

    def _producer(self, value: Value, *ops: str) -> Node | None:
        node = self.found.graph.producers.get(value)
        return node if node is not None and node.op in ops else None

    def _pass(self, node: Node) -> None:
        """Take a node whose only reader is what was found so far."""
        graph, value = self.found.graph, node.results[0]
        readers = {id(user) for user in graph.users.get(value, ())}
        if len(readers) > 1 or value in graph.results:
            raise Refused(f"the values of {node.op} are read elsewhere too")
        self.found.nodes.append(node)

    # One node back

    def _before(self, node: Node) -> Value:
        """The scores that the node changes; notes how."""
        if node.op in ("mul", "div"):
            return self._scaled(node)
        return self._added(node) if node.op == "add" else self._chosen(node)

    def _scaled(self, node: Node) -> Value:
        for value, other in both_ways(node):
            number = self._number(other)
            if number is not None and number > 0:
                self.found.scale *= number if node.op == "mul" else 1 / number
                return value
        raise Refused("the scores are scaled by no positive number")

    def _added(self, node: Node) -> Value:
        for value, other in both_ways(node):
            if not self._leads_to_product(value):
                continue
            if self._is_later_hidden(other):
                self.found.causal = True
            else:
                self._expect_unscaled()
                self._take_mask(other)
            return value
        raise Refused("what is added to the scores is no mask")

    def _chosen(self, node: Node) -> Value:
        condition, yes, no = node.operands
        fills = self._number(yes), self._number(no)
        value, fill = (no, fills[0]) if fills[0] is not None else (yes, fills[1])
        if fill is None or fill > _HIDING:
            raise Refused("scores are replaced by something else than -inf")
        hidden = fills[0] is not None
        if self._is_earlier(condition, hidden) and fill == -math.inf:
            self.found.causal = True
        else:
            if fill != -math.inf:
                self._expect_unscaled()
            self._take_mask(condition)
            self.found.hidden, self.found.fill = hidden, fill
        return value

    def _take_mask(self, mask: Value) -> None:
        if self.found.mask is not None:
            raise Refused("there are two masks")
        self.found.mask = mask

    def _expect_unscaled(self) -> None:
        """What was passed so far came after this node."""
        if self.found.scale != 1:
            raise Refused("the mask is scaled with the scores")

    def _leads_to_product(self, value: Value) -> bool:
        """Whether the first product is reached along the first operand that could lead there."""
        node = self._producer(value, "matmul", "mul", "div", "add", "where")
        if node is None or node.op == "matmul":
            return node is not None
        inner = node.operands[1:] if node.op == "where" else node.operands
        return any(self._leads_to_product(operand) for operand in inner)

    # Dropout

    def _undropped(self, value: Value) -> Value:
        """where(uniform >= rate, p / (1 - rate), 0) undone; the value itself where it is other."""
        chosen = self._producer(value, "where")
        if chosen is None or self._number(chosen.operands[2]) != 0:
            return value
        kept = self._producer(chosen.operands[0], "ge")
        scaled = self._producer(chosen.operands[1], "mul")
        if kept is None or scaled is None:
            return value
        draw = self._producer(kept.operands[0], "random_uniform")
        rate = self._number(kept.operands[1])
        if draw is None or rate is None or draw.result.shape != value.shape:
            return value
        if draw.attrs["dtype"] != float32 or not 0 < rate < 1:
            return value
        for inner, other in both_ways(scaled):
            factor = self._number(other)
            if factor is not None and math.isclose(factor, 1 / (1 - rate), rel_tol=1e-6):
                self._pass(chosen)
                self._pass(scaled)
                self.found.dropout, self.found.stream = rate, draw.attrs["stream"]
                self.found.key = draw.operands[0]
                return inner
        return value

    # Constants

    def _number(self, value: Value) -> float | None:
        """The number that all elements equal."""
        array = self._constant(value)
        if array is None or array.size == 0 or array.dtype.kind not in "fb":
            return None
        first = array.reshape(-1)[0]
        return float(first) if np.all(array == first) else None

    def _constant(self, value: Value) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
        """The elements of a constant, before it is repeated."""
        node = self._producer(value, "constant", "broadcast", "reshape")
        if node is None:
            return None
        if node.op == "constant":
            return np.asarray(node.attrs["value"].data)
        return self._constant(node.operands[0])

    def _matrix(self, value: Value) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
        """A constant that is one matrix for all batches and heads."""
        array = self._constant(value)
        shape = value.shape[-2:]
        return (
            array.reshape(shape) if array is not None and array.size == math.prod(shape) else None
        )

    def _is_later_hidden(self, value: Value) -> bool:
        """-inf above the diagonal, 0 elsewhere."""
        matrix = self._matrix(value)
        if matrix is None:
            return False
        earlier = np.tri(*matrix.shape, dtype=np.bool_)
        return bool(np.array_equal(matrix, np.where(earlier, 0, -np.inf)))

    def _is_earlier(self, condition: Value, hidden: bool) -> bool:
        """Whether the condition says that a key is (`hidden`: is not) at most at the query."""
        matrix = self._matrix(condition)
        if matrix is not None:
            seen = np.tri(*matrix.shape, dtype=np.bool_)
            return bool(np.array_equal(matrix, ~seen if hidden else seen))
        node = self._producer(condition, "le", "ge", "lt", "gt", "broadcast", "reshape", "not")
        if node is None:
            return False
        if node.op == "not":
            return self._is_earlier(node.operands[0], not hidden)
        if node.op in ("broadcast", "reshape"):
            keeps = node.operands[0].shape[-2:] == condition.shape[-2:]
            return keeps and self._is_earlier(node.operands[0], hidden)
        axes = [self._position_axis(operand) for operand in node.operands]
        queries, keys = condition.type.rank - 2, condition.type.rank - 1
        earlier = {"le": [keys, queries], "ge": [queries, keys]}
        later = {"gt": [keys, queries], "lt": [queries, keys]}
        return (later if hidden else earlier).get(node.op) == axes

    def _position_axis(self, value: Value) -> int | None:
        """The axis along which a tensor counts 0, 1, 2 …"""
        node = self._producer(value, "iota", "broadcast", "reshape")
        if node is None:
            return None
        if node.op == "iota":
            return int(node.attrs["axis"])
        inner = node.operands[0]
        axis = self._position_axis(inner)
        if axis is None:
            return None
        if node.op == "broadcast":
            return axis + value.type.rank - inner.type.rank
        wide = [d for d, n in enumerate(value.shape) if n != 1]
        alone = len(wide) == 1 and inner.shape[axis] == value.shape[wide[0]]
        return wide[0] if alone else None

    # Shapes

    def _expect_shapes(self, first: Node) -> None:
        q, keys = first.operands
        v = self.found.product.operands[1]
        rank = q.type.rank
        if not 2 <= rank <= 4 or keys.type.rank != rank or v.type.rank != rank:
            raise Refused("operands have different ranks")
        if not q.shape[:-2] == keys.shape[:-2] == v.shape[:-2]:
            raise Refused("operands have different batches or heads")


# Writing


def _joined(graph: Graph, found: list[tuple[Found, Node]]) -> Graph:
    ends = {between.product: (between, first) for between, first in found}
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += _written(*ends[node]) if node in ends else [node]
    return replace(graph, nodes=tuple(nodes))


def _written(found: Found, first: Node) -> list[Node]:
    """The attention, whose reshaped output is the value that the second product gave."""
    b = Builder(found.source)
    q, keys = first.operands
    rank = q.type.rank
    operands = [_four(b, x, rank) for x in (q, b.swap(keys), found.product.operands[1])]
    if found.mask is not None:
        operands.append(_four(b, _mask(b, found), rank))
    if found.key is not None:
        operands.append(found.key)
    output, _ = b.emit(
        "attention",
        operands,
        {
            "scale": found.scale,
            "causal": found.causal,
            "mask": found.mask is not None,
            "dropout": found.dropout,
            "stream": found.stream,
        },
    )
    result = found.product.result
    b.op("reshape", output, shape=result.shape)
    b.nodes[-1] = replace(b.nodes[-1], results=(result,))
    return b.nodes


def _mask(b: Builder, found: Found) -> Value:
    """The mask before it is repeated, true where a key is looked at, or to be added."""
    assert found.mask is not None
    mask = _before_broadcast(found.graph, found.mask)
    if mask.dtype != bool_:
        return mask
    if found.fill != -math.inf:
        like = b.zeros(replace(found.product.result.type, shape=mask.shape))
        fill = b.like(found.fill, like)
        return b.where(mask, fill, like) if found.hidden else b.where(mask, like, fill)
    return b.op("not", mask) if found.hidden else mask


def _before_broadcast(graph: Graph, mask: Value) -> Value:
    node = graph.producers.get(mask)
    return node.operands[0] if node is not None and node.op == "broadcast" else mask


def _four(b: Builder, x: Value, rank: int) -> Value:
    """A tensor that broadcasts to `rank` dimensions, 2 to 4, as [B, H, rows, columns]."""
    shape = (1,) * (rank - x.type.rank) + x.shape
    leading = shape[:-2]
    wide = {0: (1, 1), 1: (*leading, 1), 2: leading}[len(leading)]
    return b.reshape(x, (*wide, *shape[-2:]))
