"""What a node is to the passes that group nodes or compute them again.

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

from collections.abc import Set
from typing import Literal

from graphc.ir import Node, Value
from graphc.ops.define import get

Kind = Literal[
    "elementwise", "mover", "reduction", "window", "contraction", "transparent", "opaque"
]

# Slow, yet faster in vectors than a store and a load of memory outside the nearest cache.
_REPEATED = frozenset(
    {"exp", "expm1", "log", "log1p", "erf", "normal_cdf", "normal_density", "tanh", "sigmoid"}
    | {"sqrt", "rsqrt", "div"}
)

# Correctly rounded, yet slow; other slow operators are known by their error bound.
_SLOW = frozenset(
    {"div", "sqrt", "floordiv", "mod", "random_bits", "random_uniform", "random_normal", "fold_in"}
)


def is_cheap(node: Node) -> bool:
    """Whether computing the node again costs less than a store and a load."""
    return node.op not in _SLOW and get(node.op).max_ulp <= 0.5


def may_repeat(node: Node) -> bool:
    return is_cheap(node) or node.op in _REPEATED


def is_view(node: Node) -> bool:
    """Nodes that only say where an element lies or what index it has."""
    literal = node.op == "constant" and node.result.type.size == 1
    return get(node.op).view or node.op == "iota" or literal


def is_light(node: Node) -> bool:
    """Whether the node is computed again rather than carried from place to place."""
    return node.op == "constant" or is_view(node) or (get(node.op).elementwise and is_cheap(node))


def kind_of(node: Node, news: Set[Value]) -> Kind:
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
