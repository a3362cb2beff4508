"""A GPT in nanoGPT's layout: pre-norm decoder blocks, learned positions, tied embeddings.

Radford et al., Language models are unsupervised multitask learners, 2019; parameter names and
initial weights are those of github.com/karpathy/nanoGPT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

import graphc.functional as F
from graphc import data as datasets
from graphc import nn, optim
from graphc.dtypes import DType
from graphc.errors import ArgumentError
from graphc.frontends.nn.transformer_positions import rows_from
from graphc.frontends.tracing import Spec
from graphc.frontends.train.data.tokenizers import Tokenizer, tokenizer_from_json
from graphc.frontends.train.step import TrainStep

EPOCHS = 2
# The characters of tiny Shakespeare, in order: those of the embedded part are some of them.
CHARACTERS = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
EMBEDDED = Path(__file__).parent / "shakespeare" / "text.txt.gz"


@dataclass(frozen=True)
class Sizes:
    """What a GPT is made of; the defaults are nanoGPT's for characters."""

    vocabulary: int = len(CHARACTERS)
    context: int = 256
    layers: int = 6
    heads: int = 6
    width: int = 384
    dropout: float = 0.0
    bias: bool = False


class SelfAttention(nn.PrefixedAttention):
    """Causal attention in heads; the projections to query, key and value are one product."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.c_attn = nn.Linear(sizes.width, 3 * sizes.width, bias=sizes.bias)
        self.c_proj = nn.Linear(sizes.width, sizes.width, bias=sizes.bias)
        self.resid_dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Any, cache: nn.KeyValueCache | None = None, position: Any = None) -> Any:
        q, k, v = F.split(self.c_attn(x), 3, axis=-1)
        seen = None
        if cache is not None:
            k, v = cache.append(k, v, position)
            seen = cache.seen(position, x.shape[1])
        k, v, prefix = self.with_prefix(k, v)
        if prefix:
            earlier = np.tri(x.shape[1], dtype=bool) if seen is None else seen
            seen = self.with_prefix_seen(earlier, prefix)
        q, k, v = (self._heads(part) for part in (q, k, v))
        dropout = self.sizes.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, seen, dropout, is_causal=seen is None)
        return self.resid_dropout(self.c_proj(y.transpose((0, 2, 1, 3)).reshape(x.shape)))

    def key_type(self) -> tuple[int, DType]:
        return self.sizes.width, self.c_attn.get_parameter("weight").dtype

    def _heads(self, x: Any) -> Any:
        """[N, T, width] as [N, heads, T, width / heads]."""
        return x.reshape((*x.shape[:2], self.sizes.heads, -1)).transpose((0, 2, 1, 3))

    def make_cache(self, rows: int) -> nn.KeyValueCache:
        width, dtype = self.key_type()
        return nn.KeyValueCache(rows, self.sizes.context, width, dtype=dtype)


class FeedForward(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.c_fc = nn.Linear(sizes.width, 4 * sizes.width, bias=sizes.bias)
        self.c_proj = nn.Linear(4 * sizes.width, sizes.width, bias=sizes.bias)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Any) -> Any:
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x))))


class Block(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(sizes.width, bias=sizes.bias)
        self.attn = SelfAttention(sizes)
        self.ln_2 = nn.LayerNorm(sizes.width, bias=sizes.bias)
        self.mlp = FeedForward(sizes)

    def forward(self, x: Any, cache: nn.KeyValueCache | None = None, position: Any = None) -> Any:
        x = x + self.attn(self.ln_1(x), cache, position)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Characters i32[N, T] -> scores[N, T, vocabulary] of the character that follows each.

    With a cache the characters are those from `position`, i32[], on, and what came before is in
    the cache: `graphc.decoding.generate` calls it so.
    """

    def __init__(self, sizes: Sizes | None = None, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.sizes, self.tokenizer = sizes, tokenizer
        if tokenizer is not None and len(tokenizer) > sizes.vocabulary:
            raise ArgumentError(f"GPT: {len(tokenizer)} codes for {sizes.vocabulary} embeddings")
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(sizes.vocabulary, sizes.width),
                "wpe": nn.Embedding(sizes.context, sizes.width),
                "drop": nn.Dropout(sizes.dropout),
                "h": nn.ModuleList(Block(sizes) for _ in range(sizes.layers)),
                "ln_f": nn.LayerNorm(sizes.width, bias=sizes.bias),
            }
        )
        self.lm_head = nn.Linear(sizes.width, sizes.vocabulary, bias=False)
        self._start_weights()
        self.lm_head.weight = self.transformer["wte"].weight

    def _start_weights(self) -> None:
        """Normal(0.02), what is added to the residual less by the number of additions."""
        for name, module in self.named_modules():
            if not isinstance(module, nn.Linear | nn.Embedding):
                continue
            small = name.endswith("c_proj")
            deviation = 0.02 / math.sqrt(2 * self.sizes.layers) if small else 0.02
            drawn = nn.init.normal(0.0, deviation)
            module.weight = nn.Parameter(module.weight.shape, drawn)
            if self.sizes.bias and isinstance(module, nn.Linear) and name != "lm_head":
                module.bias = nn.Parameter(module.bias.shape, nn.init.zeros)

    def forward(self, characters: Any, cache: Any = None, position: Any = 0) -> Any:
        parts = self.transformer
        embedded = parts["wte"](characters)
        positions = rows_from(parts["wpe"].weight, position, characters.shape[1])
        x = parts["drop"](embedded + positions)
        caches = [None] * self.sizes.layers if cache is None else cache.children()
        for block, kept in zip(parts["h"].children(), caches, strict=True):
            x = block(x, kept, position)
        return self.lm_head(parts["ln_f"](x))

    def make_cache(self, rows: int) -> nn.ModuleList:
        """Keys and values of every layer, for `rows` texts of up to `context` characters."""
        blocks = self.transformer["h"].children()
        return nn.ModuleList(block.attn.make_cache(rows) for block in blocks)

    def run_description(self) -> dict[str, Any]:
        """What `restore` makes an equal model of: sizes, and the tokenizer where it has one."""
        tokenizer = None if self.tokenizer is None else self.tokenizer.to_json()
        return {"model": "gpt", "sizes": asdict(self.sizes), "tokenizer": tokenizer}


def restore(description: Mapping[str, Any]) -> GPT:
    """The model, with first weights, of a `run_description`."""
    sizes = Sizes(**{field.name: description["sizes"][field.name] for field in fields(Sizes)})
    found = description["tokenizer"]
    return GPT(sizes, None if found is None else tokenizer_from_json(found))


def next_character(model: Any, text: Any, following: Any) -> Any:
    """Mean cross entropy of every position's next character."""
    scores = model(text)
    return F.cross_entropy(scores.reshape((-1, scores.shape[-1])), following.reshape((-1,)))


def optimizer(steps: int, rate: float = 1e-3) -> optim.AdamW:
    """nanoGPT's AdamW: matrices decay, the rate rises for 100 steps and falls along a cosine."""
    warmup = min(100, steps // 10)
    schedule = optim.schedules.cosine(rate, steps, warmup_steps=warmup, minimum=rate / 10)
    matrices = (lambda name, parameter: len(parameter.shape) > 1, {"weight_decay": 0.1})
    return optim.AdamW(
        lr=schedule, betas=(0.9, 0.99), weight_decay=0.0, groups=[matrices], clip_norm=1.0
    )


def make(
    data: str | None = None,
    batch_size: int = 8,
    epochs: int = EPOCHS,
    sizes: Sizes | None = None,
    like: Mapping[str, Any] | None = None,
) -> tuple[TrainStep, Any, Any]:
    """(step, training loader, test loader) on the embedded Shakespeare, or on a text at `data`.

    `like` is the `run_description` of a GPT whose sizes and tokenizer this one takes over.
    """
    taught = None if like is None else restore(like)
    sizes = sizes or (Sizes() if taught is None else taught.sizes)
    tokenizer = None if taught is None else taught.tokenizer
    known = CHARACTERS if data is None and tokenizer is None else None
    # Windows of a long text overlap, so that they begin anywhere; those of the test do not.
    stride = sizes.context if data is None else sizes.context // 4 + 1
    train, test = (
        datasets.text(data or EMBEDDED, sizes.context, part, 0.9, step, known, tokenizer)
        for part, step in ((True, stride), (False, sizes.context))
    )
    sizes = replace(sizes, vocabulary=len(train.tokenizer))
    batch = Spec((batch_size, sizes.context), "i32")
    steps = max(1, epochs * (len(train) // batch_size))
    step = TrainStep(GPT(sizes, train.tokenizer), next_character, optimizer(steps), batch, batch)
    loaders = datasets.Loader(train, batch_size), datasets.Loader(test, batch_size, shuffle=False)
    return step, *loaders
