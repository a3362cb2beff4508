"""Whole Transformers beside finite differences in float64: masks, odd lengths, tied embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim

Array = np.ndarray[Any, Any]
WORDS, WIDTH, HEADS = 7, 8, 4


class Language(nn.Module):
    """Grouped-query attention on turned queries and keys; the head is the embedding's table."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        options: dict[str, Any] = {"batch_first": True, "dtype": "float64"}
        self.embedding = nn.Embedding(WORDS, WIDTH, dtype="float64")
        self.learned = nn.LearnedPositions(9, WIDTH, dtype="float64")
        self.turned = nn.RotaryPositions(9, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, num_kv_heads=2, **options)
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 12, 0.0, "gelu", norm_first=norm_first, **options
        )
        self.head = nn.Linear(WIDTH, WORDS, bias=False, dtype="float64")
        self.head.weight = self.embedding.weight

    def forward(self, words: Any, padding: Any) -> Any:
        x = self.learned(self.embedding(words))
        q = self.turned(x)
        x = x + self.attention(q, q, x, key_padding_mask=padding, is_causal=True)[0]
        return self.head(self.layer(x, None, padding, is_causal=True))


class Translation(nn.Module):
    """nn.Transformer on tied embeddings, both sides padded."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH, dtype="float64")
        self.positions = nn.SinusoidalPositions(9, WIDTH)
        self.body = nn.Transformer(
            WIDTH, HEADS, 1, 1, 12, 0.0, batch_first=True, norm_first=norm_first, dtype="float64"
        )
        self.head = nn.Linear(WIDTH, WORDS, bias=False, dtype="float64")
        self.head.weight = self.embedding.weight

    def forward(self, words: Any, padding: Any) -> Any:
        x = self.positions(self.embedding(words))
        y = self.body(
            x,
            x,
            src_key_padding_mask=padding,
            tgt_is_causal=True,
            tgt_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        return self.head(y)


def smoothed(model: Any, words: Any, padding: Any) -> Any:
    scores = model(words, padding).reshape((-1, WORDS))
    following = F.where(padding, -100, (words + 1) % WORDS).reshape((-1,))
    return F.cross_entropy(scores, following, label_smoothing=0.1) + 0.1 * F.mean(scores**2)


def example(length: int) -> tuple[Array, Array]:
    """Three rows; the second is padded, the third is nothing but padding."""
    words = np.random.default_rng(length).integers(0, WORDS, (3, length)).astype(np.int32)
    padding = np.zeros((3, length), bool)
    padding[1, length // 2 + 1 :] = True
    padding[2] = True
    return words, padding


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("make", [Language, Translation])
@pytest.mark.parametrize("length", [1, 5])
def test_gradients_are_finite_differences(length: int, make: Any, norm_first: bool) -> None:
    words, padding = example(length)
    model = make(norm_first)
    specs = graphc.Spec(words.shape, "int32"), graphc.Spec(padding.shape, "bool")
    step = graphc.TrainStep(model, smoothed, optim.SGD(lr=1.0), *specs)
    model.make_state(2)
    loss = step.evaluation(smoothed, *specs)
    before = model.state_dict()
    first = float(step(words, padding))
    gradients = {name: before[name] - new for name, new in model.state_dict().items()}
    model.load_state_dict(before)
    assert first == pytest.approx(float(loss(words, padding)), abs=1e-13)
    assert np.isfinite(first)
    draw = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        direction = draw.normal(size=parameter.shape)
        found = []
        for sign in (1, -1):
            parameter.set(before[name] + sign * 1e-5 * direction)
            found.append(float(loss(words, padding)))
        parameter.set(before[name])
        slope = float(np.sum(gradients[name] * direction))
        assert (found[0] - found[1]) / 2e-5 == pytest.approx(slope, rel=1e-6, abs=1e-8), name


@pytest.mark.parametrize("make", [Language, Translation])
def test_padding_changes_nothing_before_it(make: Any) -> None:
    words, padding = example(5)
    model = make(True).eval()
    model.make_state(1)
    specs = graphc.Spec(words.shape, "int32"), graphc.Spec(padding.shape, "bool")
    program = graphc.compile(model, *specs)
    other = np.where(padding, (words + 3) % WORDS, words).astype(np.int32)
    a, b = program(words, padding), program(other, padding)
    assert np.isfinite(a).all()
    np.testing.assert_array_equal(a[~padding], b[~padding])
