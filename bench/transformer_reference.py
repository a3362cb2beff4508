"""Writes tests/end_to_end/transformer_reference.json: losses of 20 AdamW steps in torch.

    python -m bench.transformer_reference         with a Python that has torch

The models are small gpt and seq2seq, written in torch; sizes, weights and batches are those of
tests/end_to_end/transformers_given.py. Each is run in float64 and in float32.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.end_to_end.transformers_given import (
    GPT,
    RATE,
    SEQ2SEQ,
    gpt_batches,
    seq2seq_batches,
    weights,
)

TARGET = Path(__file__).parents[1] / "tests" / "end_to_end" / "transformer_reference.json"


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_attn = nn.Linear(GPT["width"], 3 * GPT["width"], bias=False)
        self.c_proj = nn.Linear(GPT["width"], GPT["width"], bias=False)

    def forward(self, x: Any) -> Any:
        count, length, width = x.shape
        heads = (count, length, GPT["heads"], width // GPT["heads"])
        q, k, v = (y.view(heads).transpose(1, 2) for y in self.c_attn(x).split(width, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(count, length, width))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = GPT["width"]
        self.ln_1, self.ln_2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.attn = Attention()
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(width, 4 * width, bias=False),
                "c_proj": nn.Linear(4 * width, width, bias=False),
            }
        )

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class TorchGPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = GPT["width"]
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(GPT["vocabulary"], width),
                "wpe": nn.Embedding(GPT["context"], width),
                "h": nn.ModuleList(Block() for _ in range(GPT["layers"])),
                "ln_f": nn.LayerNorm(width, bias=False),
            }
        )

    def forward(self, text: Any, following: Any) -> Any:
        parts = self.transformer
        x = parts["wte"](text) + parts["wpe"].weight
        for block in parts["h"]:
            x = block(x)
        scores = parts["ln_f"](x) @ parts["wte"].weight.T
        return F.cross_entropy(scores.flatten(0, 1), following.flatten())


class TorchSeq2Seq(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = SEQ2SEQ["width"]
        self.source = nn.Embedding(SEQ2SEQ["source_vocabulary"], width)
        self.target = nn.Embedding(SEQ2SEQ["target_vocabulary"], width)
        sizes = (width, SEQ2SEQ["heads"], SEQ2SEQ["feed_forward"], 0.0)
        options: dict[str, Any] = {"batch_first": True, "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*sizes, **options), SEQ2SEQ["layers"], nn.LayerNorm(width)
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(*sizes, **options), SEQ2SEQ["layers"], nn.LayerNorm(width)
        )

    def forward(self, source: Any, target: Any, following: Any) -> Any:
        padding = source == 0
        memory = self.encoder(self._embedded(self.source, source), src_key_padding_mask=padding)
        later = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        x = self.decoder(
            self._embedded(self.target, target),
            memory,
            tgt_mask=later,
            memory_key_padding_mask=padding,
        )
        scores = x @ self.target.weight.T
        return F.cross_entropy(
            scores.flatten(0, 1), following.flatten(), ignore_index=0, label_smoothing=0.1
        )

    def _embedded(self, table: nn.Embedding, words: Any) -> Any:
        width, length = SEQ2SEQ["width"], words.shape[1]
        angles = torch.arange(length, dtype=torch.float64)[:, None] / 10000 ** (
            torch.arange(0, width, 2, dtype=torch.float64) / width
        )
        sinusoids = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
        return table(words) * math.sqrt(width) + sinusoids.to(table.weight.dtype)


def losses(model: nn.Module, batches: Any, dtype: torch.dtype) -> list[float]:
    model = model.to(dtype)
    given = weights({name: tuple(x.shape) for name, x in model.named_parameters()})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(given[name]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    found = []
    for batch in batches:
        optimizer.zero_grad()
        loss = model(*(torch.from_numpy(np.asarray(x, np.int64)) for x in batch))
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def main() -> None:
    torch.manual_seed(0)
    cases = {"gpt": (TorchGPT, gpt_batches), "seq2seq": (TorchSeq2Seq, seq2seq_batches)}
    found = {
        name: {
            str(dtype).removeprefix("torch."): losses(model(), batches(), dtype)
            for dtype in (torch.float64, torch.float32)
        }
        for name, (model, batches) in cases.items()
    }
    TARGET.write_text(json.dumps(found, indent=1) + "\n")
    for name, kinds in found.items():
        print(name, kinds["float64"][0], "to", kinds["float64"][-1])


if __name__ == "__main__":
    main()
