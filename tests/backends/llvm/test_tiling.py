"""Tiled kernels against the naive ones they come from: bit for bit, on each vector width."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphc import target
from graphc.backends.llvm.statements import emit_kernel
from graphc.backends.llvm.tile import tile
from graphc.loops.evaluate import run_kernel
from graphc.loops.parse import parse_kernel
from graphc.loops.verify import verify_kernel
from tests.backends.llvm.test_emit import run_compiled
from tests.backends.llvm.tiling_kernels import (
    ACROSS_ROWS,
    BESIDE,
    CASES,
    CROSSING,
    NORM_GRADIENT,
    PRODUCT,
    ROWS_APART,
    ROWS_TOGETHER,
    SOFTMAX,
    WEIGHT_GRADIENT,
    laid_out,
    strided,
)

RUNNABLE = [
    t
    for t in (target.X86_64_V3, target.X86_64_V4)
    if target.host().is_x86 and t.vector_bytes <= target.host().vector_bytes
]
# Caches so small that sums are cut along k and panels are copied.
SMALL = [replace(t, name=f"{t.name}-small", l1_bytes=2048, l2_bytes=8192) for t in RUNNABLE]
# Caches that some results outgrow, but not what a tile reads.
MIDDLING = [replace(t, name=f"{t.name}-middling", l2_bytes=24000) for t in RUNNABLE[-1:]]
TARGETS = [*RUNNABLE, *SMALL, *MIDDLING]


@pytest.mark.parametrize("where", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_tiled_equals_naive(text, where):
    naive = parse_kernel(text)
    random = np.random.default_rng(0)
    arrays = {
        buffer.name: random.standard_normal(buffer.shape).astype(buffer.dtype.numpy)
        for buffer in naive.buffers
    }
    expected = {name: array.copy() for name, array in arrays.items()}
    run_kernel(naive, expected)
    found = run_compiled(tile(naive, where), arrays, where, naive)
    for buffer in naive.buffers:
        np.testing.assert_array_equal(found[buffer.name], expected[buffer.name])


def test_rows_that_lie_together_and_fill_no_vectors_are_one():
    together = tile(parse_kernel(ROWS_TOGETHER.format(m=9, n=10, k=5)), target.X86_64_V4)
    assert "in 0..90" in str(together) and "0..10 " not in str(together)
    for text in (ROWS_TOGETHER.format(m=9, n=16, k=5), ROWS_APART.format(m=9, n=10)):
        assert "parallel" in str(tile(parse_kernel(text), target.X86_64_V4)).split("0..9 ")[0]


def test_a_strided_gradient_has_tiles_without_remainders():
    tiled = str(tile(parse_kernel(strided(1, 3, 5, 13, 3, 2)), target.X86_64_V4))
    assert "contract tile" in tiled
    assert "% 2" not in tiled and "// 2" not in tiled


def test_a_fold_along_lines_apart_runs_across_rows_that_lie_together():
    tiled = str(tile(parse_kernel(ACROSS_ROWS.format(m=70, k=200, lanes=16)), target.X86_64_V4))
    assert "vector i0" in tiled


def test_a_crossing_load_goes_through_a_register_tile():
    tiled = str(tile(parse_kernel(CROSSING.format(m=33, n=47)), target.X86_64_V4))
    assert "local tile.0: register f32[16,16]" in tiled
    assert "store tile.0[tile.q, tile.l] = b0" in tiled
    assert "tile.0[tile.l, tile.q]" in tiled


def test_short_rows_that_loads_run_through_are_one_long_row():
    tiled = str(tile(parse_kernel(laid_out((2, 3, 1, 0), 64, 32, 3, 3)), target.X86_64_V4))
    assert "% 9" in tiled and "// 9" in tiled and "local tile.0" in tiled
    assert tiled.count("local tile") == 1  # 288 elements: 18 tiles, and nothing beside them
    alike = str(tile(parse_kernel(laid_out((0, 2, 3, 1), 4, 32, 8, 8)), target.X86_64_V4))
    assert "local tile.0" in alike and "//" not in alike


def test_tiles_at_the_edges_are_no_loops_of_single_elements():
    tiled = str(tile(parse_kernel(CROSSING.format(m=33, n=47)), target.X86_64_V4))
    assert tiled.count("local tile.0") == 4


def test_long_sums_are_cut_along_k_and_panels_copied():
    small = replace(target.X86_64_V4, l1_bytes=2048, l2_bytes=8192)
    text = PRODUCT.format(m=300, n=97, k=83)
    tiled = str(tile(parse_kernel(text), small))
    assert "serial k.block" in tiled
    assert "local panel: scratch" in tiled
    assert "k.block" not in str(tile(parse_kernel(text), target.X86_64_V4))


def test_rows_of_several_lines_are_copied_for_many_rows_alone():
    small = replace(target.X86_64_V4, l1_bytes=2048, l2_bytes=8192)
    few, many = (PRODUCT.format(m=m, n=256, k=83) for m in (150, 300))
    assert "panel" not in str(tile(parse_kernel(few), small))
    assert "local panel" in str(tile(parse_kernel(many), small))
    narrow = replace(small, vector_bytes=32, registers=16)  # tiles of one line
    assert "local panel" in str(tile(parse_kernel(few), narrow))


def test_tiles_of_all_heights_share_a_panel():
    small = replace(target.X86_64_V4, l1_bytes=2048, l2_bytes=8192)
    tiled = str(tile(parse_kernel(PRODUCT.format(m=301, n=256, k=83)), small))  # 6 or 5 rows
    assert "tile: register f32[6,64]" in tiled and "tile: register f32[5,64]" in tiled
    assert tiled.count("local panel") == tiled.count("parallel work") == 1


def test_what_is_read_beside_long_sums_is_fetched_before_them():
    small = replace(target.X86_64_V4, l2_bytes=24000)
    text = BESIDE.format(m=400, n=16, k=90)
    tiled = str(tile(parse_kernel(text), small))
    assert "prefetch b2" in tiled
    assert tiled.index("prefetch b2") < tiled.index("contract")
    assert "prefetch" not in str(tile(parse_kernel(text), target.X86_64_V4))


def test_what_tiles_will_need_next_is_fetched():
    small = replace(target.X86_64_V4, l1_bytes=512, l2_bytes=8192)
    tiled = tile(parse_kernel(WEIGHT_GRADIENT.format(m=150, n=130, k=83)), small)
    verify_kernel(tiled)
    for buffer in ("b0", "b1", "b2"):
        assert f"prefetch {buffer}" in str(tiled)
    high = parse_kernel(PRODUCT.format(m=40000, n=130, k=83))  # its copies hardly count
    tiled = str(tile(high, replace(small, l2_bytes=1 << 22)))
    assert "local panel" in tiled and "prefetch" not in tiled
    tiled = str(tile(high, replace(small, l2_bytes=1 << 17)))
    assert "prefetch b0" in tiled and "prefetch b1" in tiled


def test_sums_over_the_same_elements_share_a_loop():
    text = NORM_GRADIENT.format(m=9, n=300, lanes=64)
    tiled = str(tile(parse_kernel(text), target.X86_64_V4))
    assert "let v4 = reduce sum_sum [r1 < 300] lanes=64 (b0[i0, r1], b1[i0, r1]).1" in tiled
    assert tiled.count("reduce sum_sum [r3 < 300]") == 2
    # v6 needs v3, v8 needs v7, and the accumulators of two would fill the registers of AVX2
    assert tiled.count("reduce sum [") == 3
    assert "sum_sum" not in str(tile(parse_kernel(text), target.X86_64_V3))


def test_columns_of_a_large_b_are_fetched_where_rows_are_enough():
    small = replace(target.X86_64_V4, l1_bytes=2048, l2_bytes=8192)
    tiled = tile(parse_kernel(PRODUCT.format(m=60, n=256, k=83)), small)
    verify_kernel(tiled)
    assert "prefetch b1" in str(tiled) and "panel" not in str(tiled)
    for m, n in (12, 256), (60, 40):  # few rows; a small b
        assert "prefetch b1" not in str(tile(parse_kernel(PRODUCT.format(m=m, n=n, k=83)), small))


def test_a_row_s_exponentials_are_computed_once_while_the_next_row_comes_near():
    small = replace(target.X86_64_V4, l2_bytes=8192)
    tiled = str(tile(parse_kernel(SOFTMAX.format(m=40, n=300)), small))
    assert tiled.count("exp(") == 1
    assert "prefetch b0[min(i0 + 1, 39), row.element]" in tiled
    near = str(tile(parse_kernel(SOFTMAX.format(m=40, n=300)), target.X86_64_V4))
    assert near.count("exp(") == 1 and "prefetch" not in near


@pytest.mark.parametrize("name", ["exp", "exp2", "pow"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_powers_of_two_by_one_instruction_have_the_bits_of_two_steps(name, dtype):
    """Down to denormals and up to infinity."""
    text = POWERS.format(n=4096, t=dtype[0] + dtype[-2:], of=CALLS[name])
    naive = parse_kernel(text)
    reach = {"float32": 160.0, "float64": 1200.0}[dtype]
    x = np.linspace(-reach, reach, 4096).astype(dtype)
    x[:6] = 0.0, -0.0, np.inf, -np.inf, np.nan, 1.0
    arrays = {"b0": x, "b1": np.zeros_like(x)}
    expected = {key: array.copy() for key, array in arrays.items()}
    run_kernel(naive, expected)
    assert np.isinf(expected["b1"]).any() and (expected["b1"] == 0).any()
    for where in RUNNABLE:
        found = run_compiled(tile(naive, where), arrays, where, naive)
        np.testing.assert_array_equal(found["b1"], expected["b1"])
    llvm = emit_kernel(tile(naive, target.X86_64_V4), "k", target.X86_64_V4).definition
    assert ("scalef" in llvm) == ((name, dtype) != ("pow", "float32"))  # which is of float64 inside


POWERS = """
kernel @powers(in b0: {t}[{n}], out b1: {t}[{n}]) {{
  parallel i0 in 0..{n} {{
    store b1[i0] = {of}
  }}
}}
"""
CALLS = {"exp": "exp(b0[i0])", "exp2": "exp2(b0[i0])", "pow": "pow(abs(b0[i0]), b0[i0])"}


STREAMED = """
kernel @double(in b0: f32[{n}], out b1: f32[{n}]) {{
  parallel i0 in 0..{n} {{
    store b1[i0] = b0[i0] * f32(2.0)
  }}
}}
"""


def test_large_results_pass_the_caches_where_they_are_aligned():
    size = (24 << 20) // 4 + 37
    kernel = tile(parse_kernel(STREAMED.format(n=size)), target.host())
    text = emit_kernel(kernel, "k", target.host()).definition
    assert "!nontemporal" in text
    small = tile(parse_kernel(STREAMED.format(n=4096)), target.host())
    assert "!nontemporal" not in emit_kernel(small, "k", target.host()).definition
    array = np.arange(size, dtype=np.float32)
    found = run_compiled(kernel, {"b0": array, "b1": np.zeros_like(array)}, target.host())
    np.testing.assert_array_equal(found["b1"], 2 * array)
