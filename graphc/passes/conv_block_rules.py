"""Convolution, bias, activation and pooling in one node, so that the map is never stored.

    before  %1: f32[64,32,30,30] = conv2d(%x, %w) {…}                  # net.py:7
            %3: f32[64,32,30,30] = add(%1, %2)                         # net.py:7  (%2: the bias)
            %4: f32[64,32,30,30] = relu(%3)                            # net.py:8
            %5: f32[64,32,15,15], %6: u8[…] = max_pool2d(%4) {…}       # net.py:8
    after   %5: f32[64,32,15,15], %6: u8[64,32,15,15] = conv_pool2d(%x, %w, %b) {…}

The block is looked for back from its pooling. Each of its values must have no other reader: the
map would have to be stored in any case, and be computed twice. A relu after a maximum is the same
as before it. An activation that rises throughout and whose derivative needs its input (elu,
softplus) goes after the maximum, where its input is the pooled map:

    before  max_pool2d(softplus(map))
    after   softplus(conv_pool2d(…) {activation="none"})
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphc.ir import Graph, Node, Remark, Value
from graphc.ops.build import Builder
from graphc.ops.conv_block import ACTIVATIONS, MOST_TAPS
from graphc.ops.convolution import convolution_options
from graphc.ops.masked_pooling import MOST_BITS
from graphc.passes.changes import in_regions
from graphc.passes.conv_block_costs import Refused, expect_few_weights
from graphc.passes.rewrite import union

_ADAPTIVE = "adaptive_avg_pool2d"
_POOLINGS = {"max_pool2d": "max", "avg_pool2d": "average"}
# Elementwise operators between a convolution and its pooling that are named in a refusal.
_CURVES = frozenset(
    {*ACTIVATIONS, "gelu", "silu", "elu", "softplus", "erf", "normal_cdf", "exp", "abs"}
)
_SMOOTH = 15.0  # threshold of softplus from which on its jump is rounding: exp(-15) is 3e-7
_FARTHEST = 8  # nodes between a convolution and a pooling that a refusal still tells of


@dataclass
class Block:
    """What was found: the nodes in order from the convolution, and the operands of the new node."""

    convolution: Node
    pooling: Node
    nodes: list[Node]
    activation: Node | None = None
    bias: Value | None = None

    @property
    def curve(self) -> str:
        return "none" if self.activation is None else self.activation.op

    @property
    def slope(self) -> Mapping[str, Any]:
        """The option that leaky_relu has, and no other."""
        return self.activation.attrs if self.activation and self.curve == "leaky_relu" else {}

    @property
    def moved(self) -> Node | None:
        """The activation, where it goes after the pooling."""
        is_maximum = self.pooling.op == "max_pool2d"
        return self.activation if is_maximum and _rises(self.activation) else None

    @property
    def result(self) -> Value:
        """What stands for the pooled values outside."""
        return self.nodes[-1].results[0]

    @property
    def names(self) -> str:
        return ", ".join(node.op for node in self.nodes)

    @property
    def source(self) -> tuple[str, ...]:
        return union(*(node.source for node in self.nodes))


def find_conv_blocks(graph: Graph) -> tuple[Graph, list[Remark]]:
    """The graph with its blocks as one node each, regions included, and a remark on each pooling
    of a convolution; the same object where there is none."""
    remarks: list[Remark] = []
    return _in_graph(graph, remarks), remarks


def _in_graph(graph: Graph, remarks: list[Remark]) -> Graph:
    graph = in_regions(graph, lambda region: _in_graph(region, remarks))
    blocks = list(_blocks(graph, remarks))
    return _joined(graph, blocks) if blocks else graph


def _blocks(graph: Graph, remarks: list[Remark]) -> Iterator[Block]:
    for node in graph.nodes:
        block = _Search(graph).block(node) if node.op in _POOLINGS else None
        if block is None:
            remarks += _Search(graph).far_remarks(node)
            continue
        try:
            _expect_kept(graph, block)
            _expect_columns(block)
            _expect_windows(block)
            expect_few_weights(block.convolution, block.pooling)
        except Refused as reason:
            remarks.append(Remark("recognise", f"{block.names} not joined: {reason}", block.source))
        else:
            text = f"joined {block.names}: the map before pooling is not stored"
            remarks.append(Remark("recognise", text, block.source))
            yield block


# Looking back from a pooling


@dataclass
class _Search:
    graph: Graph
    passed: list[Node] = field(default_factory=list)

    def block(self, pooling: Node) -> Block | None:
        """The block that ends in a pooling; None where that pools no convolution."""
        activation = self._producer(pooling.operands[0], *_CURVES)
        below = pooling if activation is None else activation
        value = below.operands[0]
        addition = self._producer(value, "add")
        convolution, bias = self._biased(addition) if addition else (self._product(value), None)
        if convolution is None:
            return None
        chain = [convolution, addition, activation, pooling]
        nodes = [node for node in chain if node is not None]
        block = Block(convolution, pooling, nodes, activation, bias)
        self._take_relu_after(block)
        return block

    def far_remarks(self, pooling: Node) -> list[Remark]:
        """Why the pooling of a convolution with something else between is no block."""
        nodes = self._to_product(pooling) if pooling.op in (*_POOLINGS, _ADAPTIVE) else []
        if not nodes:
            return []
        reason = "between them may stand a bias and one activation"
        if pooling.op == _ADAPTIVE:
            reason = "the windows of an adaptive pooling differ in size"
        text = f"{', '.join(node.op for node in nodes)} not joined: {reason}"
        return [Remark("recognise", text, union(*(node.source for node in nodes)))]

    def _to_product(self, pooling: Node) -> list[Node]:
        """The nodes from a convolution to the pooling, [] where none is near."""
        nodes, value = [pooling], pooling.operands[0]
        while (node := self.graph.producers.get(value)) is not None and len(nodes) <= _FARTHEST:
            nodes.insert(0, node)
            if node.op == "conv2d":
                return nodes
            before = _same_shaped(node)
            if before is None:
                break
            value = before
        return []

    def _producer(self, value: Value, *ops: str) -> Node | None:
        node = self.graph.producers.get(value)
        return node if node is not None and node.op in ops else None

    def _product(self, value: Value) -> Node | None:
        return self._producer(value, "conv2d")

    def _biased(self, addition: Node) -> tuple[Node | None, Value | None]:
        """(the convolution, what is added to each of its channels)."""
        for product, other in (addition.operands, addition.operands[::-1]):
            convolution = self._product(product)
            bias = self._channel_values(other)
            if convolution is not None and bias is not None:
                return convolution, bias
        return None, None

    def _channel_values(self, value: Value) -> Value | None:
        """What a tensor [N, C, H, W] repeats over all but C: C elements, in whatever shape."""
        broadcast = self._producer(value, "broadcast")
        if broadcast is None:
            return None
        inner, channels = broadcast.operands[0], value.shape[1]
        aligned = (1,) * (4 - inner.type.rank) + inner.shape
        if aligned != (1, channels, 1, 1):
            return None
        reshape = self._producer(inner, "reshape")
        return reshape.operands[0] if reshape is not None else inner

    def _take_relu_after(self, block: Block) -> None:
        """relu(max(x)) is max(relu(x)), also of NaN and zeros of either sign."""
        pooled = block.pooling.results[0]
        users = self.graph.users.get(pooled, ())
        single = len(users) == 1 and pooled not in self.graph.results
        is_maximum = block.pooling.op == "max_pool2d" and block.activation is None
        if is_maximum and single and users[0].op == "relu":
            block.activation = users[0]
            block.nodes.append(users[0])


def _same_shaped(node: Node) -> Value | None:
    """The first operand of floats of the result's shape."""
    wanted = node.results[0].shape
    fitting = (v for v in node.operands if v.shape == wanted and v.dtype.is_float)
    return next(fitting, None)


def _rises(activation: Node | None) -> bool:
    """Whether a larger input always gives a larger value, up to rounding."""
    if activation is None:
        return False
    attrs: Mapping[str, Any] = activation.attrs
    if activation.op == "softplus":  # it jumps down at a low threshold
        return bool(attrs["beta"] > 0 and attrs["threshold"] >= _SMOOTH)
    return activation.op == "exp" or (activation.op == "elu" and attrs["alpha"] > 0)


# What is refused

# Columns of a register tile that make up for what a window takes of its rows, where they are a
# group's filters, and where they are all filters.
_LEAST_OF_GROUP, _LEAST = 3, 2


def _expect_kept(graph: Graph, block: Block) -> None:
    """Nothing else may read what the block does not give out."""
    inner = [value for node in block.nodes for value in node.results if value is not block.result]
    inside = set(map(id, block.nodes))
    for value in inner:
        others = [user for user in graph.users.get(value, ()) if id(user) not in inside]
        if others or value in graph.results:
            what = "the positions are" if value in block.pooling.results else "the map is"
            raise Refused(f"{what} read elsewhere too")


def _expect_columns(block: Block) -> None:
    groups = block.convolution.attrs["groups"]
    assert isinstance(groups, int)
    filters = block.convolution.operands[1].shape[0] // groups
    least = _LEAST if groups == 1 else _LEAST_OF_GROUP
    if filters < least:
        raise Refused(f"filters of a group: {filters}, less than {least}: too narrow for a tile")


def _expect_windows(block: Block) -> None:
    attrs: Mapping[str, Any] = block.pooling.attrs
    kind = _POOLINGS[block.pooling.op]
    kernel, stride = attrs["kernel"], attrs["stride"]
    if any(k > s for k, s in zip(kernel, stride, strict=True)):
        raise Refused("the windows overlap: elements would be computed once for each")
    if any(attrs["padding"]) or any(d != 1 for d in attrs.get("dilation", ())):
        raise Refused("the windows are padded or dilated")
    sizes = block.pooling.operands[0].shape[2:]
    whole = tuple((n - k) // s + 1 for n, k, s in zip(sizes, kernel, stride, strict=True))
    if block.pooling.results[0].shape[2:] != whole:
        raise Refused("the last windows hang over the edge")
    if math.prod(kernel) == 1:
        raise Refused("a window is one element: there is nothing to fold")
    most = MOST_TAPS if kind == "max" else MOST_BITS
    if math.prod(kernel) > most:
        raise Refused(f"a window has {math.prod(kernel)} elements, more than {most}")
    _expect_short_backward(block, kind)


def _expect_short_backward(block: Block, kind: str) -> None:
    """The backward must need no more than the pooled values and a code."""
    allowed = ACTIVATIONS if kind == "max" else ("none", "relu")
    if block.moved is not None:
        return
    if block.curve not in allowed or block.slope.get("slope", 0) < 0:
        raise Refused(f"the derivative of {block.curve} needs the map before pooling")


# Putting the blocks into the graph


def _joined(graph: Graph, blocks: list[Block]) -> Graph:
    ends = {block.pooling: block for block in blocks}
    gone = {node for block in blocks for node in block.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node in ends:
            nodes += _written(ends[node])
        elif node not in gone:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _written(block: Block) -> list[Node]:
    """The block's nodes, whose results are the values that the old nodes gave."""
    builder = Builder(block.source)
    x, w = block.convolution.operands
    operands = [x, w]
    if block.bias is not None:
        operands.append(builder.reshape(block.bias, (w.shape[0],)))
    builder.emit("conv_pool2d", operands, _attrs(block))
    node = builder.nodes.pop()
    pooled = block.result if block.moved is None else node.results[0]
    given = (pooled, *block.pooling.results[1:])[: len(node.results)]
    builder.nodes.append(replace(node, results=given + node.results[len(given) :]))
    if block.moved is not None:
        builder.nodes.append(replace(block.moved, operands=(pooled,), results=(block.result,)))
    return builder.nodes


def _attrs(block: Block) -> Mapping[str, Any]:
    return {
        **convolution_options(block.convolution),
        "kernel": block.pooling.attrs["kernel"],
        "pool_stride": block.pooling.attrs["stride"],
        "pool": _POOLINGS[block.pooling.op],
        "activation": "none" if block.moved is not None else block.curve,
        **block.slope,
    }
