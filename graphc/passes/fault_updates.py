"""Updates of state that wait for the checks of indices.

    update %w = %9          update %w = where(%fine, %9, %w)

A part of the state that is written where it lies (a cache of keys) is not to be read and written
as a whole for this. Where no check depends on it, the checks are moved before it, and it is
written outside of the tensor, where elements are dropped, if one failed:

    before  %5: f32[1,4,64,8] = dynamic_update(%keys, %new, %at)
            %6: f32[1,4,1,8], … = attention(%q, %5, …)
            %fine: bool[] = …
    after   %fine: bool[] = …
            %4: i64[4] = where(%fine, %at, [1, 4, 64, 8])
            %5: f32[1,4,64,8] = dynamic_update(%keys, %new, %4)
            %6: f32[1,4,1,8], … = attention(%q, %5, …)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from graphc.ir import Graph, Node, Value
from graphc.ops.build import Builder


def guard_updates(graph: Graph, nodes: Sequence[Node], fine: Value) -> Graph:
    """The graph of `nodes` with updates that are applied only where the flag `fine` is true."""
    parts = _parts(graph)
    late = _dependent(nodes, parts)
    if fine in late:
        parts, late = {}, set()
    b = Builder()
    b.nodes += [node for node in nodes if late.isdisjoint(node.results)]
    for node in nodes:
        if late.isdisjoint(node.results):
            continue
        b.nodes.append(_written_outside(b, node, fine) if node.results[0] in parts else node)
    b.source = ()
    state = {value.name: value for value in graph.state}
    updates = tuple(
        (name, new if new in parts else _unless(b, fine, new, state[name]))
        for name, new in graph.updates
    )
    return replace(graph, nodes=tuple(b.nodes), updates=updates)


def _parts(graph: Graph) -> Mapping[Value, Node]:
    """The new values of which a state tensor differs in a block alone."""
    state = {value.name: value for value in graph.state}
    found = {}
    for name, new in graph.updates:
        node = graph.producers.get(new)
        if node is None or node.op != "dynamic_update" or not new.type.rank:
            continue
        if node.operands[0] is state[name]:
            found[new] = node
    return found


def _dependent(nodes: Sequence[Node], parts: Mapping[Value, Node]) -> set[Value]:
    """The parts, and all that is computed from them."""
    found = set(parts)
    for node in nodes:
        if not found.isdisjoint(node.operands):
            found.update(node.results)
    return found


def _written_outside(b: Builder, node: Node, fine: Value) -> Node:
    """The node; unless all is fine, its block lies behind the end of every dimension."""
    x, update, starts = node.operands
    b.source = node.source
    end = b.array(np.array(x.shape, np.int64))
    at = b.where(b.broadcast(fine, starts.shape), starts, end)
    return replace(node, operands=(x, update, at))


def _unless(b: Builder, fine: Value, new: Value, old: Value) -> Value:
    return new if new is old else b.where(b.broadcast(fine, new.shape), new, old)
