"""Operators that hold graphs: scan, cond, grad and group.

    scan   (consts..., carries..., xs...)   a loop of fixed length over slices of axis 0
    cond   (flag, operands...)              one of two regions
    grad   (operands...)                    a function's derivatives; pass autodiff expands it
    group  (operands...)                    nodes that run together; made by pass fuse alone

Regions are closed graphs. Reverse mode of scan is in scan_gradient.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.dtypes import DType, bool_, float32, float64, int64
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir import Graph, Node, TensorType, Value
from graphc.ops.build import Builder
from graphc.ops.define import Attrs, Cotangents, Regions, Sample, Types, define
from graphc.ops.evaluate import evaluate_region
from graphc.ops.numerics import NumpyArray
from graphc.ops.samples import real, whole
from graphc.ops.scan_gradient import Loop, loop_of, scan_vjp

# Scan


def _infer_scan(types: Types, attrs: Attrs, regions: Regions) -> Types:
    (body,) = regions
    loop = loop_of(attrs)
    slices = [_slice_type(type, loop) for type in types[loop.first_slice :]]
    _expect_inputs("scan", body, [*types[: loop.first_slice], *slices])
    carries = types[loop.consts : loop.first_slice]
    returned = [value.type for value in body.outputs]
    if returned[: loop.carries] != list(carries):
        raise ShapeError(
            f"scan: {body.name} takes the carries {_names(carries)} and returns "
            f"{_names(returned[: loop.carries])}; expected the same types"
        )
    stacks = [TensorType((loop.length, *t.shape), t.dtype) for t in returned[loop.carries :]]
    return [*carries, *stacks]


def _slice_type(type: TensorType, loop: Loop) -> TensorType:
    if type.rank == 0 or type.shape[0] != loop.length:
        raise ShapeError(f"scan: {type} is not a stack of length {loop.length}")
    return TensorType(type.shape[1:], type.dtype)


def _expect_inputs(op: str, region: Graph, types: Types) -> None:
    taken = [value.type for value in region.inputs]
    if taken != list(types):
        raise ShapeError(f"{op}: {region.name} takes {_names(taken)}, given are {_names(types)}")


def _names(types: Iterable[TensorType]) -> str:
    return f"({', '.join(map(str, types))})"


def _meaning_scan(
    *arrays: NumpyArray,
    length: int,
    consts: int,
    carries: int,
    reverse: bool,
    regions: Regions,
    checkpoint: int = 0,
) -> tuple[NumpyArray, ...]:
    (body,) = regions
    loop = Loop(length, consts, carries, reverse)
    fixed, state = arrays[:consts], arrays[consts : loop.first_slice]
    stacks = [
        np.empty((length, *value.shape), value.dtype.numpy) for value in body.outputs[carries:]
    ]
    for step in loop.steps():
        slices = [x[step] for x in arrays[loop.first_slice :]]
        outputs = evaluate_region(body, [*fixed, *state, *slices])
        state = outputs[:carries]
        for stack, y in zip(stacks, outputs[carries:], strict=True):
            stack[step] = y
    return (*state, *stacks)


# Cond


def _infer_cond(types: Types, attrs: Attrs, regions: Regions) -> Types:
    flag = types[0]
    if flag != TensorType((), bool_):
        raise DTypeError(f"cond: the condition is {flag}, expected bool[]")
    yes, no = regions
    for region in regions:
        _expect_inputs("cond", region, types[1:])
    returned = [[value.type for value in region.outputs] for region in regions]
    if returned[0] != returned[1]:
        raise ShapeError(
            f"cond: {yes.name} returns {_names(returned[0])}, {no.name} {_names(returned[1])}; "
            "expected the same types"
        )
    return returned[0]


def _meaning_cond(
    flag: NumpyArray, *operands: NumpyArray, regions: Regions
) -> tuple[NumpyArray, ...]:
    yes, no = regions
    return evaluate_region(yes if flag else no, operands)


def _cond_vjp(b: Any, node: Node, cotangents: Cotangents) -> Cotangents:
    """The same choice between the vjps of the two regions."""
    flag, *operands = node.operands
    wanted = [
        position
        for position, value in enumerate(operands)
        if value.dtype.is_float and b.wants(value)
    ]
    given = [
        b.zeros(value.type) if cotangent is None else cotangent
        for value, cotangent in zip(node.results, cotangents, strict=True)
        if value.dtype.is_float
    ]
    regions = [b.differentiate(region, wanted) for region in node.regions]
    found = dict(zip(wanted, b.emit("cond", [flag, *operands, *given], {}, regions), strict=True))
    return [None, *(found.get(position) for position in range(len(operands)))]


# Grad and group


def _infer_grad(types: Types, attrs: Attrs, regions: Regions) -> Types:
    (function,) = regions
    _expect_inputs("grad", function, types)
    value, *others = (output.type for output in function.outputs)
    if value.shape != () or not value.dtype.is_float:
        raise ShapeError(
            f"grad: {function.name} returns {value}, expected one float number to differentiate"
        )
    for position in attrs["argnums"]:
        _expect_float_argument(types, position)
    return [
        *([value] if attrs["value"] else []),
        *(others if attrs["aux"] else []),
        *(types[position] for position in attrs["argnums"]),
    ]


def _expect_float_argument(types: Types, position: int) -> None:
    if not 0 <= position < len(types):
        raise ArgumentError(f"grad: argument {position} of {len(types)} does not exist")
    if not types[position].dtype.is_float:
        raise DTypeError(
            f"grad: argument {position} is {types[position]}, only floats have a derivative"
        )


def _infer_group(types: Types, attrs: Attrs, regions: Regions) -> Types:
    (inside,) = regions
    _expect_inputs("group", inside, types)
    return [value.type for value in inside.outputs]


def _meaning_group(
    *operands: NumpyArray, name: str, reason: str, regions: Regions
) -> tuple[NumpyArray, ...]:
    return evaluate_region(regions[0], operands)


# Samples


def _recurrence(dtype: DType) -> Graph:
    """(w, h, n, x) -> (tanh(w x + h), n + 1; h * x, n): a const, two carries, two stacks."""
    w, h, x = (Value(TensorType((3,), dtype), name) for name in ("w", "h", "x"))
    n = Value(TensorType((), int64), "n")
    b = Builder()
    new = b.op("tanh", b.add(b.mul(w, x), h))
    outputs = (new, b.shift(n, 1), b.mul(h, x), n)
    return Graph("recurrence", (w, h, n, x), tuple(b.nodes), outputs)


def _scan_samples() -> list[Sample]:
    return [
        Sample(
            (
                real((3,), dtype=dtype, seed=1),
                real((3,), dtype=dtype, seed=2),
                whole(()),
                real((length, 3), dtype=dtype, seed=3),
            ),
            {"length": length, "reverse": reverse, "consts": 1, "carries": 2},
            (_recurrence(dtype),),
            differentiable=dtype == float64,
        )
        for length, reverse, dtype in [
            (4, False, float64),
            (3, True, float64),
            (1, False, float64),
            (0, False, float64),
            (5, True, float32),
        ]
    ]


def _branches(dtype: DType) -> tuple[Graph, Graph]:
    """(x, y) -> (x y, x) and (x, y) -> (tanh(y), x + y)."""
    graphs = []
    for name in ("product", "sum"):
        x, y = (Value(TensorType((2, 3), dtype), label) for label in ("x", "y"))
        b = Builder()
        outputs = (b.mul(x, y), x) if name == "product" else (b.op("tanh", y), b.add(x, y))
        graphs.append(Graph(name, (x, y), tuple(b.nodes), outputs))
    return graphs[0], graphs[1]


def _cond_samples() -> list[Sample]:
    return [
        Sample(
            (
                np.array(flag),
                real((2, 3), dtype=dtype, seed=4),
                real((2, 3), dtype=dtype, seed=5),
            ),
            {},
            _branches(dtype),
            differentiable=dtype == float64,
        )
        for dtype in (float64, float32)
        for flag in (True, False)
    ]


def _group_samples() -> list[Sample]:
    product, _ = _branches(float32)
    arrays = real((2, 3), seed=6), real((2, 3), seed=7)
    attrs = {"name": "product", "reason": "a sample"}
    return [Sample(arrays, attrs, (product,), differentiable=False)]


scan = define("scan", infer=_infer_scan, meaning=_meaning_scan, vjp=scan_vjp, samples=_scan_samples)
cond = define(
    "cond", infer=_infer_cond, meaning=_meaning_cond, vjp=_cond_vjp, samples=_cond_samples
)
grad = define("grad", infer=_infer_grad)
group = define("group", infer=_infer_group, meaning=_meaning_group, samples=_group_samples)
