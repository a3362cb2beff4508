"""The models of bench/models.py as functions in jax, over weights by torch's names.

MODELS[twin] is (loss(weights, *batch) -> (scalar, new statistics), optimizer).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bench.peers.jax_transformers import TIED, adamw, gpt, seq2seq

__all__ = ["MODELS", "SLOTS", "TIED"]

Weights = dict[str, Any]


def linear(w: Weights, name: str, x: Any) -> Any:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def conv(w: Weights, name: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
    y = jax.lax.conv_general_dilated(
        x, w[f"{name}.weight"], (stride, stride), [(padding, padding)] * 2
    )
    bias = w.get(f"{name}.bias")
    return y if bias is None else y + bias[:, None, None]


def pool(x: Any) -> Any:
    window = (1, 1, 2, 2)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


def cross_entropy(scores: Any, y: Any) -> Any:
    picked = jnp.take_along_axis(jax.nn.log_softmax(scores), y[:, None], axis=1)
    return -jnp.mean(picked)


def cifar_cnn(w: Weights, x: Any, y: Any) -> Any:
    x = pool(jax.nn.relu(conv(w, "conv1", x)))
    x = pool(jax.nn.relu(conv(w, "conv2", x)))
    x = jax.nn.relu(conv(w, "conv3", x)).reshape(x.shape[0], -1)
    x = jax.nn.relu(linear(w, "hidden", x))
    return cross_entropy(linear(w, "head", x), y), {}


def mlp(depth: int) -> Callable[..., Any]:
    def loss(w: Weights, x: Any, y: Any) -> Any:
        for layer in range(depth):
            x = linear(w, str(2 * layer), x)
            x = x if layer == depth - 1 else jax.nn.relu(x)
        return cross_entropy(x, y), {}

    return loss


def batch_norm(w: Weights, name: str, x: Any, statistics: Weights) -> Any:
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    count = x.size // x.shape[1]
    news = {"running_mean": mean, "running_var": var * count / (count - 1)}
    for kind, new in news.items():
        statistics[f"{name}.{kind}"] = 0.9 * w[f"{name}.{kind}"] + 0.1 * new
    scale = w[f"{name}.weight"] / jnp.sqrt(var + 1e-5)
    shift = w[f"{name}.bias"] - mean * scale
    return x * scale[:, None, None] + shift[:, None, None]


def resnet20(w: Weights, x: Any, y: Any) -> Any:
    statistics: Weights = {}
    x = jax.nn.relu(batch_norm(w, "norm", conv(w, "conv", x, padding=1), statistics))
    for block in range(9):
        name, stride = f"blocks.{block}", 2 if block in (3, 6) else 1
        a = conv(w, f"{name}.conv1", x, stride, 1)
        a = jax.nn.relu(batch_norm(w, f"{name}.norm1", a, statistics))
        a = batch_norm(w, f"{name}.norm2", conv(w, f"{name}.conv2", a, padding=1), statistics)
        if stride == 2:
            x = conv(w, f"{name}.shortcut.0", x, stride)
            x = batch_norm(w, f"{name}.shortcut.1", x, statistics)
        x = jax.nn.relu(a + x)
    return cross_entropy(linear(w, "head", x.mean((2, 3))), y), statistics


def lstm_step(w: Any, b: Any, state: Any, gates: Any) -> Any:
    h, c = state
    i, f, g, o = jnp.split(gates + h @ w.T + b, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def gru_step(w: Any, b: Any, state: Any, gates: Any) -> Any:
    (h,) = state
    xr, xz, xn = jnp.split(gates, 3, axis=1)
    hr, hz, hn = jnp.split(h @ w.T + b, 3, axis=1)
    z = jax.nn.sigmoid(xz + hz)
    h = (1 - z) * jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn) + z * h
    return (h,), h


def tagger(step: Callable[..., Any], states: int) -> Callable[..., Any]:
    def loss(w: Weights, x: Any, y: Any) -> Any:
        gates = x @ w["rnn.weight_ih_l0"].T + w["rnn.bias_ih_l0"]
        start = (jnp.zeros((x.shape[1], 128)),) * states
        hidden, bias = w["rnn.weight_hh_l0"], w["rnn.bias_hh_l0"]
        _, outputs = jax.lax.scan(lambda s, g: step(hidden, bias, s, g), start, gates)
        scores = linear(w, "head", outputs)
        return cross_entropy(scores.reshape(-1, scores.shape[-1]), y.reshape(-1)), {}

    return loss


def adam(w: Any, g: Any, slots: Any, step: Any) -> Any:
    m, v = slots
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    unbiased = jnp.sqrt(v / (1 - 0.999**step)) + 1e-8
    return w - 1e-3 / (1 - 0.9**step) * m / unbiased, (m, v)


def momentum(w: Any, g: Any, slots: Any, step: Any) -> Any:
    (m,) = slots
    m = 0.9 * m + g + 1e-4 * w
    return w - 0.1 * m, (m,)


MODELS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "cifar-cnn": (cifar_cnn, adam),
    "mlp": (mlp(3), adam),
    "mlp-small": (mlp(2), adam),
    "resnet20": (resnet20, momentum),
    "lstm": (tagger(lstm_step, 2), adam),
    "gru": (tagger(gru_step, 1), adam),
    "gpt": (gpt, adamw),
    "seq2seq": (seq2seq, adamw),
}
SLOTS = {adam: 2, adamw: 2, momentum: 1}
