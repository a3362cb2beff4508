"""The invariants of a graph, whatever its operators are.

    names               inputs that have a name differ; every state tensor has one, and they differ
    single definition   a value is an input, a state tensor or the result of one node, once
    defined before use  a node's operands are inputs, state or results of nodes before it
    closed regions      a region reads nothing of the graph around it, and has no state or updates
    results             outputs and updates are values of the graph
    updates             an update names a state tensor, each at most once, and has its type
    types               extents are integers, none negative, and element types have a row
    fields              operators and source lines are text, operands are values, regions graphs

Left unchecked here: whether operators exist and whether the types of a node's results follow from
its operands (`graphc.ops.verify`), the meaning of attributes, and that source lines exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from graphc.dtypes import ALL
from graphc.errors import VerifyError
from graphc.ir.graph import Attributes, Graph, Node, TensorType, Value
from graphc.ir.text import format_node, value_ids
from graphc.lexing import quote_unless_name


def verify_structure(graph: Graph) -> None:
    """Raise VerifyError naming the node, its source line and the broken invariant."""
    _Checker(graph, frozenset()).check()


def violation(graph: Graph, invariant: str, problem: str, node: Node | None) -> VerifyError:
    """The error of a broken invariant, at a node or in the graph as a whole."""
    place = f"graph @{quote_unless_name(str(graph.name))}"
    if node is not None:
        place += f", node {_describe(node, graph)}"
    return VerifyError(f"{place}: {problem} [{invariant}]")


def _describe(node: Node, graph: Graph) -> str:
    """The node as the text shows it, or its bare operator where a field is not what it says."""
    try:
        return format_node(node, value_ids(graph))
    except (TypeError, AttributeError):
        return f"of operator {node.op!r}"


class _Checker:
    """One graph; `outer` are the values of the graphs around it."""

    def __init__(self, graph: Graph, outer: frozenset[Value]) -> None:
        self.graph = graph
        self.outer = outer
        self.defined: set[Value] = set()

    def check(self) -> None:
        self._check_names()
        for value in (*self.graph.inputs, *self.graph.state):
            self._define(value, None)
        for node in self.graph.nodes:
            self._check_node(node)
        self._check_results()
        self._check_updates()

    def _fail(self, invariant: str, problem: str, node: Node | None = None) -> VerifyError:
        return violation(self.graph, invariant, problem, node)

    def _check_names(self) -> None:
        for value in (*self.graph.inputs, *self.graph.state):
            if not isinstance(value, Value) or not isinstance(value.name, str):
                raise self._fail("fields", f"{value!r} is not a value")
        if not isinstance(self.graph.name, str):
            raise self._fail("fields", f"its name is {self.graph.name!r}; expected text")
        state = [value.name for value in self.graph.state]
        if "" in state:
            raise self._fail("names", f"state tensor {state.index('')} has no name")
        for kind, names in (("inputs", [v.name for v in self.graph.inputs]), ("state", state)):
            twice = [name for name, uses in Counter(names).items() if uses > 1 and name]
            if twice:
                raise self._fail("names", f"several {kind} are named {twice[0]!r}")

    def _define(self, value: Value, node: Node | None) -> None:
        if value in self.defined:
            raise self._fail("single definition", f"{_show(value)} is defined twice", node)
        self._check_type(value.type, node)
        self.defined.add(value)

    def _check_type(self, type: Any, node: Node | None) -> None:
        if not isinstance(type, TensorType) or type.dtype not in ALL:
            raise self._fail("types", f"{type} is not a tensor's type", node)
        for extent in type.shape:
            if not isinstance(extent, int) or isinstance(extent, bool) or extent < 0:
                problem = f"extent {extent!r} of {type}; expected an integer, 0 or more"
                raise self._fail("types", problem, node)

    def _check_node(self, node: Node) -> None:
        self._check_fields(node)
        for position, value in enumerate(node.operands):
            self._check_use(value, f"operand {position}", "defined before use", node)
        for region in node.regions:
            if region.state or region.updates:
                problem = f"region @{region.name} has state; expected operands and results only"
                raise self._fail("closed regions", problem, node)
            _Checker(region, self.outer | self.defined).check()
        for value in node.results:
            self._define(value, node)

    def _check_fields(self, node: Node) -> None:
        if not isinstance(node.op, str) or not node.op:
            raise self._fail("fields", f"its operator is {node.op!r}; expected a name", node)
        if not isinstance(node.attrs, Attributes):
            raise self._fail("fields", "its attributes are not frozen", node)
        parts: tuple[tuple[str, Iterable[Any], type], ...] = (
            ("operand", node.operands, Value),
            ("result", node.results, Value),
            ("source line", node.source, str),
            ("region", node.regions, Graph),
        )
        for what, items, kind in parts:
            for item in items:
                if not isinstance(item, kind):
                    raise self._fail("fields", f"{what} {item!r} is not a {kind.__name__}", node)

    def _check_use(self, value: Value, what: str, invariant: str, node: Node | None) -> None:
        if value in self.defined:
            return
        if value in self.outer:
            problem = f"{what} ({_show(value)}) belongs to a graph around this region"
            raise self._fail("closed regions", problem, node)
        raise self._fail(invariant, f"{what} ({_show(value)}) is not defined at this point", node)

    def _check_results(self) -> None:
        for position, value in enumerate(self.graph.outputs):
            self._check_use(value, f"output {position}", "results", None)
        for name, value in self.graph.updates:
            self._check_use(value, f"the update of {name!r}", "results", None)

    def _check_updates(self) -> None:
        types = {value.name: value.type for value in self.graph.state}
        seen: set[str] = set()
        for name, value in self.graph.updates:
            if name not in types:
                raise self._fail("updates", f"no state tensor is named {name!r}")
            if name in seen:
                raise self._fail("updates", f"{name!r} is updated twice")
            if value.type != types[name]:
                problem = f"{name!r} is {types[name]}, its update {value.type}"
                raise self._fail("updates", problem)
            seen.add(name)


def _show(value: Value) -> str:
    return f"{value.name!r}: {value.type}" if value.name else str(value.type)
