"""Attention beside torch's and beside the unfused one: python -m bench.attention [--torch PYTHON]

Rows are BxHxSxE, forward, and forward with backward. The times are the least of several, of whole
calls, in milliseconds: the processor's time (which other work on the machine hardly changes) on
one thread, the clock's on more. FLOP are nominal: 2 products forward, 5 backward, half where
causal. The peak is that of fused multiply-adds, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from bench.measuring import in_process, least

SHAPES = ("4x8x512x64", "4x8x512x64 causal", "8x6x256x64 causal", "4x8x2048x64")


def sizes(row: str) -> tuple[tuple[int, ...], bool]:
    shape, _, causal = row.partition(" ")
    return tuple(map(int, shape.split("x"))), bool(causal)


def ours(row: str, threads: int, fuse: bool) -> dict[str, float]:
    import numpy as np

    import graphc
    import graphc.functional as F

    shape, causal = sizes(row)
    arrays = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    specs = [graphc.Spec(shape)] * 4

    def attend(q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def loss(q: Any, k: Any, v: Any, weights: Any) -> Any:
        return F.sum(attend(q, k, v) * weights)

    forward = graphc.compile(attend, *specs[:3], threads=threads, fuse=fuse)
    both = graphc.compile(graphc.grad(loss, argnums=(0, 1, 2)), *specs, threads=threads, fuse=fuse)
    return {
        "forward": least(lambda: forward(*arrays[:3]), threads),
        "both": least(lambda: both(*arrays), threads),
        "arena": both.memory.arena_bytes / 1e6,
    }


def torchs(row: str, threads: int) -> dict[str, float]:
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    shape, causal = sizes(row)
    q, k, v = (torch.randn(shape, requires_grad=True) for _ in range(3))
    weights = torch.randn(shape)

    def forward() -> None:
        with torch.no_grad():
            F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def both() -> None:
        q.grad = k.grad = v.grad = None
        F.scaled_dot_product_attention(q, k, v, is_causal=causal).backward(weights)

    return {"forward": least(forward, threads), "both": least(both, threads)}


def peak(threads: int) -> float:
    """GFLOP/s of fused multiply-adds in float32."""
    import numpy as np

    import graphc

    program = graphc.compile(lambda x: x + x, graphc.Spec((16,)), threads=threads)
    return float(program.profile(np.zeros(16, np.float32), seconds=0.3).roof.gflops["float32"])


def report(row: str, threads: int, torch: str | None) -> None:
    kinds = {"graphc": sys.executable, "unfused": sys.executable}
    kinds |= {"torch": torch} if torch else {}
    found = {
        kind: in_process("bench.attention", python, row, threads, kind)
        for kind, python in kinds.items()
    }
    (b, h, s, e), causal = sizes(row)
    gflop = 4 * b * h * s * s * e / (2 if causal else 1) / 1e9
    print(f"{row}, {threads} threads, peak {peak(threads):.0f} GFLOP/s")
    for kind, values in found.items():
        rates = [gflop * n / values[name] * 1e3 for n, name in ((1, "forward"), (3.5, "both"))]
        arena = f", arena {values['arena']:.0f} MB" if "arena" in values else ""
        print(
            f"  {kind:8} forward {values['forward']:8.2f} ms ({rates[0]:5.1f} GFLOP/s), "
            f"with backward {values['both']:8.2f} ms ({rates[1]:5.1f}){arena}"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch", help="a Python that has torch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--row", action="append", choices=SHAPES)
    parser.add_argument("--measure", choices=("graphc", "unfused", "torch"))
    options = parser.parse_args()
    rows = options.row or SHAPES
    if options.measure == "torch":
        print(json.dumps(torchs(rows[0], options.threads)))
    elif options.measure:
        print(json.dumps(ours(rows[0], options.threads, options.measure == "graphc")))
    else:
        for row in rows:
            report(row, options.threads, options.torch)


if __name__ == "__main__":
    main()
