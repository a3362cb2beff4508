"""The course of live bytes over a fused graph: what each launch finds in memory.

A *tensor* is a value that gets memory of its own: a result of a node that runs. Views, literals,
inputs and state have none. What the memory planner will find later is foreseen well enough to
choose by; the plan has the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.ir import Graph, Node, Value
from graphc.ops.define import get
from graphc.passes.kinds import is_view


@dataclass(frozen=True)
class Course:
    """Tensors by position of the nodes that make and read them, and the live bytes there.

    made     tensor -> the node that makes it
    reads    tensor -> the nodes that read it, itself or through views, in order
    levels   by position: bytes of all tensors that are live while the node runs
    root     value -> the tensor that it is, or shows; None: it has no memory in the arena
    """

    nodes: tuple[Node, ...]
    made: dict[Value, int]
    reads: dict[Value, list[int]]
    levels: list[int]
    root: dict[Value, Value | None]

    @property
    def peak(self) -> int:
        """The position with the most live bytes; the first of several."""
        return self.levels.index(max(self.levels))

    @property
    def peak_bytes(self) -> int:
        return max(self.levels, default=0)

    def last(self, tensor: Value) -> int:
        """The position up to which a tensor keeps its bytes."""
        reads = self.reads[tensor]
        return reads[-1] if reads else self.made[tensor]

    def next_read(self, tensor: Value, position: int) -> int | None:
        """The first reader after a position; None: there is none."""
        return next((read for read in self.reads[tensor] if read > position), None)


def runs(node: Node) -> bool:
    """Whether the node is a launch, neither a view nor a literal."""
    return not is_view(node) and node.op != "constant"


def course_of(graph: Graph) -> Course:
    """When the tensors of a graph are live, in the order of its nodes.

    Outputs are copied out after the last node. A new value of the state is stored in the state.
    """
    made, reads, root = _tensors(graph)
    updated = {value for _, value in graph.updates}
    levels = [0] * (len(graph.nodes) + 1)
    for tensor, start in made.items():
        if tensor not in updated:
            end = reads[tensor][-1] if reads[tensor] else start
            levels[start] += tensor.type.nbytes
            if end + 1 < len(levels):
                levels[end + 1] -= tensor.type.nbytes
    for position in range(1, len(levels)):
        levels[position] += levels[position - 1]
    for position, node in enumerate(graph.nodes):
        levels[position] -= _shared_in_place(node, position, reads, root)
    return Course(graph.nodes, made, reads, levels, root)


Tensors = tuple[dict[Value, int], dict[Value, list[int]], dict[Value, Value | None]]


def _tensors(graph: Graph) -> Tensors:
    root: dict[Value, Value | None] = {}
    made: dict[Value, int] = {}
    reads: dict[Value, list[int]] = {}
    for position, node in enumerate(graph.nodes):
        if not runs(node):
            shown = root.get(node.operands[0]) if node.operands else None
            root.update(dict.fromkeys(node.results, shown))
            continue
        for tensor in dict.fromkeys(root.get(value) for value in node.operands):
            if tensor is not None:
                reads[tensor].append(position)
        for value in node.results:
            root[value] = value
            made[value] = position
            reads[value] = []
    for tensor in {root.get(value) for value in graph.outputs}:
        if tensor is not None:
            reads[tensor].append(len(graph.nodes))
    return made, reads, root


def _shared_in_place(
    node: Node,
    position: int,
    reads: dict[Value, list[int]],
    root: dict[Value, Value | None],
) -> int:
    """Bytes that results of an elementwise launch take over from operands that die in it."""
    if not runs(node) or not _is_elementwise(node):
        return 0
    dying: dict[Value, Value] = {}  # operand -> the tensor that it shows the whole of
    for value in node.operands:
        tensor = root.get(value)
        if tensor is not None and reads[tensor][-1] == position and _same_size(tensor, value):
            dying[value] = tensor
    shared = 0
    for result in node.results:
        match = next((value for value in dying if _same_layout(value, result)), None)
        if match is not None:
            tensor = dying[match]
            dying = {value: other for value, other in dying.items() if other is not tensor}
            shared += result.type.nbytes
    return shared


def _same_size(one: Value, other: Value) -> bool:
    return one.type.nbytes == other.type.nbytes


def _same_layout(one: Value, other: Value) -> bool:
    return one.shape == other.shape and one.dtype.itemsize == other.dtype.itemsize


def _is_elementwise(node: Node) -> bool:
    return all(get(inner.op).elementwise or is_view(inner) for inner in inner_nodes(node))


def inner_nodes(node: Node) -> Sequence[Node]:
    """What runs in a launch: the nodes of a group, or the node itself."""
    return node.regions[0].nodes if node.op == "group" else (node,)
