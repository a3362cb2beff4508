"""The network of `graphc train cifar-cnn` in PyTorch, on the same digits: test accuracy by seed.

    python bench/digits_torch.py [SEED ...]

Same split, weights by the same rule, Adam with its defaults, batch 64, 20 epochs.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import nn

from graphc import data

EPOCHS, BATCH = 20, 64


def network() -> nn.Sequential:
    """x[N, 3, 32, 32] -> scores[N, 10], with Glorot-uniform weights and zero biases."""
    model = nn.Sequential(
        *(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
    return model


def accuracy(seed: int) -> float:
    """Share of the test images that are told right after training."""
    torch.manual_seed(seed)
    x, y = map(torch.tensor, data.digits().arrays)
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for batch in order[: len(x) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch].long()).backward()
            optimizer.step()
    x, y = map(torch.tensor, data.digits(train=False).arrays)
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


if __name__ == "__main__":
    for seed in map(int, sys.argv[1:] or ["0", "1", "2"]):
        print(f"seed {seed}  test accuracy {accuracy(seed):.4f}", flush=True)
