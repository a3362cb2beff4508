"""Unlike shapes beside torch's: python -m bench.shapes [--torch PYTHON] [--only WORDS]

Each row is one function of one shape, forward and forward with the gradients of all its float
arguments, of whole calls on one thread. A call's time is the least of several in processor time,
which other work on the machine hardly changes; torch is eager, in a process of its own. Recurrent
rows are outputs, and training steps with plain SGD.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """`call(F, *arrays)` for either framework's functions; an argument (high, shape) holds
    integers under `high`.

    gflop   of the forward products, 1e9 operations; 0 where there are none
    """

    name: str
    call: Callable[..., Any]
    shapes: tuple[Any, ...]
    gflop: float = 0.0

    def arrays(self) -> list[Any]:
        random = np.random.default_rng(0)
        return [_array(random, shape) for shape in self.shapes]


def _array(random: np.random.Generator, shape: Any) -> Any:
    if shape and isinstance(shape[-1], tuple):
        return random.integers(0, shape[0], shape[1])
    return random.normal(size=shape).astype(np.float32)


def _product(*sizes: int) -> Row:
    *batch, m, k, n = sizes
    name = "product " + "x".join(map(str, sizes))
    gflop = 2e-9 * float(np.prod(sizes))
    return Row(name, lambda F, a, b: a @ b, ((*batch, m, k), (*batch, k, n)), gflop)


def _linear(rows: int, inputs: int, outputs: int) -> Row:
    name = f"linear {rows}x{inputs}x{outputs}"
    shapes = (rows, inputs), (outputs, inputs), (outputs,)
    return Row(name, lambda F, *xs: F.linear(*xs), shapes, 2e-9 * rows * inputs * outputs)


def _convolution(kind: str, input: Any, weight: Any, out: int = 0, **options: Any) -> Row:
    """`out` is the number of output positions of one image."""
    words = " ".join(f"{key} {value}" for key, value in options.items())
    name = f"{kind} {'x'.join(map(str, input))} by {'x'.join(map(str, weight))} {words}".strip()
    gflop = 2e-9 * input[0] * out * float(np.prod(weight))
    return Row(name, lambda F, *xs: getattr(F, kind)(*xs, **options), (input, weight), gflop)


def _layer_norm(F: Any, x: Any, w: Any, b: Any) -> Any:
    return F.layer_norm(x, w.shape, w, b)


def _embedding(F: Any, positions: Any, table: Any) -> Any:
    return F.embedding(positions, table)


def _batch_norm(F: Any, x: Any, w: Any, b: Any) -> Any:
    return F.batch_norm(x, None, None, w, b, training=True)


def _separable(F: Any, x: Any, first: Any, weight: Any, last: Any) -> Any:
    """A depthwise convolution between two of 1x1."""
    x = F.conv2d(F.conv2d(x, first), weight, padding=1, groups=weight.shape[0])
    return F.conv2d(x, last)


_SEPARABLE = (8, 64, 28, 28), (64, 64, 1, 1), (64, 1, 3, 3), (64, 64, 1, 1)

ROWS = (
    _product(37, 511, 129),
    _product(1, 512, 1000),
    _product(1000, 512, 1),
    _product(5, 4096, 4096),
    _product(257, 37, 263),
    _product(3, 100000, 3),
    _product(37, 37, 37),
    _product(12, 37, 64, 37),
    Row(
        "tied head 8x384x8000",
        lambda F, x, w: F.linear(x, w),
        ((8, 384), (8000, 384)),
        2e-9 * 8 * 384 * 8000,
    ),
    _linear(1, 784, 512),
    _linear(37, 100, 10),
    _convolution("conv2d", (1, 3, 224, 224), (32, 3, 3, 3), 112 * 112, stride=2, padding=1),
    _convolution("conv2d", (1, 3, 224, 224), (64, 3, 7, 7), 112 * 112, stride=2, padding=3),
    _convolution("conv2d", (4, 17, 29, 31), (31, 17, 5, 5), 29 * 31, padding=2),
    _convolution("conv2d", (1, 64, 7, 7), (256, 64, 1, 1), 49),
    _convolution("conv2d", (8, 64, 7, 7), (256, 64, 1, 1), 49),
    _convolution("conv2d", (1, 512, 7, 7), (512, 512, 3, 3), 49, padding=1),
    _convolution("conv2d", (4, 512, 7, 7), (512, 512, 3, 3), 49, padding=1),
    _convolution("conv2d", (2, 256, 14, 14), (256, 256, 3, 3), 196, padding=1),
    _convolution("conv2d", (16, 3, 65, 65), (8, 3, 3, 3), 63 * 63),
    _convolution("conv2d", (8, 64, 56, 56), (128, 64, 1, 1), 28 * 28, stride=2),
    _convolution("conv2d", (8, 96, 14, 14), (96, 1, 5, 5), 196, padding=2, groups=96),
    _convolution("conv2d", (8, 64, 28, 28), (128, 1, 3, 3), 784, padding=1, groups=64),
    _convolution("conv2d", (8, 64, 28, 28), (64, 1, 3, 3), 784, padding=1, groups=64),
    _convolution("conv2d", (1, 64, 56, 56), (64, 1, 3, 3), 28 * 28, padding=1, stride=2, groups=64),
    _convolution("conv2d", (8, 64, 28, 28), (64, 16, 3, 3), 784, padding=1, groups=4),
    _convolution("conv2d", (8, 64, 28, 28), (64, 64, 3, 3), 784, padding=2, dilation=2),
    _convolution("conv1d", (8, 40, 200), (64, 40, 5), 200, padding=2),
    _convolution("conv1d", (1, 1, 4000), (16, 1, 25), 4000, padding=12),
    _convolution("conv_transpose2d", (4, 64, 14, 14), (64, 32, 4, 4), 196, stride=2, padding=1),
    Row("layer norm 1000x37", _layer_norm, ((1000, 37), (37,), (37,))),
    Row("softmax 1000x11", lambda F, x: F.softmax(x, -1), ((1000, 11),)),
    Row("softmax 37x1000 over rows", lambda F, x: F.softmax(x, 0), ((37, 1000),)),
    Row("max pool 3, stride 2, 4x17x57x57", lambda F, x: F.max_pool2d(x, 3, 2), ((4, 17, 57, 57),)),
    Row("max pool 2, 8x64x56x56", lambda F, x: F.max_pool2d(x, 2), ((8, 64, 56, 56),)),
    Row("max pool 3, stride 2, padded", lambda F, x: F.max_pool2d(x, 3, 2, 1), ((4, 64, 56, 56),)),
    Row("separable 8x64x28x28, channels last", _separable, _SEPARABLE, 2e-9 * 8 * 784 * 64 * 137),
    Row("average pool 2, 4x64x56x56", lambda F, x: F.avg_pool2d(x, 2), ((4, 64, 56, 56),)),
    Row("average pool 7, 8x256x7x7", lambda F, x: F.avg_pool2d(x, 7), ((8, 256, 7, 7),)),
    Row("embedding 37 of 11x64", _embedding, ((11, (37,)), (11, 64))),
    Row("embedding 4096 of 8000x128", _embedding, ((8000, (4096,)), (8000, 128))),
    Row("batch norm 1x64x37x37", _batch_norm, ((1, 64, 37, 37), (64,), (64,))),
    Row("gelu 37x1001", lambda F, x: F.gelu(x), ((37, 1001),)),
)  # fmt: skip

# name, cell, (batch, steps, inputs, hidden)
RECURRENT = (
    ("LSTM hidden 37, 1x37x11", "LSTM", (1, 37, 11, 37)),
    ("GRU hidden 37, 1x37x11", "GRU", (1, 37, 11, 37)),
    ("LSTM hidden 37, 5x20x37", "LSTM", (5, 20, 37, 37)),
    ("LSTM hidden 128, 1x400x40", "LSTM", (1, 400, 40, 128)),
    ("GRU hidden 128, 1x400x40", "GRU", (1, 400, 40, 128)),
    ("LSTM hidden 64, 64x10x64", "LSTM", (64, 10, 64, 64)),
    ("GRU hidden 64, 64x10x64", "GRU", (64, 10, 64, 64)),
    ("LSTM hidden 256, 64x50x64", "LSTM", (64, 50, 64, 256)),
    ("GRU hidden 256, 64x50x64", "GRU", (64, 50, 64, 256)),
    ("LSTM hidden 512, 32x10x256", "LSTM", (32, 10, 256, 512)),
    ("GRU hidden 512, 32x10x256", "GRU", (32, 10, 256, 512)),
)


def least(call: Callable[[], Any], seconds: float) -> float:
    """Milliseconds of processor time of the fastest call; calls under 0.2 ms in batches."""
    call()
    start = time.process_time()
    call()
    once = max(1, int(2e-4 / max(time.process_time() - start, 1e-6)))
    best, end = float("inf"), time.process_time() + seconds
    tries = 0
    while tries < 3 or time.process_time() < end:
        start = time.process_time()
        for _ in range(once):
            call()
        best, tries = min(best, (time.process_time() - start) / once), tries + 1
    return best * 1e3


def ours(row: Row, seconds: float) -> tuple[float, float]:
    import graphc
    import graphc.functional as F

    arrays = row.arrays()
    specs = [graphc.Spec(a.shape, str(a.dtype)) for a in arrays]
    forward = graphc.compile(lambda *xs: row.call(F, *xs), *specs, threads=1)
    seed = np.ones(np.shape(forward(*arrays)), np.float32)
    floats = tuple(i for i, a in enumerate(arrays) if a.dtype == np.float32)

    def loss(*xs: Any) -> tuple[Any, Any]:
        result = row.call(F, *xs[:-1])
        return F.sum(result * xs[-1]), result

    both = graphc.compile(
        graphc.grad(loss, floats, has_aux=True), *specs, graphc.Spec(seed.shape), threads=1
    )
    return least(lambda: forward(*arrays), seconds), least(lambda: both(*arrays, seed), seconds)


def torchs(row: Row, seconds: float) -> tuple[float, float]:
    import torch
    import torch.nn.functional as F

    arrays = [torch.from_numpy(a) for a in row.arrays()]
    leaves = [a.requires_grad_() for a in arrays if a.is_floating_point()]
    seed = torch.ones_like(row.call(F, *arrays))

    def forward() -> None:
        with torch.no_grad():
            row.call(F, *arrays)

    def both() -> None:
        torch.autograd.grad(row.call(F, *arrays), leaves, seed)

    return least(forward, seconds), least(both, seconds)


def our_recurrence(cell: str, sizes: tuple[int, ...], seconds: float) -> tuple[float, float]:
    import graphc
    import graphc.functional as F
    from graphc import nn, optim

    batch, steps, inputs, hidden = sizes
    x = np.random.default_rng(0).normal(size=(batch, steps, inputs)).astype(np.float32)
    model = getattr(nn, cell)(inputs, hidden, batch_first=True)
    spec = graphc.Spec(x.shape)
    forward = graphc.compile(lambda x: model(x)[0], spec, model=model, threads=1)
    step = graphc.TrainStep(
        model, lambda model, x: F.mean(F.square(model(x)[0])), optim.SGD(0.1), spec, threads=1
    )
    return least(lambda: forward(x), seconds), least(lambda: step(x), seconds)


def torch_recurrence(cell: str, sizes: tuple[int, ...], seconds: float) -> tuple[float, float]:
    import torch

    batch, steps, inputs, hidden = sizes
    x = torch.randn(batch, steps, inputs)
    model = getattr(torch.nn, cell)(inputs, hidden, batch_first=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def forward() -> None:
        with torch.no_grad():
            model(x)

    def step() -> None:
        optimizer.zero_grad()
        model(x)[0].square().mean().backward()
        optimizer.step()

    return least(forward, seconds), least(step, seconds)


def chosen(only: str) -> Iterator[str]:
    """The names that hold one of the words."""
    names = [row.name for row in ROWS] + [name for name, *_ in RECURRENT]
    words = only.split(",")
    return (name for name in names if any(word in name for word in words))


def measure(kind: str, only: str, seconds: float) -> dict[str, tuple[float, float]]:
    rows = {row.name: row for row in ROWS}
    cells = {name: (cell, sizes) for name, cell, sizes in RECURRENT}
    one, recurrence = (ours, our_recurrence) if kind == "graphc" else (torchs, torch_recurrence)
    if kind == "torch":
        import torch

        torch.set_num_threads(1)
    found = {}
    for name in chosen(only):
        found[name] = (
            one(rows[name], seconds) if name in rows else recurrence(*cells[name], seconds)
        )
    return found


def in_process(python: str, kind: str, only: str, seconds: float) -> dict[str, list[float]]:
    """Measured in a process of its own."""
    command = [python, "-m", "bench.shapes", "--measure", kind, "--only", only]
    done = subprocess.run(
        [*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def line(name: str, mine: list[float], theirs: list[float] | None) -> Iterator[str]:
    yield name
    gflop = next((row.gflop for row in ROWS if row.name == name), 0.0)
    for position in range(2):
        yield f"{mine[position]:.4f}"
        yield "" if theirs is None else f"{theirs[position]:.4f}"
        yield "" if theirs is None else f"{theirs[position] / mine[position]:.2f}"
    yield f"{gflop / mine[0] * 1e3:.1f}" if gflop else ""
    yield f"{3 * gflop / mine[1] * 1e3:.1f}" if gflop else ""


HEAD = ("row", "forward ms", "torch", "times", "both ms", "torch", "times", "GFLOP/s", "both")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch")
    parser.add_argument("--only", default="", help="rows whose names hold one of these words")
    parser.add_argument("--seconds", type=float, default=0.1, help="spent on each figure")
    parser.add_argument("--measure", choices=("graphc", "torch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.only, options.seconds)))
        return
    settings = options.only, options.seconds
    mine = in_process(sys.executable, "graphc", *settings)
    theirs = in_process(options.torch, "torch", *settings) if options.torch else {}
    print("| " + " | ".join(HEAD) + " |")
    print("| " + " | ".join("---" for _ in HEAD) + " |")
    for name, times in mine.items():
        print("| " + " | ".join(line(name, times, theirs.get(name))) + " |")


if __name__ == "__main__":
    main()
