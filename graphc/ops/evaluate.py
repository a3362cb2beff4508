"""Running a graph by the NumPy meanings of its operators: the oracle of every backend.

Any stage of a graph runs, fused groups too; only `grad` nodes must have been expanded before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.dtypes import get as get_dtype
from graphc.errors import ArgumentError, DTypeError, ShapeError, VerifyError
from graphc.ir import Graph, Node, Value
from graphc.ops.define import get
from graphc.ops.numerics import NumpyArray

Environment = dict[Value, NumpyArray]


def evaluate(
    graph: Graph, inputs: Sequence[Any], state: Mapping[str, Any] | None = None
) -> tuple[tuple[NumpyArray, ...], dict[str, NumpyArray]]:
    """(outputs, new values of the updated state).

    Raises ArgumentError, ShapeError or DTypeError for inputs or state that do not fit the graph,
    VerifyError where a meaning gives another type than the typing rule.
    """
    environment = _bind_inputs(graph, inputs)
    environment.update(_bind_state(graph, state or {}))
    with np.errstate(all="ignore"):
        run_nodes(graph, environment)
    outputs = tuple(environment[value] for value in graph.outputs)
    return outputs, {name: environment[value] for name, value in graph.updates}


def evaluate_region(graph: Graph, inputs: Sequence[NumpyArray]) -> tuple[NumpyArray, ...]:
    """The outputs of a region, which has no state."""
    outputs, _ = evaluate(graph, inputs)
    return outputs


def run_nodes(graph: Graph, environment: Environment) -> None:
    """Compute every node's results into `environment`; values are dropped after their last use."""
    last_use = _last_uses(graph)
    for position, node in enumerate(graph.nodes):
        operands = [environment[value] for value in node.operands]
        environment.update(zip(node.results, apply(node, operands), strict=True))
        for value in dict.fromkeys((*node.operands, *node.results)):
            if last_use.get(value, position) == position:
                del environment[value]


def apply(node: Node, operands: Sequence[NumpyArray]) -> tuple[NumpyArray, ...]:
    """The results of one node on arrays."""
    meaning = get(node.op).meaning
    if meaning is None:
        raise ArgumentError(f"{node.op} cannot be evaluated; expand it by its pass before")
    keywords: dict[str, Any] = dict(node.attrs)
    if node.regions:
        keywords["regions"] = node.regions
    found = meaning(*operands, **keywords)
    results = tuple(np.asarray(r) for r in (found if isinstance(found, tuple) else (found,)))
    for array, value in zip(results, node.results, strict=True):
        _check_result(node, array, value)
    return results


def _check_result(node: Node, array: NumpyArray, value: Value) -> None:
    if array.shape != value.shape or array.dtype != value.dtype.numpy:
        raise VerifyError(
            f"{node.op}: its meaning gives {array.dtype}{list(array.shape)}, "
            f"its typing rule {value.type}"
        )


def _last_uses(graph: Graph) -> dict[Value, int]:
    """The position of the last node that reads each value; the graph's results never end."""
    positions = {
        value: position for position, node in enumerate(graph.nodes) for value in node.operands
    }
    return positions | dict.fromkeys(graph.results, len(graph.nodes))


def _bind_inputs(graph: Graph, inputs: Sequence[Any]) -> Environment:
    if len(inputs) != len(graph.inputs):
        raise ArgumentError(
            f"{graph.name}: {len(inputs)} inputs given, expected {len(graph.inputs)}"
        )
    named = enumerate(zip(graph.inputs, inputs, strict=True))
    return {
        value: _checked(array, value, f"{graph.name}: input {value.name or number}")
        for number, (value, array) in named
    }


def _bind_state(graph: Graph, state: Mapping[str, Any]) -> Environment:
    missing = [value.name for value in graph.state if value.name not in state]
    if missing:
        raise ArgumentError(f"{graph.name}: no state given for {', '.join(missing)}")
    return {
        value: _checked(state[value.name], value, f"{graph.name}: state {value.name}")
        for value in graph.state
    }


def _checked(array: Any, value: Value, what: str) -> NumpyArray:
    found = np.asarray(array)
    if found.shape != value.shape:
        raise ShapeError(f"{what} has shape {found.shape}, expected {value.type}")
    if get_dtype(found.dtype) != value.dtype:
        raise DTypeError(f"{what} is {found.dtype}, expected {value.type}")
    return found
