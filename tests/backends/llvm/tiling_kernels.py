"""Naive kernels of every form that is tiled, by sizes; `CASES` names those that are compared."""

from __future__ import annotations

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

NORM_GRADIENT = """
kernel @norm_gradient(in b0: f32[{m},{n}], in b1: f32[{m},{n}], inout b2: f32[{m},{n}]) {{
  parallel i0 in 0..{m} {{
    let v1 = reduce sum [r1 < {n}] lanes={lanes} (b0[i0, r1])
    let v2 = v1 * f32(0.125)
    let v3 = reduce sum [r3 < {n}] lanes={lanes} ((b0[i0, r3] - v2) * (b0[i0, r3] - v2))
    let v4 = reduce sum [r4 < {n}] lanes={lanes} (b1[i0, r4])
    let v5 = reduce sum [r5 < {n}] lanes={lanes} (b1[i0, r5] * (b0[i0, r5] - v2))
    let v6 = reduce sum [r6 < {n}] lanes={lanes} (b1[i0, r6] * v3)
    serial j1 in 0..{n} {{
      store b2[i0, j1] = b2[i0, j1] * v3 + v4 - v5 * v6
    }}
    let v7 = reduce sum [r7 < {n}] lanes={lanes} (b2[i0, r7])
    let v8 = reduce sum [r8 < {n}] lanes={lanes} (b1[i0, r8] * v7)
    store b2[i0, 0] = v7 * v8
  }}
}}
"""

ROWS_TOGETHER = """
kernel @rows(
    in b0: bool[], inout b1: f32[{n},{m}] order(1,0), in b2: f32[{k},{n},{m}] order(0,2,1),
    in b3: f32[{k}]
) {{
  parallel i2 in 0..{m} {{
    parallel i1 in 0..{n} {{
      let v1 = b2[2, i1, i2] * b3[1]
      let v2 = b1[i1, i2] + tanh(v1)
      store b1[i1, i2] = select(b0[], v2, b1[i1, i2])
    }}
  }}
}}
"""

ROWS_APART = """
kernel @apart(in b0: f32[{m},{n}], in b1: f32[{m}], out b2: f32[{m},{n}]) {{
  parallel i1 in 0..{m} {{
    parallel i2 in 0..{n} {{
      let v1 = cast<f32>(i2)
      store b2[i1, i2] = b0[i1, i2] + b1[i1] * v1
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

WEIGHTS_LAID_OUT = """
kernel @weights(in b0: f32[{o},{i},{h},{w}], out b1: f32[{o},{i},{h},{w}] order({order})) {{
  {loops}
          store b1[i0, i1, i2, i3] = b0[i0, i1, i2, i3] * f32(2.0)
  }}}}}}}}
}}
"""


def laid_out(order: tuple[int, ...], *shape: int) -> str:
    """A tensor stored in another order, its last dimension first."""
    loops = " ".join(f"parallel i{d} in 0..{shape[d]} {{" for d in order)
    o, i, h, w = shape
    return WEIGHTS_LAID_OUT.format(o=o, i=i, h=h, w=w, order=",".join(map(str, order)), loops=loops)


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

SEPARATE = """
kernel @separate(
    in b0: f32[2,{c},{h},{w}] order(0,2,3,1),
    in b1: f32[{c},1,3,3] order(2,3,1,0),
    out b2: f32[2,{c},{p},{q}] order(0,2,3,1)
) {{
  parallel i0 in 0..2 {{
    parallel i2 in 0..{p} {{
      parallel i3 in 0..{q} {{
        parallel i1 in 0..{c} {{
          let v4 = reduce dot [kh1 < 3, kw2 < 3] lanes=1 (b0[i0, i1, i2 * {s} + kh1 + -1, i3 * {s} + kw2 + -1], b1[i1, 0, kh1, kw2] where 0 <= i2 * {s} + kh1 + -1 and i2 * {s} + kh1 + -1 < {h} and 0 <= i3 * {s} + kw2 + -1 and i3 * {s} + kw2 + -1 < {w})
          store b2[i0, i1, i2, i3] = v4 / f32(4.0)
        }}
      }}
    }}
  }}
}}
"""  # noqa: E501 - one fold is one line

GREATEST = """
kernel @greatest(
    in b0: f32[3,{h},{w}], out b1: f32[3,{p},{q}], out b2: u8[3,{p},{q}]
) {{
  parallel i0 in 0..3 {{
    parallel i1 in 0..{p} {{
      parallel i2 in 0..{q} {{
        let v1 = {best}.0
        let v2 = cast<u8>({best}.1)
        store b1[i0, i1, i2] = v1
        store b2[i0, i1, i2] = v2
      }}
    }}
  }}
}}
"""


def greatest(p: int, q: int, k: int, stride: int, padding: int) -> str:
    """Max pooling by k of rows of q pooled elements."""
    h, w = ((n - 1) * stride + k - 2 * padding for n in (p, q))
    row, column = (
        f"{i} * {stride} + {axis} + {-padding}" for i, axis in (("i1", "y"), ("i2", "x"))
    )
    where = f" where 0 <= {row} and {row} < {h} and 0 <= {column} and {column} < {w}"
    best = (
        f"reduce argmax [y < {k}, x < {k}] lanes=1 "
        f"(b0[i0, {row}, {column}], cast<i32>(x + y * {k}){where * bool(padding)})"
    )
    return GREATEST.format(h=h, w=w, p=p, q=q, best=best)


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
        f"rows {m}x{n} {name}": text.format(m=m, n=n, k=5)
        for name, text in (("together", ROWS_TOGETHER), ("apart", ROWS_APART))
        for m, n in ((9, 10), (700, 3), (4, 16))
    },
    **{
        f"separate {c}x{p}x{q}/{s}": SEPARATE.format(c=c, p=p, q=q, h=p * s, w=q * s, s=s)
        for c, p, q, s in ((37, 5, 9, 1), (16, 9, 6, 2), (3, 2, 11, 3))
    },
    **{
        f"greatest {p}x{q} of {k}/{stride}+{padding}": greatest(p, q, k, stride, padding)
        for p, q, k, stride, padding in (
            (5, 37, 2, 2, 0),
            (4, 17, 3, 2, 0),
            (9, 16, 3, 2, 1),
            (3, 35, 3, 3, 0),
            (7, 21, 3, 1, 1),
            (3, 18, 4, 4, 1),
            (3, 9, 5, 5, 0),
        )
    },
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
    **{
        f"norm gradient {m}x{n}/{lanes}": NORM_GRADIENT.format(m=m, n=n, lanes=lanes)
        for m, n, lanes in ((9, 300, 64), (5, 37, 16), (3, 70, 4), (40, 6, 1))
    },
    **{
        f"softmax {m}x{n}": SOFTMAX.format(m=m, n=n)
        for m, n in ((9, 300), (40, 77), (3, 16), (9, 5))
    },
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
        for m, n in ((16, 16), (33, 47), (64, 32), (9, 100), (97, 290))
    },
    **{
        f"laid out {order} {shape}": laid_out(order, *shape)
        for order in ((2, 3, 1, 0), (1, 2, 3, 0), (0, 2, 3, 1), (3, 2, 1, 0))
        for shape in ((20, 37, 3, 3), (33, 16, 1, 7), (3, 40, 5, 6))
    },
}
