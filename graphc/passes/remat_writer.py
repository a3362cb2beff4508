"""A graph written anew, with launches that run again before the first late reader of a tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from graphc.ir import Attributes, Graph, Node, Remark, Value
from graphc.passes.changes import same, substitute
from graphc.passes.clone import clone_node, close, inline, live_nodes
from graphc.passes.fuse import fuse
from graphc.passes.remat_choice import Eviction
from graphc.passes.remat_course import Course, runs
from graphc.passes.remat_recipe import Portion


@dataclass
class Writer:
    """Writes a graph anew with tensors computed again.

    clones     what is computed again -> the tensor it is a clone of
    redirect   what stands for a value from the current position on
    """

    graph: Graph
    course: Course
    evictions: Sequence[Eviction]
    clones: dict[Value, Value] = field(default_factory=dict)
    remarks: dict[Value, Remark] = field(default_factory=dict)
    redirect: dict[Value, Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    written: dict[Value, Node] = field(default_factory=dict)

    def run(self) -> Graph:
        due: dict[int, list[Eviction]] = defaultdict(list)
        for eviction in self.evictions:
            due[eviction.position].append(eviction)
        for position, node in enumerate(self.graph.nodes):
            if position in due:
                self._compute_again(due[position])
            self._append(self._over(node, {}))
        results = self.graph.results
        return replace(self.graph, nodes=read_nodes(self.nodes, results))

    def _append(self, node: Node) -> None:
        self.nodes.append(node)
        self.written.update(dict.fromkeys(node.results, node))

    def _over(self, node: Node, local: dict[Value, Value]) -> Node:
        operands = tuple(self._resolve(value, local) for value in node.operands)
        return node if same(operands, node.operands) else replace(node, operands=operands)

    def _resolve(self, value: Value, local: dict[Value, Value]) -> Value:
        """What stands for a value here; views of what is computed again are made again.

        `local` holds what is computed again at this position.
        """
        found = local.get(value) or self.redirect.get(value)
        if found is not None:
            return found
        node = self.written.get(value)
        if node is None or runs(node) or not node.operands:
            return value
        operands = tuple(self._resolve(operand, local) for operand in node.operands)
        if same(operands, node.operands):
            return value
        view = clone_node(node, dict(zip(node.operands, operands, strict=True)))
        self._append(view)
        (local if local else self.redirect)[value] = view.results[0]
        return view.results[0]

    def _compute_again(self, evictions: Sequence[Eviction]) -> None:
        """Append the launches of recipes that are due at one position, and redirect later reads."""
        local: dict[Value, Value] = {}
        for eviction in evictions:
            for leaf, instance in eviction.recipe.leaves.items():
                local.setdefault(leaf, self.redirect.get(instance, instance))
            for portion in eviction.recipe.portions:
                self._run_again(portion, local)
            clone = local[eviction.tensor]
            self.remarks[clone] = _remark(eviction)
        for eviction in evictions:
            self.redirect[eviction.tensor] = local[eviction.tensor]

    def _run_again(self, portion: Portion, local: dict[Value, Value]) -> None:
        if all(value in local for value in portion.wanted):
            return
        values = {value: self._resolve(value, local) for value in portion.operands}
        values.update((value, local[value]) for value in portion.at_hand)
        nodes: list[Node] = []
        made = _again(portion, values, nodes)
        for node in nodes:
            self._append(node)
        for value, clone in zip(portion.made, made, strict=True):
            local[value] = clone
            self.clones[clone] = value


def _again(portion: Portion, values: dict[Value, Value], nodes: list[Node]) -> Sequence[Value]:
    """Append what gives the portion's results over the values."""
    node = portion.node
    if node.op != "group":
        nodes.append(clone_node(node, dict(values)))
        return nodes[-1].results
    if portion.is_whole:
        nodes.append(_group_again(portion, values))
        return nodes[-1].results
    region = _closed(portion)
    reads = (*portion.operands, *portion.at_hand)
    return inline(fuse(region), [values[value] for value in reads], nodes)


def _group_again(portion: Portion, values: dict[Value, Value]) -> Node:
    """The whole group, with the results that are wanted."""
    (region,) = portion.node.regions
    inside = dict(zip(portion.node.results, region.outputs, strict=True))
    outputs = tuple(inside[value] for value in portion.wanted)
    attrs = portion.node.attrs
    reason = f"{attrs['reason']}; computed again to save memory"
    return Node(
        "group",
        substitute(portion.node.operands, values),
        Attributes({**attrs, "reason": reason}),
        tuple(Value(value.type, value.name) for value in portion.wanted),
        portion.node.source,
        (region if outputs == region.outputs else replace(region, outputs=outputs),),
    )


def _closed(portion: Portion) -> Graph:
    """The portion as a graph of its own over (operands..., results at hand...)."""
    (region,) = portion.node.regions
    formal = {
        actual: value for value, actual in zip(region.inputs, portion.node.operands, strict=True)
    }
    inside = dict(zip(portion.node.results, region.outputs, strict=True))
    inputs = [formal[value] for value in portion.operands]
    inputs += [inside[value] for value in portion.at_hand]
    return close(region.name, inputs, portion.nodes, [inside[v] for v in portion.wanted])


def _remark(eviction: Eviction) -> Remark:
    tensor, recipe = eviction.tensor, eviction.recipe
    launches = len(recipe.portions)
    text = (
        f"{tensor.type} is computed again where it is next read: {tensor.type.nbytes} bytes less "
        f"at the peak for {launches} launch{'es' if launches > 1 else ''}, "
        f"about {recipe.flops} operations"
    )
    return Remark("remat", text, recipe.portions[-1].node.source)


def read_nodes(nodes: Sequence[Node], results: Iterable[Value]) -> tuple[Node, ...]:
    """The nodes that the results depend on; groups give no value that nobody reads."""
    needed = set(results)
    kept: list[Node] = []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.results):
            kept.append(_with_results(node, needed))
            needed.update(node.operands)
    return tuple(reversed(kept))


def _with_results(node: Node, needed: set[Value]) -> Node:
    """The node, or a group with those of its results that are needed."""
    if node.op != "group" or needed.issuperset(node.results):
        return node
    (region,) = node.regions
    pairs = zip(node.results, region.outputs, strict=True)
    read = {value: inner for value, inner in pairs if value in needed}
    outputs = tuple(read.values())
    less = replace(region, nodes=live_nodes(region.nodes, outputs), outputs=outputs)
    return replace(node, results=tuple(read), regions=(less,))
