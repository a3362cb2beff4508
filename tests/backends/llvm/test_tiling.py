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

PRODUCT = """
kernel @product(in b0: f32[{m},{k}], in b1: f32[{k},{n}], in b2: f32[{n}], out b3: f32[{m},{n}]) {{
  parallel i0 in 0..{m} {{
    parallel i1 in 0..{n} {{
      let v1 = b2[i1] * f32(0.5)
      let v2 = reduce dot [k1 < {k}] lanes=1 (b0[i0, k1], b1[k1, i1])
      store b3[i0, i1] = v2 + v1
    }}
  }}
}}
"""

BESIDE = """
kernel @beside(
    in b0: f32[{m},{k}], in b1: f32[{k},{n}], in b2: f32[{m},{n}], out b3: f32[{m},{n}]
) {{
  parallel i0 in 0..{m} {{
    parallel i1 in 0..{n} {{
      let v1 = b2[i0, i1] * f32(0.5)
      let v2 = reduce dot [k1 < {k}] lanes=1 (b0[i0, k1], b1[k1, i1])
      store b3[i0, i1] = v2 + v1
    }}
  }}
}}
"""

WEIGHT_GRADIENT = """
kernel @gradient(in b0: f32[{k},{m}], in b1: f32[{k},{n}], out b2: f32[{m},{n}]) {{
  parallel i0 in 0..{m} {{
    parallel i1 in 0..{n} {{
      let v1 = reduce dot [k1 < {k}] lanes=1 (b0[k1, i0], b1[k1, i1])
      store b2[i0, i1] = v1
    }}
  }}
}}
"""

SOFTMAX = """
kernel @softmax(in b0: f32[{m},{n}], in b1: f32[{n}], out b2: f32[{m},{n}]) {{
  parallel i0 in 0..{m} {{
    let v1 = reduce max [r1 < {n}] lanes=16 (b0[i0, r1])
    let v2 = reduce sum [r2 < {n}] lanes=16 (exp(b0[i0, r2] - v1))
    serial j1 in 0..{n} {{
      let v3 = b0[i0, j1] - v1
      let v4 = exp(v3)
      let v5 = v4 / v2
      let v6 = tanh(b1[j1])
      store b2[i0, j1] = v5 + v6
    }}
  }}
}}
"""

ACROSS = """
kernel @across(in b0: f32[{n},{m}], out b1: f32[{m}], out b2: f32[{m},{n}]) {{
  parallel i0 in 0..{m} {{
    let v1 = reduce sum [r1 < {n}] lanes=16 (exp(b0[r1, i0]))
    store b1[i0] = v1
    serial j1 in 0..{n} {{
      store b2[i0, j1] = exp(b0[j1, i0]) / v1
    }}
  }}
}}
"""

OVERWRITTEN = """
kernel @overwritten(inout b0: f32[{m},{n}], out b1: f32[{m},{n}]) {{
  parallel i0 in 0..{m} {{
    serial j1 in 0..{n} {{
      store b0[i0, j1] = exp(b0[i0, j1])
    }}
    serial j2 in 0..{n} {{
      store b1[i0, j2] = exp(b0[i0, j2])
    }}
  }}
}}
"""

SUM_OF_POWERS = """
kernel @powers(in b0: f32[3,{m},{n}], out b1: f32[3,{m}]) {{
  parallel i0 in 0..3 {{
    serial i1 in 0..{m} {{
      let v1 = reduce max [r1 < {n}] lanes=1 (b0[i0, i1, r1])
      let v2 = reduce sum [r2 < {n}] lanes=64 (exp(b0[i0, i1, r2] - v1))
      store b1[i0, i1] = log(v2) + v1
    }}
  }}
}}
"""

COLUMNS = """
kernel @columns(in b0: f32[{m},{n}], out b1: f32[4,{n}], out b2: f32[{m},{n}]) {{
  parallel i0 in 0..4 {{
    serial z in 0..{n} {{
      store b1[i0, z] = f32(0.0)
    }}
    serial i1 in 0..{rows} {{
      let v1 = reduce sum [r1 < {n}] lanes=16 (b0[i0 * {rows} + i1, r1])
      serial i2 in 0..{n} {{
        let v2 = tanh(b0[i0 * {rows} + i1, i2]) * v1
        store b2[i0 * {rows} + i1, i2] = v2
        store b1[i0, i2] = b1[i0, i2] + v2
      }}
    }}
  }}
}}
"""

CHANNEL_SUMS = """
kernel @sums(in b0: f32[3,{c},{h},{w}] order(0,2,3,1), in b1: f32[{c}], out b2: f32[3,{c}]) {{
  parallel i0 in 0..3 {{
    parallel i1 in 0..{c} {{
      let v1 = b1[i1] * f32(0.25)
      let v2 = reduce sum [r1 < {h}, r2 < {w}] lanes={lanes} (b0[i0, i1, r1, r2] - v1)
      store b2[i0, i1] = v2
    }}
  }}
}}
"""

CROSSING = """
kernel @crossing(in b0: f32[{m},{n}] order(1,0), in b1: f32[{m},{n}], out b2: f32[{m},{n}]) {{
  parallel i0 in 0..{m} {{
    parallel i1 in 0..{n} {{
      let v1 = b0[i0, i1] * f32(2.0)
      store b2[i0, i1] = v1 + b1[i0, i1]
    }}
  }}
}}
"""

POOLED = """
kernel @pooled(
    in b0: f32[{n},3,{h},{h}] order(0,2,3,1),
    in b1: f32[{o},3,3,3] order(2,3,1,0),
    in b2: f32[{o}],
    out b3: f32[{n},{o},{p},{p}] order(0,2,3,1),
    out b4: u8[{n},{o},{p},{p}] order(0,2,3,1)
) {{
  parallel i0 in 0..{n} {{
    parallel i2 in 0..{p} {{
      parallel i3 in 0..{p} {{
        parallel i1 in 0..{o} {{
          let v6 = {best}.0
          let v7 = cast<u8>({best}.1)
          store b3[i0, i1, i2, i3] = select(v6 <= f32(0.0), f32(0.0), v6)
          store b4[i0, i1, i2, i3] = v7
        }}
      }}
    }}
  }}
}}
"""
BEST = (
    "reduce argmax [y < 2, x < 2] lanes=1 (reduce dot [k < 3, l < 3, c < 3] lanes=1 "
    "(b0[i0, c, i2 * 2 + y + k + {shift}, i3 * 2 + x + l + {shift}], b1[i1, c, k, l]{where}) "
    "+ b2[i1], cast<i32>(x + y * 2))"
)
INSIDE = (
    " where 0 <= i2 * 2 + y + k + -1 and i2 * 2 + y + k + -1 < {h}"
    " and 0 <= i3 * 2 + x + l + -1 and i3 * 2 + x + l + -1 < {h}"
)


def pooled(n: int, o: int, p: int, padded: bool) -> str:
    """A convolution of 3x3 under max pooling of 2x2, without padding or with a border of 1."""
    h = 2 * p if padded else 2 * p + 2
    where = INSIDE.format(h=h) if padded else ""
    best = BEST.format(shift=-1 if padded else 0, where=where)
    return POOLED.format(n=n, o=o, p=p, h=h, best=best)


SCATTER = """
kernel @scatter(in b0: i32[11], in b1: f32[11,{n}], in b2: f32[3,{n}], out b3: f32[3,{n}]) {{
  parallel j in 0..{n} {{
    serial r in 0..3 {{
      store b3[r, j] = b2[r, j]
    }}
    serial p in 0..11 {{
      let t = cast<i64>(b0[p])
      when 0 <= t and t < 3 {{
        store b3[t, j] = b3[t, j] + b1[p, j]
      }}
    }}
  }}
}}
"""

AVERAGED = """
kernel @averaged(
    in b0: f32[{n},3,{h},{h}] order(0,2,3,1),
    in b1: f32[{o},3,3,3] order(2,3,1,0),
    in b2: f32[{o}],
    out b3: f32[{n},{o},{p},{p}] order(0,2,3,1)
) {{
  parallel i0 in 0..{n} {{
    parallel i2 in 0..{p} {{
      parallel i3 in 0..{p} {{
        parallel i1 in 0..{o} {{
          store b3[i0, i1, i2, i3] = {total} * f32(0.25)
        }}
      }}
    }}
  }}
}}
"""


def averaged(n: int, o: int, p: int, padded: bool) -> str:
    """A convolution of 3x3 under average pooling of 2x2."""
    h = 2 * p if padded else 2 * p + 2
    where = INSIDE.format(h=h) if padded else ""
    best = BEST.format(shift=-1 if padded else 0, where=where)
    total = best.replace("argmax", "sum").replace(", cast<i32>(x + y * 2))", ")")
    return AVERAGED.format(n=n, o=o, p=p, h=h, total=total)


ACROSS_ROWS = """
kernel @across_rows(
    in b0: f32[{m},{k}] order(1,0), in b1: f32[{k},1], out b2: f32[{m},1]
) {{
  parallel i0 in 0..{m} {{
    let v1 = reduce dot [k1 < {k}] lanes={lanes} (b0[i0, k1], b1[k1, 0])
    store b2[i0, 0] = v1
  }}
}}
"""

DEPTHWISE = """
kernel @depthwise(
    in b0: f32[2,5,{h},{w}], in b1: f32[5,1,{k},{k}], out b2: f32[2,5,{h},{w}]
) {{
  parallel i0 in 0..2 {{
    parallel i1 in 0..5 {{
      parallel i2 in 0..{h} {{
        parallel i3 in 0..{w} {{
          let v4 = reduce dot [kh1 < {k}, kw2 < {k}] lanes=1 (b0[i0, i1, i2 + kh1 + -1, i3 + kw2 + -1], b1[i1, 0, kh1, kw2] where 0 <= i2 + kh1 + -1 and i2 + kh1 + -1 < {h} and 0 <= i3 + kw2 + -1 and i3 + kw2 + -1 < {w})
          store b2[i0, i1, i2, i3] = v4
        }}
      }}
    }}
  }}
}}
"""  # noqa: E501 - one fold is one line

STRIDED = """
kernel @strided(
    in b0: f32[{n},{o},{p},{p}],
    in b1: f32[{o},{c},{k},{k}] order(2,3,0,1),
    out b2: f32[{n},{c},{h},{h}] order(0,2,3,1)
) {{
  parallel i0 in 0..{n} {{
    parallel i2 in 0..{h} {{
      parallel i3 in 0..{h} {{
        parallel i1 in 0..{c} {{
          let v4 = reduce dot [kh1 < {k}, kw2 < {k}, co3 < {o}] lanes=1 (b0[i0, co3, {y}, {x}], b1[co3, i1, kh1, kw2] where {where})
          store b2[i0, i1, i2, i3] = v4
        }}
      }}
    }}
  }}
}}
"""  # noqa: E501 - one fold is one line


def strided(n: int, c: int, o: int, p: int, k: int, stride: int) -> str:
    """The input gradient of a convolution of k by k with a padding of 1."""
    index = "({i} + {axis} * -1 + 1) {op} {stride}"
    places, where = [], []
    for i, axis in (("i2", "kh1"), ("i3", "kw2")):
        place = index.format(i=i, axis=axis, op="//", stride=stride)
        left = index.format(i=i, axis=axis, op="%", stride=stride)
        where.append(f"{left} == 0 and 0 <= {place} and {place} < {p}")
        places.append(place)
    y, x = places
    h = (p - 1) * stride + k - 2
    return STRIDED.format(n=n, c=c, o=o, p=p, k=k, h=h, y=y, x=x, where=" and ".join(where))


CASES = {
    **{
        f"across rows {m}x{k}/{lanes}": ACROSS_ROWS.format(m=m, k=k, lanes=lanes)
        for m, k, lanes in ((70, 37, 16), (37, 200, 64), (130, 5, 16))
    },
    **{
        f"depthwise {h}x{w}x{k}": DEPTHWISE.format(h=h, w=w, k=k)
        for h, w, k in ((7, 28, 3), (5, 37, 4), (4, 9, 5), (3, 16, 1))
    },
    **{
        f"strided {n}x{c}x{o}x{p}x{k}/{stride}": strided(n, c, o, p, k, stride)
        for n, c, o, p, k, stride in (
            (1, 3, 5, 13, 3, 2),
            (2, 17, 3, 12, 4, 2),
            (9, 16, 2, 6, 3, 2),
            (1, 5, 2, 9, 5, 3),
            (1, 20, 3, 9, 2, 3),
        )
    },
    **{
        f"averaged {n}x{o}x{p}{' padded' * padded}": averaged(n, o, p, padded)
        for n, o, p in ((2, 16, 4), (1, 37, 9))
        for padded in (False, True)
    },
    **{
        f"beside {m}x{n}x{k}": BESIDE.format(m=m, n=n, k=k)
        for m, n, k in ((40, 70, 90), (64, 97, 300), (600, 17, 80))
    },
    **{f"softmax {m}x{n}": SOFTMAX.format(m=m, n=n) for m, n in ((9, 300), (40, 77), (3, 16))},
    "overwritten": OVERWRITTEN.format(m=5, n=40),
    **{f"across {m}x{n}": ACROSS.format(m=m, n=n) for m, n in ((40, 77), (9, 300))},
    **{f"powers {m}x{n}": SUM_OF_POWERS.format(m=m, n=n) for m, n in ((7, 300), (4, 65))},
    **{
        f"columns {rows}x{n}": COLUMNS.format(m=4 * rows, rows=rows, n=n)
        for rows, n in ((9, 300), (3, 77))
    },
    "formula after a product": PRODUCT.format(m=13, n=70, k=9).replace("v2 + v1", "exp(v2) + v1"),
    **{f"scatter {n}": SCATTER.format(n=n) for n in (8, 64, 150)},
    **{
        f"pooled {n}x{o}x{p}{' padded' * padded}": pooled(n, o, p, padded)
        for n, o, p in ((2, 16, 4), (1, 37, 9), (9, 70, 3))
        for padded in (False, True)
    },
    **{
        f"product {m}x{n}x{k}": PRODUCT.format(m=m, n=n, k=k)
        for m, n, k in (
            (13, 70, 9),
            (7, 64, 5),
            (1, 33, 4),
            (30, 5, 3),
            (6, 80, 300),
            (48, 112, 2),
            (150, 97, 83),
            (300, 97, 83),
        )
    },
    **{
        f"gradient {m}x{n}x{k}": WEIGHT_GRADIENT.format(m=m, n=n, k=k)
        for m, n, k in ((70, 200, 90), (150, 97, 83), (300, 64, 131), (1, 130, 70), (67, 5, 40))
    },
    **{
        f"sums {c}x{h}x{w}/{lanes}": CHANNEL_SUMS.format(c=c, h=h, w=w, lanes=lanes)
        for c, h, w, lanes in ((16, 5, 33, 16), (20, 4, 16, 16), (16, 3, 5, 1), (2, 3, 40, 16))
    },
    **{
        f"crossing {m}x{n}": CROSSING.format(m=m, n=n)
        for m, n in ((16, 16), (33, 47), (64, 32), (9, 100))
    },
}


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
    found = run_compiled(tile(naive, where), arrays, where)
    for buffer in naive.buffers:
        np.testing.assert_array_equal(found[buffer.name], expected[buffer.name])


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
    high = parse_kernel(PRODUCT.format(m=8000, n=130, k=83))  # its copies hardly count
    tiled = str(tile(high, replace(small, l2_bytes=1 << 17)))
    assert "local panel" in tiled and "prefetch b1" not in tiled


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
        found = run_compiled(tile(naive, where), arrays, where)
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
