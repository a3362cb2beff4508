"""Attention's nests in registers against the naive nests: bit for bit, on each vector width."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc import target
from graphc.backends.llvm.attention import tile_local_blocks
from graphc.backends.llvm.engine import ALLOWED_SYMBOLS, module_text, object_code
from graphc.backends.llvm.statements import emit_kernel
from graphc.loops import Kernel
from graphc.loops.evaluate import run_kernel
from graphc.loops.simplify import simplify_kernel
from graphc.loops.verify import verify_kernel
from graphc.ops.attention_samples import operands, options
from graphc.ops.define import Sample
from graphc.ops.samples import real, truth
from tests.backends.llvm.test_emit import run_compiled
from tests.ops.single_operator import graph_of, naive_kernel

TARGETS = [
    t
    for t in (target.X86_64_V3, target.X86_64_V4)
    if target.host().is_x86 and t.vector_bytes <= target.host().vector_bytes
]
KEY = np.array([7, 9], np.uint32)

# batch, heads, key heads, (queries, keys), (width, value width); options; masks by shape
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "whole blocks": ((1, 2, 2, (128, 128), (16, 32)), {}),
    "whole blocks, causal": ((1, 2, 1, (128, 192), (16, 16)), {"causal": True}),
    "tails": ((2, 1, 1, (37, 70), (5, 17)), {}),
    "tails, causal": ((1, 1, 1, (150, 131), (24, 8)), {"causal": True}),
    "causal, more queries": ((1, 1, 1, (200, 100), (16, 8)), {"causal": True}),
    "causal, more keys": ((1, 2, 1, (50, 70), (8, 16)), {"causal": True}),
    "causal, few keys": ((1, 1, 1, (70, 20), (8, 8)), {"causal": True}),
    "causal, wide heads": ((1, 1, 1, (70, 66), (700, 800)), {"causal": True}),
    "one query": ((1, 2, 1, (1, 130), (8, 8)), {}),
    "one query, turned keys": ((2, 4, 2, (1, 150), (40, 24)), {"mask": (2, 1, 1, 150)}),
    "one query, causal": ((1, 1, 1, (1, 90), (32, 16)), {"causal": True}),
    "one query, a bias": (
        (1, 2, 1, (1, 80), (16, 16)),
        {"mask": (1, 2, 1, 80), "additive": True},
    ),
    "one query, dropout": ((1, 2, 1, (1, 100), (33, 20)), {"dropout": 0.3}),
    "one query too many": ((1, 1, 1, (65, 70), (16, 16)), {}),
    "one query, nothing": ((1, 1, 1, (1, 70), (16, 16)), {"mask": (1, 1, 1, 1)}),
    "one key": ((1, 1, 1, (70, 1), (8, 1)), {}),
    "padding": ((2, 2, 1, (66, 70), (8, 8)), {"mask": (2, 1, 1, 70)}),
    "a mask": ((1, 2, 1, (40, 70), (8, 8)), {"mask": (1, 2, 40, 70)}),
    "a bias": ((1, 2, 1, (40, 70), (8, 8)), {"mask": (1, 2, 40, 70), "additive": True}),
    "dropout": ((1, 2, 1, (40, 70), (8, 8)), {"dropout": 0.3, "causal": True}),
    "wide heads": ((1, 1, 1, (70, 66), (700, 800)), {}),
}


def sample(sizes: Any, chosen: dict[str, Any], dtype: Any) -> Sample:
    changed = dict(chosen)
    shape, additive = changed.pop("mask", None), changed.pop("additive", False)
    arrays: list[Any] = [x.astype(dtype) for x in operands(*sizes)]
    if shape is not None:
        arrays.append(real(shape).astype(dtype) if additive else truth(shape))
        changed["mask"] = True
    if "dropout" in changed:
        arrays.append(KEY)
    return Sample(tuple(arrays), options(**changed))


def with_gradient(forward: Sample) -> Sample:
    q, _, v = forward.arrays[:3]
    rows = q.shape[:3]
    more = (real(rows, 1, 3), real(rows, seed=2), real((*rows, v.shape[3]), seed=3))
    return Sample((*forward.arrays, *(x.astype(q.dtype) for x in more)), forward.attrs)


def kernel_and_arrays(op: str, chosen: Sample) -> tuple[Kernel, dict[str, Any]]:
    (node,) = graph_of(op, chosen).nodes
    arrays = {f"x{i}": np.array(x) for i, x in enumerate(chosen.arrays)}
    for i, value in enumerate(node.results):
        arrays[f"y{i}"] = np.zeros(value.shape, value.dtype.numpy)
    return naive_kernel(node), arrays


@pytest.mark.parametrize("where", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("op", ["attention", "attention_grad"])
@pytest.mark.parametrize("case", CASES)
def test_tiles_give_the_bits_of_the_naive_nest(case: str, op: str, where: Any) -> None:
    dtype = np.float64 if case == "tails" else np.float32
    chosen = sample(*CASES[case], dtype)
    chosen = with_gradient(chosen) if op == "attention_grad" else chosen
    naive, arrays = kernel_and_arrays(op, chosen)
    expected = {name: array.copy() for name, array in arrays.items()}
    run_kernel(naive, expected)
    tiled = tile_local_blocks(simplify_kernel(naive), where)
    assert tiled is not None
    verify_kernel(tiled)
    found = run_compiled(tiled, arrays, where)
    for buffer in naive.buffers:
        np.testing.assert_array_equal(found[buffer.name], expected[buffer.name])


def test_products_become_register_tiles() -> None:
    naive, _ = kernel_and_arrays("attention", sample(*CASES["whole blocks"], np.float32))
    tiled = str(tile_local_blocks(naive, target.X86_64_V4))
    assert tiled.count("contract tile[") == 4  # of six rows and of five, in two products
    assert "local tile: register f32[6,64]" in tiled
    assert "reduce dot" not in tiled


def test_products_fetch_what_comes_next() -> None:
    """Keys, values, queries and results of the next owner, each by one product of the nest."""
    naive, _ = kernel_and_arrays("attention", sample(*CASES["whole blocks"], np.float32))
    tiled = str(tile_local_blocks(simplify_kernel(naive), target.X86_64_V4))
    fetched = re.findall(r"prefetch (\w+)\[", tiled)
    assert set(fetched) == {"x0", "x1", "x2", "y0"}
    assert len(fetched) == 2 * 4  # by tiles of six rows and of five
    following = r"x1\[0, min\(owner \+ select\(kb_\d+ \+ 1 >= 2, 1, 0\), 3\) // 2"
    assert re.search(following, tiled)


def test_a_causal_order_leaves_strips_out() -> None:
    """Scores of 16 keys with 64, 48, 32 and 16 queries; keys before them have no mask."""
    naive, _ = kernel_and_arrays("attention", sample(*CASES["whole blocks, causal"], np.float32))
    scores = re.findall(r"in 0..(\d+) {\n\s*let s_\d+ = .*\n(.*)", str(naive))
    assert [int(queries) for queries, _ in scores] == [64, 64, 48, 32, 16]
    assert ["-inf" in store for _, store in scores] == [False, True, True, True, True]


def test_one_query_has_its_vectors_along_keys() -> None:
    """Only the running maximum and sum go key by key, each in a register."""
    naive, _ = kernel_and_arrays("attention", sample((1, 1, 1, (1, 128), (64, 64)), {}, np.float32))
    tiled = str(tile_local_blocks(simplify_kernel(naive), target.X86_64_V4))
    assert "register f32[16,16]" in tiled
    assert tiled.count("local tile: register f32[1,64]") == 2
    assert re.search(r"local total_7\.j_\d+: register f32\[1,1\]", tiled)
    assert re.search(r"vector j_\d+ in 0..64 {\n *let power", tiled)


@pytest.mark.parametrize("where", target.NAMED.values(), ids=lambda t: t.name)
@pytest.mark.parametrize("op", ["attention", "attention_grad"])
def test_code_for_other_machines_calls_nothing(op: str, where: Any, tmp_path: Path) -> None:
    chosen = sample(*CASES["dropout"], np.float32)
    chosen = with_gradient(chosen) if op == "attention_grad" else chosen
    tiled = tile_local_blocks(kernel_and_arrays(op, chosen)[0], where)
    assert tiled is not None
    path = tmp_path / "code.o"
    path.write_bytes(object_code(module_text([emit_kernel(tiled, "k", where)]), where))
    listed = subprocess.run(["nm", "-u", path], capture_output=True, text=True, check=True)
    assert {line.split()[-1] for line in listed.stdout.splitlines()} <= ALLOWED_SYMBOLS
