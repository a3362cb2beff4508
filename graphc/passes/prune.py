"""Results, operands and loop carries that nobody reads, removed from scan and cond nodes.

    before  %s: f32[4], %ys: f32[8,4] = scan(%w, %s0, %xs) {…}        (%ys is never read)
    after   %s: f32[4] = scan(%w, %s0, %xs) {…}

A scan's operands are (constants…, carries…, xs…) and its results (carries…, ys…); its region takes
(constants…, carries…, slices…) and gives (carries…, slices of ys…).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from graphc.ir import Attributes, Graph, Node, Value
from graphc.passes.clone import live_nodes


def prune_node(node: Node, needed: set[Value]) -> Node:
    """The node without the results, operands and carries that `needed` does not reach."""
    prune = _PRUNERS.get(node.op)
    return node if prune is None else prune(node, needed)


def _prune_scan(node: Node, needed: set[Value]) -> Node:
    """Keep the carries that a needed result depends on, and the ys that are needed."""
    (region,) = node.regions
    constants, carries = node.attrs["consts"], node.attrs["carries"]
    keep_ys = [value in needed for value in node.results[carries:]]
    keep_carries, read = _needed_carries(node, region, needed, keep_ys)
    keep_results = keep_carries + keep_ys
    keep_constants = [value in read for value in region.inputs[:constants]]
    keep_xs = [value in read for value in region.inputs[constants + carries :]]
    keep_operands = keep_constants + keep_carries + keep_xs
    if all(keep_results) and all(keep_operands):
        return node
    attrs = {**node.attrs, "consts": sum(keep_constants), "carries": sum(keep_carries)}
    return _restrict(node, attrs, keep_operands, keep_results)


def _needed_carries(
    node: Node, region: Graph, needed: set[Value], keep_ys: Sequence[bool]
) -> tuple[list[bool], set[Value]]:
    """Which carries matter (a fixed point over the loop), and what the region then reads."""
    constants, carries = node.attrs["consts"], node.attrs["carries"]
    formal = region.inputs[constants : constants + carries]
    keep = [value in needed for value in node.results[:carries]]
    while True:
        wanted = _select(region.outputs, [*keep, *keep_ys])
        read = _reads(region, wanted)
        grown = [old or value in read for old, value in zip(keep, formal, strict=True)]
        if grown == keep:
            return keep, read
        keep = grown


def _prune_cond(node: Node, needed: set[Value]) -> Node:
    """Keep the needed results, and the operands that either branch then reads."""
    keep_results = [value in needed for value in node.results]
    reads = [_reads(region, _select(region.outputs, keep_results)) for region in node.regions]
    keep_inputs = [
        any(region.inputs[i] in read for region, read in zip(node.regions, reads, strict=True))
        for i in range(len(node.operands) - 1)
    ]
    if all(keep_results) and all(keep_inputs):
        return node
    return _restrict(node, node.attrs, [True, *keep_inputs], keep_results)


def _restrict(
    node: Node, attrs: Mapping[str, object], operands: Sequence[bool], results: Sequence[bool]
) -> Node:
    """The node with only the operands and results that are marked, in its regions too."""
    regions = []
    for region in node.regions:
        inputs = operands[len(operands) - len(region.inputs) :]
        regions.append(_restrict_region(region, inputs, results))
    return replace(
        node,
        operands=_select(node.operands, operands),
        results=_select(node.results, results),
        regions=tuple(regions),
        attrs=Attributes(dict(attrs)),  # type: ignore[arg-type]  # came from Attributes
    )


def _restrict_region(region: Graph, inputs: Sequence[bool], outputs: Sequence[bool]) -> Graph:
    wanted = _select(region.outputs, outputs)
    return replace(
        region,
        inputs=_select(region.inputs, inputs),
        nodes=live_nodes(region.nodes, wanted),
        outputs=wanted,
    )


def _reads(region: Graph, wanted: Sequence[Value]) -> set[Value]:
    """Every value of the region that `wanted` depends on."""
    nodes = live_nodes(region.nodes, wanted)
    return {*wanted, *(value for node in nodes for value in node.operands)}


def _select(values: Sequence[Value], keep: Sequence[bool]) -> tuple[Value, ...]:
    return tuple(value for value, kept in zip(values, keep, strict=True) if kept)


_PRUNERS: Mapping[str, Callable[[Node, set[Value]], Node]] = {
    "scan": _prune_scan,
    "cond": _prune_cond,
}
