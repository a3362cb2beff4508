"""Runs a graph by the naive kernels that it is lowered to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphc import dtypes
from graphc.ir import Graph, Node, TensorType, Value
from graphc.loops import Schedule
from graphc.loops.evaluate import run_schedule
from graphc.lowering.lower import lower
from graphc.ops import make_node
from graphc.ops.define import Sample

Array = np.ndarray[Any, Any]


def graph_of(op: str, sample: Sample) -> Graph:
    """A graph whose inputs are the sample's arrays and whose outputs are the node's results."""
    inputs = tuple(
        Value(TensorType(x.shape, dtypes.get(x.dtype)), f"x{i}")
        for i, x in enumerate(sample.arrays)
    )
    node = make_node(op, inputs, sample.attrs, sample.regions)
    return Graph(op, inputs, (node,), node.results)


def run_lowered(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """The outputs of a graph without state."""
    return run(lower(graph), graph, arrays)


def run(schedule: Schedule, graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    data = {node.attrs["value"].digest: node.attrs["value"].data for node in constants_of(graph)}
    memory = {name: np.array(x) for name, x in zip(schedule.inputs, arrays, strict=True)}
    memory.update({name: data[digest] for name, digest in schedule.constants.items()})
    run_schedule(schedule, memory)
    return [memory[name] for name in schedule.outputs]


def constants_of(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        if node.op == "constant":
            yield node
        for region in node.regions:
            yield from constants_of(region)
