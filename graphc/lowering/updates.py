"""Which updates of state may be stored straight over the old value.

state w;  %1 = sub(w, %g);  update w = %1      stored into w: nothing reads w afterwards
state w;  %1 = transpose(w);  %2 = add(w, %1)  not: an element is read after it is overwritten
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from graphc.ir import Graph, Node, Value
from graphc.ops import get

# No launch stores their results: these are read through, or other places in memory.
_NOT_STORED = frozenset({"constant", "iota", "scan", "cond"})


def updates_in_place(graph: Graph) -> dict[Value, Value]:
    """{new value: state tensor} of the updates whose node may write into the state."""
    state = {value.name: value for value in graph.state}
    return _in_place(graph, [(state[name], value) for name, value in graph.updates])


def carries_in_place(
    body: Graph, olds: Sequence[Value], news: Sequence[Value]
) -> dict[Value, Value]:
    """{new value: old value} of a loop's carries whose new value may overwrite the old one.

    Not in the epilogue of a product: its tiles may keep partial sums in the result.
    """
    named = tuple((str(number), value) for number, value in enumerate(news))
    graph = Graph(body.name, body.inputs, body.nodes, body.outputs[len(news) :], (), named)
    found = _in_place(graph, list(zip(olds, news, strict=True)))
    return {v: old for v, old in found.items() if not _folds_beside(graph.producers[v], old)}


def slice_in_place(body: Graph, old: Value, new: Value) -> bool:
    """Whether a loop's body may store a new slice, given out once, over one that it took."""
    others = tuple(value for value in body.outputs if value is not new)
    if len(others) != len(body.outputs) - 1:
        return False
    graph = Graph(body.name, body.inputs, body.nodes, others, (), (("", new),))
    found = _in_place(graph, [(old, new)])
    return new in found and not _folds_beside(graph.producers[new], old)


def _folds_beside(node: Node, old: Value) -> bool:
    """Whether a node that reads the old value also holds a product."""
    inside = node.regions[0].nodes if node.op == "group" else (node,)
    return old in node.operands and any(get(inner.op).contraction for inner in inside)


def _in_place(graph: Graph, updates: Sequence[tuple[Value, Value]]) -> dict[Value, Value]:
    """{new: old} of the pairs (old, new) whose new value may be stored over the old one."""
    last = last_readers(graph)
    made = {v: n for n, node in enumerate(graph.nodes) for v in node.results}
    counts = Counter(value for _, value in updates)
    targets = {}
    for old, value in updates:
        if value not in made or counts[value] > 1 or value in graph.outputs:
            continue
        if last.get(old, -1) <= made[value] and _reads_what_it_writes(graph, old, value):
            targets[value] = old
    return targets


def last_readers(graph: Graph) -> dict[Value, int]:
    """The last node that reads each value; through a view, whoever reads the view.

    Outputs and updates are read after the last node.
    """
    last = dict.fromkeys(graph.results, len(graph.nodes))
    for number in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[number]
        at = number
        if get(node.op).view:
            at = max([number, *(last.get(value, number) for value in node.results)])
        for value in node.operands:
            last[value] = max(last.get(value, -1), at)
    return last


def _reads_what_it_writes(graph: Graph, old: Value, value: Value) -> bool:
    """Whether the node of a new value reads the old one only at the element that it writes, or
    not at all."""
    node = graph.producers[value]
    if get(node.op).view or node.op in _NOT_STORED:
        return False
    aliases = _views_of(graph, old)
    if aliases & set(node.operands):
        return False
    if old not in node.operands:
        record = get(node.op)
        return record.nest is None or bool(record.overwrites)
    if node.op != "group":
        return get(node.op).elementwise or _overwrites(node, old, value)
    return _elementwise_in(node, old)


def _overwrites(node: Node, old: Value, value: Value) -> bool:
    """Whether a nest's record says that the result may be stored over the operand."""
    operands = [number for number, operand in enumerate(node.operands) if operand is old]
    pair = (operands[0], node.results.index(value))
    return len(operands) == 1 and pair in get(node.op).overwrites


def _views_of(graph: Graph, old: Value) -> set[Value]:
    """Other values that read the state's memory."""
    found: set[Value] = set()
    waiting = [old]
    while waiting:
        for node in graph.users.get(waiting.pop(), ()):
            if get(node.op).view and found.isdisjoint(node.results):
                found.update(node.results)
                waiting += node.results
    return found


def _elementwise_in(group: Node, old: Value) -> bool:
    """Whether everything in a group that depends on an operand does so element by element."""
    (region,) = group.regions
    pairs = zip(region.inputs, group.operands, strict=True)
    reached = {formal for formal, actual in pairs if actual is old}
    for node in region.nodes:
        if reached & set(node.operands):
            if not get(node.op).elementwise:
                return False
            reached.update(node.results)
    return all(value.shape == old.shape for value in region.outputs)
