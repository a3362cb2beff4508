"""A region cut in two: a forward that also gives what the backward needs, and that backward.

    region     (h, w, x) -> tanh(w x + h)
    forward    (h, w, x) -> t = tanh(w x + h), t
    backward   (t, w, x, dt) -> d h, d w, d x        t is a residual; w and x are inputs

What the backward reads of the forward is kept where computing it again would cost more: results
of products, reductions and slow functions. Cheap elementwise nodes and views of what is at hand
anyway are computed again, so that they cost no memory: a greedy walk from the last node back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.ir import Graph, Node, Value
from graphc.ops.define import Linearised
from graphc.passes.clone import close, live_nodes
from graphc.passes.kinds import is_light


def linearise(region: Graph, both: Graph, held: set[Value], keep: bool) -> Linearised:
    """Cut a region's forward and backward, as `reverse` makes them in one graph.

    held   inputs of the region that the backward has at no cost
    keep   whether results may be kept; else the backward computes all again from the inputs
    """
    outputs = len(region.outputs)
    known_inputs, seeds = both.inputs[: len(region.inputs)], both.inputs[len(region.inputs) :]
    gradients = both.outputs[outputs:]
    known, unknown = _by_dependence(live_nodes(both.nodes, gradients), set(seeds))
    needed = {value for node in unknown for value in node.operands} | set(gradients)
    needed -= {*_made_by(unknown), *seeds}
    again, kept = _choose(known, needed, set(known_inputs), held, keep)
    saved = (*(v for v in known_inputs if v in needed), *kept)
    backward = close(f"{both.name}.vjp", (*saved, *seeds), (*again, *unknown), gradients)
    if not keep:
        return Linearised(region, backward, saved)
    further = tuple(value for value in kept if value not in both.outputs[:outputs])
    results = both.outputs[:outputs] + further
    nodes = live_nodes(both.nodes, results)
    forward = Graph(both.name, known_inputs, nodes, results)
    return Linearised(forward, backward, saved)


def _by_dependence(
    nodes: Sequence[Node], seeds: set[Value]
) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """(nodes that read nothing of the seeds, nodes that do)."""
    known: list[Node] = []
    unknown: list[Node] = []
    reached = set(seeds)
    for node in nodes:
        depends = not reached.isdisjoint(node.operands)
        (unknown if depends else known).append(node)
        if depends:
            reached.update(node.results)
    return tuple(known), tuple(unknown)


def _made_by(nodes: Sequence[Node]) -> set[Value]:
    return {value for node in nodes for value in node.results}


def _choose(
    known: Sequence[Node], needed: set[Value], inputs: set[Value], held: set[Value], keep: bool
) -> tuple[list[Node], list[Value]]:
    """(nodes to compute again, values to keep); `needed` becomes all that is read again."""
    producers = {value: node for node in known for value in node.results}
    again: list[Node] = []
    kept: list[Value] = []
    for node in reversed(known):
        wanted = [value for value in node.results if value in needed]
        if not wanted:
            continue
        if keep and not _is_better_again(node, wanted, needed | held, producers):
            kept.extend(wanted)
        else:
            again.append(node)
            needed.update(node.operands)
    return again[::-1], kept[::-1]


def _is_better_again(
    node: Node, wanted: Sequence[Value], at_hand: set[Value], producers: Mapping[Value, Node]
) -> bool:
    """Whether what the node reads takes no more memory than its results, and little time."""
    if not is_light(node):
        return False
    free = dict.fromkeys(at_hand, True)
    missing = {value for value in node.operands if not _is_free(value, free, producers)}
    return sum(value.type.nbytes for value in missing) <= sum(v.type.nbytes for v in wanted)


def _is_free(value: Value, free: dict[Value, bool], producers: Mapping[Value, Node]) -> bool:
    """Whether light nodes make the value from what is `free`, where answers are remembered."""
    if value not in free:
        node = producers.get(value)
        free[value] = (
            node is not None
            and is_light(node)
            and all(_is_free(operand, free, producers) for operand in node.operands)
        )
    return free[value]
