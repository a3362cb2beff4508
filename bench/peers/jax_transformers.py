"""gpt and seq2seq as functions in jax, over weights by torch's names, without dropout.

Tied weights are read by the embedding's name; TIED names those that are not there for jax.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

Weights = dict[str, Any]

TIED = {"gpt": ("lm_head.weight",), "seq2seq": ("head.weight",)}
LAYERS, HEADS = 6, 6
PAIRS, PAIR_HEADS, WIDTH = 3, 4, 256


def linear(w: Weights, name: str, x: Any) -> Any:
    y = x @ w[f"{name}.weight"].T
    bias = w.get(f"{name}.bias")
    return y if bias is None else y + bias


def layer_norm(w: Weights, name: str, x: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    centred = x - mean
    y = centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    y = y * w[f"{name}.weight"]
    bias = w.get(f"{name}.bias")
    return y if bias is None else y + bias


def attend(q: Any, k: Any, v: Any, heads: int, seen: Any) -> Any:
    """q[N, L, E], k and v [N, S, E]; `seen` broadcasts to [N, heads, L, S]."""
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3) for x in (q, k, v))
    scores = q @ k.swapaxes(2, 3) / math.sqrt(q.shape[-1])
    p = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
    y = (p @ v).transpose(0, 2, 1, 3)
    return y.reshape(*y.shape[:2], -1)


def cross_entropy(scores: Any, y: Any) -> Any:
    """Of each row."""
    logs = jax.nn.log_softmax(scores)
    return -jnp.take_along_axis(logs, y[:, None], axis=1)[:, 0], -logs.mean(-1)


def gpt(w: Weights, text: Any, following: Any) -> Any:
    length = text.shape[1]
    earlier = jnp.tril(jnp.ones((length, length), bool))
    x = w["transformer.wte.weight"][text] + w["transformer.wpe.weight"][:length]
    for layer in range(LAYERS):
        name = f"transformer.h.{layer}"
        qkv = linear(w, f"{name}.attn.c_attn", layer_norm(w, f"{name}.ln_1", x))
        y = attend(*jnp.split(qkv, 3, axis=-1), HEADS, earlier)
        x = x + linear(w, f"{name}.attn.c_proj", y)
        y = linear(w, f"{name}.mlp.c_fc", layer_norm(w, f"{name}.ln_2", x))
        x = x + linear(w, f"{name}.mlp.c_proj", jax.nn.gelu(y, approximate=False))
    scores = layer_norm(w, "transformer.ln_f", x) @ w["transformer.wte.weight"].T
    loss, _ = cross_entropy(scores.reshape(-1, scores.shape[-1]), following.reshape(-1))
    return loss.mean(), {}


def embedded(w: Weights, name: str, words: Any) -> Any:
    angles = jnp.arange(words.shape[1])[:, None] / 10000 ** (jnp.arange(0, WIDTH, 2) / WIDTH)
    sinusoids = jnp.stack([jnp.sin(angles), jnp.cos(angles)], 2).reshape(words.shape[1], WIDTH)
    return w[f"{name}.weight"][words] * math.sqrt(WIDTH) + sinusoids


def attention(w: Weights, name: str, x: Any, other: Any, seen: Any) -> Any:
    """x looks at other."""
    weights = jnp.split(w[f"{name}.in_proj_weight"], 3)
    biases = jnp.split(w[f"{name}.in_proj_bias"], 3)
    parts = zip((x, other, other), weights, biases, strict=True)
    y = attend(*(part @ weight.T + bias for part, weight, bias in parts), PAIR_HEADS, seen)
    return linear(w, f"{name}.out_proj", y)


def feed_forward(w: Weights, name: str, x: Any) -> Any:
    return linear(w, f"{name}.linear2", jax.nn.relu(linear(w, f"{name}.linear1", x)))


def seq2seq(w: Weights, source: Any, target: Any, following: Any) -> Any:
    words = (source != 0)[:, None, None, :]
    earlier = jnp.tril(jnp.ones((target.shape[1],) * 2, bool))
    x = embedded(w, "source", source)
    for layer in range(PAIRS):
        name = f"encoder.layers.{layer}"
        y = layer_norm(w, f"{name}.norm1", x)
        x = x + attention(w, f"{name}.self_attn", y, y, words)
        x = x + feed_forward(w, name, layer_norm(w, f"{name}.norm2", x))
    memory = layer_norm(w, "encoder.norm", x)
    x = embedded(w, "target", target)
    for layer in range(PAIRS):
        name = f"decoder.layers.{layer}"
        y = layer_norm(w, f"{name}.norm1", x)
        x = x + attention(w, f"{name}.self_attn", y, y, earlier)
        y = layer_norm(w, f"{name}.norm2", x)
        x = x + attention(w, f"{name}.multihead_attn", y, memory, words)
        x = x + feed_forward(w, name, layer_norm(w, f"{name}.norm3", x))
    scores = layer_norm(w, "decoder.norm", x) @ w["target.weight"].T
    flat = following.reshape(-1)
    loss, mean = cross_entropy(scores.reshape(-1, scores.shape[-1]), flat)
    counted = flat != 0
    return jnp.where(counted, 0.9 * loss + 0.1 * mean, 0).sum() / counted.sum(), {}


def adamw(w: Any, g: Any, slots: Any, step: Any) -> Any:
    """torch's, with its defaults."""
    m, v = slots
    w = w * (1 - 1e-3 * 1e-2)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    unbiased = jnp.sqrt(v / (1 - 0.999**step)) + 1e-8
    return w - 1e-3 / (1 - 0.9**step) * m / unbiased, (m, v)
