"""The cifar-cnn training step at batch 64 beside PyTorch eager channels_last, 1 and 2 threads.

    python bench/cifar_step.py --torch PYTHON    (PYTHON: an interpreter that has torch)

One process per framework and thread count, rounds interleaved; medians of the steps' times in ms.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

GRAPHC = """
import sys, time
import numpy as np
from graphc.models.cifar_cnn import make
step, loader, _ = make()
step.threads = int(sys.argv[1])
rng = np.random.default_rng(0)
x = rng.standard_normal((64, 3, 32, 32)).astype(np.float32)
y = rng.integers(0, 10, 64).astype(np.int32)
run = lambda: step(x, y)
"""
TORCH = """
import sys, time
import torch
import torch.nn.functional as F
from torch import nn
torch.set_num_threads(int(sys.argv[1]))
model = nn.Sequential(
    nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(),
    nn.MaxPool2d(2), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 64),
    nn.ReLU(), nn.Linear(64, 10)).to(memory_format=torch.channels_last)
optimizer = torch.optim.Adam(model.parameters())
x = torch.randn(64, 3, 32, 32).contiguous(memory_format=torch.channels_last)
y = torch.randint(0, 10, (64,))
def run():
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
"""
TIMING = """
for _ in range(10): run()
times = []
for _ in range(50):
    start = time.perf_counter()
    run()
    times.append(1e3 * (time.perf_counter() - start))
print(sorted(times)[25])
"""


def measure(python: str, program: str, threads: int) -> float:
    command = [python, "-c", program + TIMING, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for threads in (1, 2):
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(measure(sys.executable, GRAPHC, threads))
            theirs.append(measure(options.torch, TORCH, threads))
        mine, peer = statistics.median(ours), statistics.median(theirs)
        print(f"{threads} threads: graphc {mine:.2f} ms, torch {peer:.2f} ms, {peer / mine:.2f}x")


if __name__ == "__main__":
    main()
