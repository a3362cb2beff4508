"""The invariants of a graph of operators: its structure, and every node's typing rule.

    (those of `graphc.ir.verify`)
    operators     every node's operator is in the table
    attributes    a node has the attributes that the samples of its operator have, of the same kinds
    typing rule   an operator's rule accepts the node's operands, attributes and regions, and
                  gives exactly the types of its results; regions first, to any depth

Left unchecked: that a meaning, a derivative or a lowering agrees with the rule (generated tests
do that), and values that are known only at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from graphc.ir import Graph, Node
from graphc.ir.verify import verify_structure, violation
from graphc.ops.define import table


def verify(graph: Graph) -> None:
    """Raise VerifyError naming the node, its source line and the broken invariant."""
    verify_structure(graph)
    _verify_types(graph)


def _verify_types(graph: Graph) -> None:
    for node in graph.nodes:
        for region in node.regions:
            _verify_types(region)
        _verify_node(node, graph)


def _verify_node(node: Node, graph: Graph) -> None:
    if node.op not in table():
        raise violation(graph, "operators", f"no operator {node.op!r}", node)
    _verify_attributes(node, graph)
    expected = _inferred(node, graph)
    given = tuple(value.type for value in node.results)
    if expected != given:
        shown = ", ".join(map(str, expected))
        raise violation(graph, "typing rule", f"its rule gives ({shown})", node)


def _verify_attributes(node: Node, graph: Graph) -> None:
    """By the samples; operators that have none (grad) are left to their rules."""
    kinds, required = _attributes(node.op)
    if not kinds:
        return
    if missing := sorted(required - node.attrs.keys()):
        raise violation(graph, "attributes", f"{missing[0]} is missing", node)
    for name, value in node.attrs.items():
        if name not in kinds:
            raise violation(graph, "attributes", f"there is no {name}", node)
        if _kind(value) not in kinds[name]:
            expected = " or ".join(sorted(kinds[name]))
            raise violation(graph, "attributes", f"{name} is {value!r}, expected {expected}", node)


@cache
def _attributes(op: str) -> tuple[Mapping[str, frozenset[str]], frozenset[str]]:
    """The kinds of each attribute, and the attributes that are never left out."""
    found = [sample.attrs for sample in table()[op].samples()]
    kinds: dict[str, frozenset[str]] = {}
    for attrs in found:
        for name, value in attrs.items():
            kinds[name] = kinds.get(name, frozenset()) | {_kind(value)}
    for name, known in kinds.items():
        if "float" in known:  # a whole number may be written without its point
            kinds[name] = known | {"int"}
    return kinds, frozenset.intersection(*map(frozenset, found)) if found else frozenset()


def _kind(value: object) -> str:
    return type(value).__name__


def _inferred(node: Node, graph: Graph) -> tuple[object, ...]:
    types = [value.type for value in node.operands]
    try:
        return tuple(table()[node.op].infer(types, node.attrs, node.regions))
    except Exception as problem:  # a rule meets missing and mistyped attributes in its own ways
        said = f"{type(problem).__name__}: {problem}"
        raise violation(graph, "typing rule", f"its rule refuses it ({said})", node) from problem
