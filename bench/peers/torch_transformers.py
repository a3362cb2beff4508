"""gpt and seq2seq in torch, with the parameter names of graphc.models, without dropout."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Any) -> Any:
        count, length, width = x.shape
        heads = (count, length, self.heads, width // self.heads)
        q, k, v = (y.view(heads).transpose(1, 2) for y in self.c_attn(x).split(width, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(count, length, width))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width, bias=False)
        self.c_proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Any) -> Any:
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, bias=False)
        self.attn = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width, bias=False)
        self.mlp = FeedForward(width)

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(
        self,
        vocabulary: int = 65,
        context: int = 256,
        layers: int = 6,
        heads: int = 6,
        width: int = 384,
    ) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocabulary, width),
                "wpe": nn.Embedding(context, width),
                "h": nn.ModuleList(Block(width, heads) for _ in range(layers)),
                "ln_f": nn.LayerNorm(width, bias=False),
            }
        )
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, text: Any) -> Any:
        parts = self.transformer
        x = parts["wte"](text) + parts["wpe"].weight[: text.shape[1]]
        for block in parts["h"]:
            x = block(x)
        return self.lm_head(parts["ln_f"](x))


def next_character(model: Any, text: Any, following: Any) -> Any:
    return F.cross_entropy(model(text).flatten(0, 1), following.flatten())


class Seq2Seq(nn.Module):
    def __init__(
        self,
        source_vocabulary: int = 8000,
        target_vocabulary: int = 8000,
        length: int = 64,
        width: int = 256,
        heads: int = 4,
        feed_forward: int = 1024,
        layers: int = 3,
    ) -> None:
        super().__init__()
        self.width = width
        self.source = nn.Embedding(source_vocabulary, width)
        self.target = nn.Embedding(target_vocabulary, width)
        angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
        sinusoids = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
        self.register_buffer("sinusoids", sinusoids, persistent=False)
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        self.register_buffer("later", later, persistent=False)
        sizes, options = (width, heads, feed_forward, 0.0), {"batch_first": True}
        encoder = nn.TransformerEncoderLayer(*sizes, norm_first=True, **options)
        decoder = nn.TransformerDecoderLayer(*sizes, norm_first=True, **options)
        self.encoder = nn.TransformerEncoder(
            encoder, layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(decoder, layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, target_vocabulary, bias=False)
        self.head.weight = self.target.weight

    def forward(self, source: Any, target: Any) -> Any:
        padding = source == 0
        memory = self.encoder(self._embedded(self.source, source), src_key_padding_mask=padding)
        x = self.decoder(
            self._embedded(self.target, target),
            memory,
            tgt_mask=self.later,
            tgt_is_causal=True,
            memory_key_padding_mask=padding,
        )
        return self.head(x)

    def _embedded(self, table: Any, words: Any) -> Any:
        return table(words) * math.sqrt(self.width) + self.sinusoids


def translation_loss(model: Any, source: Any, target: Any, following: Any) -> Any:
    scores = model(source, target).flatten(0, 1)
    return F.cross_entropy(scores, following.flatten(), ignore_index=0, label_smoothing=0.1)
