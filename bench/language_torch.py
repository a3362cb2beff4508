"""nanoGPT's network in PyTorch, for bench/language.py --torch."""

# mypy: ignore-errors
# PyTorch is not installed where the types are checked.

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Array = np.ndarray[Any, Any]


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, bias=False)
        self.ln_2 = nn.LayerNorm(width, bias=False)
        self.attn = nn.Linear(width, 3 * width, bias=False)
        self.attn_proj = nn.Linear(width, width, bias=False)
        self.fc = nn.Linear(width, 4 * width, bias=False)
        self.proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Any) -> Any:
        width = x.shape[2]
        heads = (*x.shape[:2], self.heads, width // self.heads)
        q, k, v = (a.view(heads).transpose(1, 2) for a in self.attn(self.ln_1(x)).split(width, 2))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(x.shape))
        return x + self.proj(functional.gelu(self.fc(self.ln_2(x))))


class Model(nn.Module):
    def __init__(self, vocabulary: int, sizes: Any) -> None:
        super().__init__()
        width, depth = sizes.width, 2 * sizes.layers
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(sizes.context, width)
        self.blocks = nn.Sequential(*(Block(width, sizes.heads) for _ in range(sizes.layers)))
        self.ln_f = nn.LayerNorm(width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                std = 0.02 / math.sqrt(depth) if name.endswith("proj.weight") else 0.02
                nn.init.normal_(parameter, 0.0, std)

    def forward(self, x: Any, y: Any) -> Any:
        h = self.wte(x) + self.wpe.weight[: x.shape[1]]
        scores = self.ln_f(self.blocks(h)) @ self.wte.weight.T
        return functional.cross_entropy(scores.flatten(0, 1), y.flatten())


def by_torch(vocabulary: int, sizes: Any, seed: int, threads: int) -> Any:
    """nanoGPT's network and optimizer in PyTorch: no bias, tied embedding, scaled projections."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    model = Model(vocabulary, sizes)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=sizes.rate, betas=(0.9, 0.99))
    count = 0

    def rate(number: int) -> float:
        warmup = min(100, sizes.steps // 10)
        if number < warmup:
            return sizes.rate * (number + 1) / (warmup + 1)
        share = (number - warmup) / (sizes.steps - warmup)
        return sizes.rate * (0.1 + 0.45 * (1 + math.cos(math.pi * share)))

    def step(x: Array, y: Array) -> float:
        nonlocal count
        for group in optimizer.param_groups:
            group["lr"] = rate(count)
        count += 1
        loss = model(torch.from_numpy(x).long(), torch.from_numpy(y).long())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    @torch.no_grad()
    def loss(x: Array, y: Array) -> float:
        return float(model(torch.from_numpy(x).long(), torch.from_numpy(y).long()))

    return step, loss, lambda number, curve: None
