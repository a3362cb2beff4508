"""The invariants of a graph of operators: its structure, and every node's typing rule.

    (those of `graphc.ir.verify`)
    operators     every node's operator is in the table
    typing rule   an operator's rule accepts the node's operands, attributes and regions, and
                  gives exactly the types of its results; regions first, to any depth

Left unchecked: that a meaning, a derivative or a lowering agrees with the rule (generated tests
do that), and values that are known only at run time.
"""

from __future__ import annotations

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
    expected = _inferred(node, graph)
    given = tuple(value.type for value in node.results)
    if expected != given:
        shown = ", ".join(map(str, expected))
        raise violation(graph, "typing rule", f"its rule gives ({shown})", node)


def _inferred(node: Node, graph: Graph) -> tuple[object, ...]:
    types = [value.type for value in node.operands]
    try:
        return tuple(table()[node.op].infer(types, node.attrs, node.regions))
    except Exception as problem:  # a rule meets missing and mistyped attributes in its own ways
        said = f"{type(problem).__name__}: {problem}"
        raise violation(graph, "typing rule", f"its rule refuses it ({said})", node) from problem
