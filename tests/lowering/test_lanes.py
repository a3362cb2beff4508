"""The order of a fold depends on shape and dtype alone, not on what it is fused with."""

from __future__ import annotations

import numpy as np
import pytest
from lowered import run_lowered

from graphc.dtypes import float32
from graphc.ir import Graph, TensorType, Value
from graphc.loops import Kernel, Reduce
from graphc.loops.expressions import children
from graphc.loops.kernel import Let, Loop, Store
from graphc.lowering.lower import lower
from graphc.ops import Builder
from graphc.passes.base import run_pipeline
from graphc.passes.pipelines import FUSE

CASES = [((8, 256), (1,), 64), ((8, 40), (1,), 16), ((4, 32, 32), (1, 2), 16), ((6, 70), (0,), 1)]


def rows(shape: tuple[int, ...], axes: tuple[int, ...]) -> Graph:
    x = Value(TensorType(shape, float32), "x")
    b = Builder(source=("rows.py:1",))
    result = b.scale(b.sum(b.op("exp", x), axes), 0.5)
    return Graph("rows", (x,), tuple(b.nodes), (result,))


def folds_of(kernel: Kernel) -> list[Reduce]:
    found: list[Reduce] = []
    pending: list[object] = list(kernel.body)
    while pending:
        match pending.pop():
            case Loop(body=body):
                pending += body
            case Let(value=value) | Store(value=value):
                pending.append(value)
            case Reduce() as fold:
                found.append(fold)
            case expr:
                pending += children(expr)  # type: ignore[arg-type]  # only expressions are left
    return found


@pytest.mark.parametrize(("shape", "axes", "lanes"), CASES)
def test_fused_and_unfused_fold_in_one_order(
    shape: tuple[int, ...], axes: tuple[int, ...], lanes: int
) -> None:
    graph = rows(shape, axes)
    fused = run_pipeline(graph, FUSE, ())
    assert any(node.op == "group" for node in fused.nodes)
    for each in (graph, fused):
        folds = [fold for kernel in lower(each).kernels.values() for fold in folds_of(kernel)]
        assert [fold.lanes for fold in folds] == [lanes]
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(run_lowered(graph, (x,))[0], run_lowered(fused, (x,))[0])
