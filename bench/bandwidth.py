"""Rows that memory bounds, beside torch's: python -m bench.bandwidth [--torch PYTHON]

Times are the least of whole calls, in milliseconds: the processor's time on one thread (other work
on the machine hardly changes it), the clock's on more. GB/s count only the bytes that must move:
each operand of the call read once, each result written once. `backward` rows give the gradients of
the sum of all results, so that theirs is no operand. The bandwidth is the best of read, copy and
triad over arrays that no cache holds, on as many threads, in the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from bench.measuring import in_process, least

ROWS, COLUMNS, CLASSES, ELEMENTS = 8192, 1024, 8000, 1 << 24


class Row(NamedTuple):
    """The shapes of a row's operands, and how many of them are differentiated by."""

    shapes: tuple[tuple[int, ...], ...]
    by: int
    result_bytes: int


NORM = ((ROWS, COLUMNS), (COLUMNS,), (COLUMNS,))
WIDE = ((ELEMENTS // COLUMNS, COLUMNS), (COLUMNS,), (COLUMNS,), (COLUMNS,))
LOGITS = ((4096, CLASSES), (4096,))
TABLE = {
    "layer norm": Row(NORM, 3, 4 * ROWS * COLUMNS),
    "gelu(x*a+b)*c": Row(WIDE, 4, 4 * ELEMENTS),
    "softmax cross entropy": Row(LOGITS, 1, 4),
}


def arrays_of(name: str) -> list[Any]:
    import numpy as np

    random = np.random.default_rng(0)
    arrays = [random.standard_normal(shape, np.float32) for shape in TABLE[name].shapes]
    if name == "softmax cross entropy":
        arrays[1] = random.integers(0, CLASSES, 4096, np.int32)
    return arrays


def bytes_of(name: str, backward: bool) -> int:
    """What must move: operands, and the result or the gradients."""
    sizes = [array.nbytes for array in arrays_of(name)]
    row = TABLE[name]
    return sum(sizes) + (sum(sizes[: row.by]) if backward else row.result_bytes)


def ours(name: str, threads: int) -> dict[str, float]:
    import graphc
    import graphc.functional as F

    functions: dict[str, Callable[..., Any]] = {
        "layer norm": lambda x, w, b: F.layer_norm(x, (COLUMNS,), w, b),
        "gelu(x*a+b)*c": lambda x, a, b, c: F.gelu(x * a + b) * c,
        "softmax cross entropy": lambda x, y: F.cross_entropy(x, y),
    }
    function, arrays = functions[name], arrays_of(name)
    specs = [graphc.Spec(array.shape, str(array.dtype)) for array in arrays]

    def total(*operands: Any) -> Any:
        return F.sum(function(*operands))

    by = tuple(range(TABLE[name].by))
    forward = graphc.compile(function, *specs, threads=threads)
    backward = graphc.compile(graphc.grad(total, argnums=by), *specs, threads=threads)
    return {
        "forward": least(lambda: forward(*arrays), threads),
        "backward": least(lambda: backward(*arrays), threads),
        "bandwidth": bandwidth(threads),
    }


def bandwidth(threads: int) -> float:
    """GB/s of arrays that no cache holds."""
    import numpy as np

    import graphc

    size = 1 << 20  # enough to be shared out: else one thread alone is measured
    program = graphc.compile(lambda x: x + x, graphc.Spec((size,)), threads=threads)
    roof = program.profile(np.zeros(size, np.float32), seconds=0.3).roof
    return float(roof.levels[-1].gigabytes)


def torchs(name: str, threads: int) -> dict[str, float]:
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    functions: dict[str, Callable[..., Any]] = {
        "layer norm": lambda x, w, b: F.layer_norm(x, (COLUMNS,), w, b),
        "gelu(x*a+b)*c": lambda x, a, b, c: F.gelu(x * a + b) * c,
        "softmax cross entropy": lambda x, y: F.cross_entropy(x, y.long()),
    }
    function, tensors = functions[name], [torch.from_numpy(array) for array in arrays_of(name)]
    for tensor in tensors[: TABLE[name].by]:
        tensor.requires_grad_()

    def forward() -> None:
        with torch.no_grad():
            function(*tensors)

    def backward() -> None:
        for tensor in tensors:
            tensor.grad = None
        function(*tensors).sum().backward()

    return {"forward": least(forward, threads), "backward": least(backward, threads)}


def report(name: str, threads: int, torch: str | None) -> None:
    mine = in_process("bench.bandwidth", sys.executable, name, threads, "graphc")
    other = in_process("bench.bandwidth", torch, name, threads, "torch") if torch else {}
    print(f"{name}, {threads} threads, memory {mine['bandwidth']:.1f} GB/s")
    for kind in ("forward", "backward"):
        rate = bytes_of(name, kind == "backward") / mine[kind] / 1e6
        share = 100 * rate / mine["bandwidth"]
        beside = f", torch {other[kind]:.2f} ms" if other else ""
        print(f"  {kind:8} {mine[kind]:7.3f} ms, {rate:5.1f} GB/s, {share:3.0f} %{beside}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch", help="a Python that has torch")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--row", action="append", choices=tuple(TABLE))
    parser.add_argument("--measure", choices=("graphc", "torch"))
    options = parser.parse_args()
    rows = options.row or list(TABLE)
    if options.measure:
        measure = ours if options.measure == "graphc" else torchs
        print(json.dumps(measure(rows[0], options.threads[0])))
        return
    for name in rows:
        for threads in options.threads:
            report(name, threads, options.torch)


if __name__ == "__main__":
    main()
