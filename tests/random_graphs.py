"""Random valid graphs from a seed: what the differential tests of passes and backends run on.

    graph, arrays = random_graph(seed)          # forward, float32, small shapes
    graph = with_gradients(graph)               # the same with a `grad` node over its float inputs

Every node is evaluated as it is made and kept only where its elements are finite and moderate, so
that no test compares overflows. Operators that jump (floor, comparisons, argmax, sort…) read only
values that are computed without rounding, so that a last bit never flips a result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.dtypes import DType, float32, int32, int64, uint32
from graphc.errors import GraphcError
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder, get
from graphc.ops.evaluate import apply

NumpyArray = np.ndarray[Any, Any]

_MAX_ELEMENTS = 4096
_MAX_MAGNITUDE = 30.0


def random_graph(
    seed: int, nodes: int = 24, dtype: DType = float32
) -> tuple[Graph, tuple[NumpyArray, ...]]:
    """A graph of about `nodes` applications of operators, and arrays to call it with."""
    maker = _Maker(seed, dtype)
    attempts = 0
    while maker.applications < nodes and attempts < 20 * nodes:
        maker.step()
        attempts += 1
    return maker.finish(f"random{seed}")


def with_gradients(graph: Graph) -> Graph:
    """(the graph's outputs…, gradients of the float inputs) of a weighted sum of float outputs."""
    b = Builder(source=("random.py:1",))
    total = b.array(np.zeros((), _float_type(graph).numpy))
    outputs = b.inline(graph, graph.inputs)
    for number, value in enumerate(value for value in outputs if value.dtype.is_float):
        weighted = b.scale(value, 1.0 / (1 + number % 3))
        total = b.add(total, b.sum(weighted, range(value.type.rank)))
    formal = tuple(Value(value.type, value.name) for value in graph.inputs)
    wanted = tuple(i for i, value in enumerate(formal) if value.dtype.is_float)
    function = Graph("loss", graph.inputs, tuple(b.nodes), (total, *outputs))
    outer = Builder(source=("random.py:2",))
    attrs = {"argnums": wanted, "value": True, "aux": True}
    results = outer.emit("grad", formal, attrs, (function,))
    return Graph(f"{graph.name}.grad", formal, tuple(outer.nodes), results)


def _float_type(graph: Graph) -> DType:
    return next(value.dtype for value in graph.inputs if value.dtype.is_float)


class _Maker:
    """A graph in the making: its builder, and what each value holds."""

    def __init__(self, seed: int, dtype: DType) -> None:
        self.random = np.random.default_rng(seed)
        self.dtype = dtype
        self.builder = Builder()
        self.arrays: dict[Value, NumpyArray] = {}
        self.exact: set[Value] = set()
        self.applications = 0
        self.inputs = self._make_inputs()

    def _make_inputs(self) -> tuple[Value, ...]:
        extents = [int(extent) for extent in self.random.choice([1, 2, 3, 4, 5, 8, 17], 3)]
        shapes = [(), tuple(extents[:1]), tuple(extents[:2]), tuple(extents[1:]), tuple(extents)]
        values = [Value(TensorType(shape, self.dtype), f"x{i}") for i, shape in enumerate(shapes)]
        for value in values:
            array = np.asarray(self.random.normal(size=value.shape), self.dtype.numpy)
            self._enter(value, array, exact=True)
        numbers = Value(TensorType(shapes[2], int32), "n")
        self._enter(numbers, np.asarray(self.random.integers(-4, 9, shapes[2]), np.int32), True)
        key = Value(TensorType((2,), uint32), "key")
        self._enter(key, np.asarray(self.random.integers(0, 1 << 32, 2), np.uint32), False)
        return (*values, numbers, key)

    def _enter(self, value: Value, array: NumpyArray, exact: bool) -> None:
        self.arrays[value] = array
        if exact:
            self.exact.add(value)

    def step(self) -> None:
        """Try one random recipe; nothing is added where it does not fit or overflows."""
        recipe = _RECIPES[int(self.random.integers(len(_RECIPES)))]
        self.builder.source = (f"random.py:{self.applications + 10}",)
        before = len(self.builder.nodes)
        try:
            recipe(self)
        except (GraphcError, _Unsuitable):
            del self.builder.nodes[before:]
            return
        self._keep_if_moderate(before)

    def _keep_if_moderate(self, before: int) -> None:
        known = dict(self.arrays)
        for node in self.builder.nodes[before:]:
            with np.errstate(all="ignore"):
                results = apply(node, [known[value] for value in node.operands])
            known.update(zip(node.results, results, strict=True))
            if not all(_is_moderate(array) for array in results):
                del self.builder.nodes[before:]
                return
        for node in self.builder.nodes[before:]:
            exact = _is_exact(node.op) and all(v in self.exact for v in node.operands)
            for value in node.results:
                self._enter(value, known[value], exact)
        self.applications += len(self.builder.nodes) > before

    def finish(self, name: str) -> tuple[Graph, tuple[NumpyArray, ...]]:
        """The graph; its outputs are all values that nothing reads, and a few others."""
        read = {value for node in self.builder.nodes for value in node.operands}
        made = [value for node in self.builder.nodes for value in node.results]
        outputs = [value for value in made if value not in read or self.random.random() < 0.1]
        nodes = tuple(self.builder.nodes)
        graph = Graph(name, self.inputs, nodes, tuple(outputs) or self.inputs[:1])
        return graph, tuple(self.arrays[value] for value in self.inputs)

    # Choices

    def pick(
        self,
        wanted: Callable[[Value], bool] = lambda value: True,
        dtype: DType | None = None,
    ) -> Value:
        """A value of a type (the graph's float type) that fits; later ones are likelier."""
        chosen = dtype or self.dtype
        fitting = [v for v in self.arrays if v.dtype == chosen and wanted(v) and v.name != "key"]
        if not fitting:
            raise _Unsuitable
        position = len(fitting) - 1 - int(self.random.exponential(len(fitting) / 3))
        return fitting[max(0, position)]

    def integer(self, low: int, high: int) -> int:
        """low ≤ result < high."""
        return int(self.random.integers(low, high))

    def choose(self, names: Sequence[str]) -> str:
        return names[self.integer(0, len(names))]

    def axes(self, value: Value) -> tuple[int, ...]:
        """At least one of the value's dimensions."""
        if value.type.rank == 0:
            raise _Unsuitable
        kept = [axis for axis in range(value.type.rank) if self.random.random() < 0.5]
        return tuple(kept) or (value.type.rank - 1,)


class _Unsuitable(Exception):
    """No value in the graph so far fits the recipe."""


def _is_moderate(array: NumpyArray) -> bool:
    if array.size > _MAX_ELEMENTS:
        return False
    if array.dtype.kind != "f":
        return True
    return bool(np.all(np.isfinite(array)) and np.all(np.abs(array) <= _MAX_MAGNITUDE))


def _ranked(value: Value) -> bool:
    return value.type.rank > 0


# With the views and what has no slope, the operators whose results hold no rounding.
_EXACT = ("pad", "concat", "flip", "neg", "abs", "where", "maximum", "minimum", "max", "min")
_EXACT_READS = ("gather", "gather_elements", "clamp", "sort", "cast", "max_pool2d")


def _is_exact(op: str) -> bool:
    record = get(op)
    plain = record.view or (record.zero_gradient and not op.startswith("random"))
    return plain or op in _EXACT or op in _EXACT_READS


# Recipes: each appends nodes to the maker's builder.

_SMOOTH = ["neg", "abs", "exp", "tanh", "sigmoid", "erf", "sin", "cos", "expm1"]
_POSITIVE = ["log", "sqrt", "rsqrt", "log1p"]
_JUMPING = ["sign", "floor", "ceil", "round"]
_COMPARING = ["lt", "le", "gt", "ge", "eq", "ne"]


def _unary(m: _Maker) -> None:
    m.builder.op(m.choose(_SMOOTH), m.pick())


def _positive(m: _Maker) -> None:
    b, x = m.builder, m.pick()
    b.op(m.choose(_POSITIVE), b.shift(b.mul(x, x), 0.5))


def _jump(m: _Maker) -> None:
    m.builder.op(m.choose(_JUMPING), m.pick(lambda value: value in m.exact))


def _matched(m: _Maker) -> tuple[Value, Value]:
    """Two values of one shape, the second broadcast where that needs it."""
    x = m.pick()
    y = m.pick(lambda value: _broadcasts(value.shape, x.shape))
    return x, m.builder.broadcast(y, x.shape)


def _broadcasts(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    if len(shape) > len(wanted):
        return False
    aligned = wanted[len(wanted) - len(shape) :]
    return all(a in (1, b) for a, b in zip(shape, aligned, strict=True))


def _binary(m: _Maker) -> None:
    x, y = _matched(m)
    m.builder.op(m.choose(["add", "sub", "mul", "mul", "maximum", "minimum"]), x, y)


def _divide(m: _Maker) -> None:
    b = m.builder
    x, y = _matched(m)
    b.div(x, b.shift(b.op("abs", y), 0.5))


def _power(m: _Maker) -> None:
    b, x = m.builder, m.pick()
    base = b.shift(b.op("abs", x), 0.5)
    b.op("pow", base, b.like([0.5, 1.0, 1.7, 2.0][m.integer(0, 4)], x))


def _literal(m: _Maker) -> None:
    b, x = m.builder, m.pick()
    number = [0.0, -0.0, 1.0, -1.0, 2.0, 0.3][m.integer(0, 6)]
    b.op(m.choose(["add", "sub", "mul"]), x, b.like(number, x))


def _select(m: _Maker) -> None:
    b = m.builder
    x, y = _matched(m)
    chooser = m.pick(lambda value: value in m.exact and _broadcasts(value.shape, x.shape))
    test = b.compare(m.choose(_COMPARING), chooser, b.like(0.25, chooser))
    b.where(b.broadcast(test, x.shape), x, y)


def _rectify(m: _Maker) -> None:
    b, x = m.builder, m.pick(lambda value: value in m.exact)
    b.where(b.compare("gt", x, b.like(0.0, x)), x, b.like(0.0, x))


def _clamp(m: _Maker) -> None:
    m.builder.op("clamp", m.pick(lambda value: value in m.exact), min=-0.5, max=0.75)


def _mix_integers(m: _Maker) -> None:
    b = m.builder
    n = m.pick(dtype=int32)
    other = m.pick(lambda value: value.shape == n.shape, dtype=int32)
    op = m.choose(["add", "mul", "floordiv", "mod", "maximum", "and", "xor"])
    b.op("clamp", b.op(op, n, other), min=-100, max=100)


def _cast(m: _Maker) -> None:
    b = m.builder
    b.scale(b.cast(m.pick(dtype=int32), m.dtype), 0.125)


def _broadcast(m: _Maker) -> None:
    x, like = m.pick(), m.pick(_ranked)
    m.builder.broadcast(x, (2, *like.shape) if m.random.random() < 0.3 else like.shape)


def _reshape(m: _Maker) -> None:
    x = m.pick(_ranked)
    flat = (x.type.size,)
    split = (*x.shape[:1], 1, *x.shape[1:])
    merged = (math.prod(x.shape[:2]), *x.shape[2:])
    m.builder.reshape(x, [flat, split, merged][m.integer(0, 3)])


def _transpose(m: _Maker) -> None:
    x = m.pick(_ranked)
    m.builder.transpose(x, [int(axis) for axis in m.random.permutation(x.type.rank)])


def _slice(m: _Maker) -> None:
    x = m.pick(_ranked)
    start = tuple(m.integer(0, max(1, extent)) for extent in x.shape)
    stop = tuple(m.integer(s, e) + 1 for s, e in zip(start, x.shape, strict=True))
    step = tuple(m.integer(1, 3) for _ in x.shape)
    m.builder.op("slice", x, start=start, stop=stop, step=step)


def _pad(m: _Maker) -> None:
    x = m.pick(_ranked)
    low, high, interior = (
        tuple(m.integer(0, most) for _ in x.shape) for most in (3, 3, 2 if m.integer(0, 3) else 3)
    )
    m.builder.op("pad", x, low=low, high=high, interior=interior, value=0.0)


def _concat(m: _Maker) -> None:
    x = m.pick(_ranked)
    axis = m.integer(0, x.type.rank)
    y = m.pick(lambda v: _without(v.shape, axis) == _without(x.shape, axis) and _ranked(v))
    m.builder.op("concat", x, y, axis=axis)


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], -1, *shape[axis + 1 :])


def _flip(m: _Maker) -> None:
    x = m.pick(_ranked)
    m.builder.op("flip", x, axes=m.axes(x))


def _reduce(m: _Maker) -> None:
    b, x = m.builder, m.pick(_ranked)
    axes = m.axes(x)
    if m.random.random() < 0.6:
        b.mean(x, axes)
    else:
        b.op(m.choose(["sum", "max", "min"]), x, axes=axes)


def _argmax(m: _Maker) -> None:
    b, x = m.builder, m.pick(lambda value: _ranked(value) and value in m.exact)
    axis = m.integer(0, x.type.rank)
    position = b.op("argmax", x, axis=axis)
    b.op("one_hot", position, depth=x.shape[axis], dtype=m.dtype)


def _accumulate(m: _Maker) -> None:
    x = m.pick(_ranked)
    m.builder.op("cumsum", x, axis=m.integer(0, x.type.rank), reverse=bool(m.integer(0, 2)))


def _sort(m: _Maker) -> None:
    x = m.pick(lambda value: _ranked(value) and value in m.exact)
    attrs = {"axis": m.integer(0, x.type.rank), "descending": bool(m.integer(0, 2))}
    m.builder.emit("sort", (x,), attrs)


def _product(m: _Maker) -> None:
    b = m.builder
    x = m.pick(lambda value: value.type.rank >= 2)
    fitting = b.swap(x)
    y = m.pick(lambda v: v.type.rank >= 2 and v.shape[-2] in (x.shape[-1], x.shape[-2]))
    b.op("tanh", b.matmul(x if y.shape[-2] == x.shape[-1] else fitting, y))


def _convolve(m: _Maker) -> None:
    b = m.builder
    x = m.pick(lambda value: value.type.rank >= 2 and value.type.size <= 512)
    height, width = x.shape[-2:]
    image = b.reshape(x, (1, x.type.size // (height * width), height, width))
    channels = image.shape[1]
    kernel = m.random.normal(size=(3, channels, 2, 2)) / math.sqrt(4 * channels)
    weight = b.array(np.asarray(kernel, m.dtype.numpy))
    strides = {"stride": (1, m.integer(1, 3)), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    b.op("conv2d", image, weight, **strides)


def _pool(m: _Maker) -> None:
    b = m.builder
    x = m.pick(lambda v: v.type.rank == 4 and min(v.shape[-2:]) >= 2 and v in m.exact)
    window = {"kernel": (2, 2), "stride": (2, 1), "padding": (0, 1), "ceil_mode": False}
    b.emit("max_pool2d", (x,), {**window, "dilation": (1, 1)})


def _average(m: _Maker) -> None:
    x = m.pick(lambda v: v.type.rank == 4 and min(v.shape[-2:]) >= 2)
    window = {"kernel": (2, 2), "stride": (2, 1), "padding": (0, 1), "ceil_mode": True}
    m.builder.op("avg_pool2d", x, **window, count_include_pad=bool(m.integer(0, 2)))


def _indices(m: _Maker, extent: int, like: Sequence[int]) -> Value:
    positions = m.random.integers(0, max(1, extent), tuple(like))
    return m.builder.array(np.asarray(positions, np.int64))


def _gather(m: _Maker) -> None:
    x = m.pick(_ranked)
    axis = m.integer(0, x.type.rank)
    m.builder.op("gather", x, _indices(m, x.shape[axis], (2, 3)), axis=axis)


def _gather_at_run_time(m: _Maker) -> None:
    """Indices that follow from an input, all within the dimension."""
    b, x, n = m.builder, m.pick(_ranked), m.pick(dtype=int32)
    axis = m.integer(0, x.type.rank)
    index = b.op("clamp", n, min=0, max=max(0, x.shape[axis] - 1))
    b.op("gather", x, index, axis=axis)


def _gather_elements(m: _Maker) -> None:
    x = m.pick(_ranked)
    axis = m.integer(0, x.type.rank)
    m.builder.op("gather_elements", x, _indices(m, x.shape[axis], x.shape), axis=axis)


def _scatter(m: _Maker) -> None:
    b, x = m.builder, m.pick(_ranked)
    axis = m.integer(0, x.type.rank)
    indices = _indices(m, x.shape[axis], (5,))
    updates = b.op("gather", x, indices, axis=axis)
    b.op("scatter_add", x, indices, b.scale(updates, 0.5), axis=axis)


def _normalise(m: _Maker) -> None:
    """Softmax or layer normalisation, written in primitives."""
    b, x = m.builder, m.pick(_ranked)
    axes = (x.type.rank - 1,)
    if m.random.random() < 0.5:
        e = b.exp(b.sub(x, b.expand(b.max(x, axes), axes, x.shape)))
        b.div(e, b.expand(b.sum(e, axes), axes, x.shape))
        return
    centred = b.sub(x, b.expand(b.mean(x, axes), axes, x.shape))
    variance = b.mean(b.mul(centred, centred), axes)
    scale = b.op("rsqrt", b.shift(variance, 1e-1))
    b.mul(centred, b.expand(scale, axes, x.shape))


def _composite(m: _Maker) -> None:
    b, x = m.builder, m.pick(_ranked)
    last = x.type.rank - 1
    name = m.choose(["softmax", "log_softmax", "silu", "gelu"])
    attrs = {"softmax": {"axis": last}, "log_softmax": {"axis": last}, "silu": {}}
    b.op(name, x, **attrs.get(name, {"approximate": "tanh"}))


def _draw(m: _Maker) -> None:
    key = next(value for value in m.inputs if value.name == "key")
    shape = m.pick(_ranked).shape
    m.builder.op("random_uniform", key, shape=shape, dtype=m.dtype, stream=m.integer(0, 100))


def _count(m: _Maker) -> None:
    b, x = m.builder, m.pick(_ranked)
    positions = b.iota(x.shape, m.integer(0, x.type.rank), int64)
    b.add(x, b.scale(b.cast(positions, m.dtype), 0.125))


def _loop(m: _Maker) -> None:
    """A short recurrence over axis 0."""
    x = m.pick(lambda value: value.type.rank >= 2 and value.shape[0] <= 8)
    slice_type = TensorType(x.shape[1:], m.dtype)
    w, h, step = (Value(slice_type, name) for name in ("w", "h", "x"))
    inner = Builder(m.builder.source)
    new = inner.op("tanh", inner.add(inner.mul(w, h), step))
    stacked = inner.mul(new, w)
    body = Graph("body", (w, h, step), tuple(inner.nodes), (new, stacked))
    b = m.builder
    start = b.like(0.1, b.op("slice", x, **_first_row(x)))
    start = b.reshape(start, slice_type.shape)
    factor = b.reshape(b.op("slice", x, **_first_row(x)), slice_type.shape)
    attrs = {"length": x.shape[0], "reverse": bool(m.integer(0, 2)), "consts": 1, "carries": 1}
    b.emit("scan", (factor, start, x), attrs, (body,))


def _first_row(x: Value) -> dict[str, tuple[int, ...]]:
    rank = x.type.rank
    return {"start": (0,) * rank, "stop": (1, *x.shape[1:]), "step": (1,) * rank}


def _branch(m: _Maker) -> None:
    x = m.pick()
    flag = m.builder.compare("gt", m.inputs[0], m.builder.like(0.0, m.inputs[0]))
    regions = []
    for op in ("sin", "tanh"):
        inner, formal = Builder(m.builder.source), Value(x.type, "x")
        result = inner.op(op, formal)
        regions.append(Graph(op, (formal,), tuple(inner.nodes), (result,)))
    m.builder.emit("cond", (flag, x), {}, regions)


_COMMON = (_unary, _binary, _binary, _reduce, _literal, _transpose, _reshape, _broadcast)
_RECIPES: tuple[Callable[[_Maker], None], ...] = (
    *_COMMON,
    *_COMMON,
    *(_positive, _jump, _divide, _power, _select, _rectify, _clamp, _mix_integers, _cast),
    *(_slice, _pad, _concat, _flip, _argmax, _accumulate, _sort, _product, _product),
    *(
        _convolve,
        _pool,
        _average,
        _gather,
        _gather_at_run_time,
        _gather_elements,
        _scatter,
        _normalise,
        _composite,
    ),
    *(_draw, _count, _loop, _branch),
)
