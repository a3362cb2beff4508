"""Random valid graphs from a seed: what the differential tests of passes and backends run on.

    graph, arrays = random_graph(seed)          # forward, float32, small shapes
    graph = with_gradients(graph)               # the same with a `grad` node over its float inputs

The same seed gives the same graph. Its operators come from the recipes, in three files by what
they make: random_graphs_elements.py, random_graphs_operators.py, random_graphs_regions.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.dtypes import DType, float32
from graphc.ir import Graph, Value
from graphc.ops import Builder
from tests import random_graphs_elements as elements
from tests import random_graphs_operators as operators
from tests import random_graphs_regions as regions
from tests.random_graphs_maker import Maker

NumpyArray = np.ndarray[Any, Any]

RECIPES: tuple[Callable[[Maker], None], ...] = (
    *elements.RECIPES,
    *elements.COMMON,
    *elements.COMMON,
    *operators.RECIPES,
    *regions.RECIPES,
)


def random_graph(
    seed: int, nodes: int = 16, dtype: DType = float32
) -> tuple[Graph, tuple[NumpyArray, ...]]:
    """A graph of about `nodes` applications of recipes, and arrays to call it with."""
    maker = Maker(seed, dtype)
    attempts = 0
    while maker.applications < nodes and attempts < 20 * nodes:
        maker.step(RECIPES)
        attempts += 1
    return maker.finish(f"random{seed}")


def with_gradients(graph: Graph) -> Graph:
    """(a sum, the graph's outputs…, its gradients by the float inputs).

    The sum is over all outputs of the inputs' float type, weighted.
    """
    b, dtype = Builder(source=("random.py:1",)), _float_type(graph)
    total = b.array(np.zeros((), dtype.numpy))
    outputs = b.inline(graph, graph.inputs)
    for number, value in enumerate(value for value in outputs if value.dtype == dtype):
        weighted = b.scale(value, 1.0 / (1 + number % 3))
        total = b.add(total, b.sum(weighted, range(value.type.rank)))
    formal = tuple(Value(value.type, value.name) for value in graph.inputs)
    wanted = tuple(i for i, value in enumerate(formal) if value.dtype.is_float)
    function = Graph("loss", graph.inputs, tuple(b.nodes), (total, *outputs))
    outer = Builder(source=("random.py:2",))
    attrs: dict[str, Any] = {"argnums": wanted, "value": True, "aux": True}
    results = outer.emit("grad", formal, attrs, (function,))
    return Graph(f"{graph.name}.grad", formal, tuple(outer.nodes), results)


def _float_type(graph: Graph) -> DType:
    return next(value.dtype for value in graph.inputs if value.dtype.is_float)
