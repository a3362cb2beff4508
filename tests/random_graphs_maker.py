"""A random graph in the making: its builder, what each value holds, and random choices.

Every node is evaluated as it is made and kept only where its elements are finite and moderate, so
that no test compares overflows. Operators that jump (floor, comparisons, argmax, sort…) read only
values that are computed without rounding, or that stay apart from where they jump, so that a last
bit never flips a result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.dtypes import DType, int32, uint32
from graphc.errors import GraphcError
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder, get
from graphc.ops.evaluate import apply

NumpyArray = np.ndarray[Any, Any]

_MAX_ELEMENTS = 4096
_MAX_MAGNITUDE = 30.0
_EXTENTS = (1, 2, 3, 4, 5, 7, 8, 17)
_GAP = 1e-3


class Unsuitable(Exception):
    """No value in the graph so far fits the recipe."""


class Maker:
    """Makes one graph, step by step."""

    def __init__(self, seed: int, dtype: DType) -> None:
        self.random = np.random.default_rng(seed)
        self.dtype = dtype
        self.builder = Builder()
        self.arrays: dict[Value, NumpyArray] = {}
        self.exact: set[Value] = set()
        self.applications = 0
        self.inputs: list[Value] = []
        self._make_inputs()

    def _make_inputs(self) -> None:
        extents = [int(extent) for extent in self.random.choice(_EXTENTS, 3)]
        shapes = [(), tuple(extents[:1]), tuple(extents[:2]), tuple(extents[1:]), tuple(extents)]
        for number, shape in enumerate(shapes):
            array = self.random.normal(size=shape)
            self._input(f"x{number}", np.asarray(array, self.dtype.numpy), self.dtype, exact=True)
        whole = np.asarray(self.random.integers(-4, 9, shapes[2]), np.int32)
        self._input("n", whole, int32, exact=True)
        key = np.asarray(self.random.integers(0, 1 << 32, 2), np.uint32)
        self.key = self._input("key", key, uint32, exact=False)

    def _input(self, name: str, array: NumpyArray, dtype: DType, exact: bool) -> Value:
        value = Value(TensorType(array.shape, dtype), name)
        self.inputs.append(value)
        self._enter(value, array, exact)
        return value

    def _enter(self, value: Value, array: NumpyArray, exact: bool) -> None:
        self.arrays[value] = array
        if exact:
            self.exact.add(value)

    def step(self, recipes: Sequence[Callable[[Maker], None]]) -> None:
        """Try one random recipe; nothing is added where it does not fit or overflows."""
        recipe = recipes[int(self.random.integers(len(recipes)))]
        self.builder.source = (f"random.py:{self.applications + 10}",)
        nodes, inputs = len(self.builder.nodes), len(self.inputs)
        try:
            recipe(self)
            self._enter_new(nodes)
        except (GraphcError, Unsuitable):
            del self.builder.nodes[nodes:]
            for value in self.inputs[inputs:]:
                del self.arrays[value]
            del self.inputs[inputs:]

    def _enter_new(self, first: int) -> None:
        """Evaluate the new nodes. Raises Unsuitable where a result is not moderate."""
        known = dict(self.arrays)
        new = self.builder.nodes[first:]
        for node in new:
            with np.errstate(all="ignore"):
                results = apply(node, [known[value] for value in node.operands])
            known.update(zip(node.results, results, strict=True))
            if not all(map(_is_moderate, results)):
                raise Unsuitable
        for node in new:
            exact = _is_exact(node.op) and all(v in self.exact for v in node.operands)
            for value in node.results:
                self._enter(value, known[value], exact)
        self.applications += len(new) > 0

    def finish(self, name: str) -> tuple[Graph, tuple[NumpyArray, ...]]:
        """The graph; its outputs are all values that nothing reads, and a few others."""
        read = {value for node in self.builder.nodes for value in node.operands}
        made = [value for node in self.builder.nodes for value in node.results]
        outputs = [value for value in made if value not in read or self.random.random() < 0.1]
        nodes, inputs = tuple(self.builder.nodes), tuple(self.inputs)
        graph = Graph(name, inputs, nodes, tuple(outputs) or inputs[:1])
        return graph, tuple(self.arrays[value] for value in inputs)

    # Choices

    def pick(
        self,
        wanted: Callable[[Value], bool] = lambda value: True,
        dtype: DType | None = None,
    ) -> Value:
        """A value of a type (the graph's float type) that fits; later ones are likelier."""
        chosen = dtype or self.dtype
        fitting = [v for v in self.arrays if v.dtype == chosen and wanted(v) and v is not self.key]
        if not fitting:
            raise Unsuitable
        position = len(fitting) - 1 - int(self.random.exponential(len(fitting) / 3))
        return fitting[max(0, position)]

    def parameter(self, *shape: int) -> Value:
        """A new input of the graph's float type, as a layer's weight: variance 1 / fan-in."""
        scale = 1 / math.sqrt(max(1, math.prod(shape[1:])))
        array = np.asarray(scale * self.random.normal(size=shape), self.dtype.numpy)
        return self._input(f"w{len(self.inputs)}", array, self.dtype, exact=True)

    def integer(self, low: int, high: int) -> int:
        """low ≤ result < high."""
        return int(self.random.integers(low, high))

    def coin(self) -> bool:
        return bool(self.random.integers(2))

    def choose(self, names: Sequence[str]) -> str:
        return names[self.integer(0, len(names))]

    def axis(self, value: Value) -> int:
        return self.integer(0, value.type.rank)

    def axes(self, value: Value) -> tuple[int, ...]:
        """At least one of the value's dimensions."""
        if value.type.rank == 0:
            raise Unsuitable
        kept = [axis for axis in range(value.type.rank) if self.random.random() < 0.5]
        return tuple(kept) or (value.type.rank - 1,)

    # What a jump may read

    def is_ordered(self, value: Value) -> bool:
        """Whether rounding cannot change which of the elements are greater."""
        if value in self.exact:
            return True
        gaps = np.diff(np.sort(self.arrays[value], axis=None))
        return bool(np.all(gaps > _GAP))

    def is_signed(self, value: Value) -> bool:
        """Whether rounding cannot change an element's sign."""
        return value in self.exact or bool(np.all(np.abs(self.arrays[value]) > _GAP))


def is_ranked(value: Value) -> bool:
    return value.type.rank > 0


def broadcasts(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    if len(shape) > len(wanted):
        return False
    aligned = wanted[len(wanted) - len(shape) :]
    return all(a in (1, b) for a, b in zip(shape, aligned, strict=True))


def _is_moderate(array: NumpyArray) -> bool:
    if array.size > _MAX_ELEMENTS:
        return False
    if array.dtype.kind != "f":
        return True
    return bool(np.all(np.isfinite(array)) and np.all(np.abs(array) <= _MAX_MAGNITUDE))


# With the views and what has no slope, the operators whose results hold no rounding.
_EXACT = ("pad", "concat", "flip", "neg", "abs", "where", "maximum", "minimum", "max", "min")
_EXACT_READS = ("gather", "gather_elements", "clamp", "sort", "cast", "max_pool2d", "relu")


def _is_exact(op: str) -> bool:
    record = get(op)
    plain = record.view or (record.zero_gradient and not op.startswith("random"))
    return plain or op in _EXACT or op in _EXACT_READS
