"""GPT's own attention with a prefix: what it computes, with and without a cache, and training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.models import gpt

SIZES = gpt.Sizes(vocabulary=7, context=6, layers=2, heads=2, width=8)
Array = np.ndarray[Any, Any]


def with_prefix(model: nn.Module, pattern: str) -> nn.Module:
    """The model in float64 with a prefix of drawn keys and values."""
    model = model.double()
    nn.prefix(model, pattern, length=3)
    model.make_state(seed=1)
    random = np.random.default_rng(3)
    for name, parameter in model.named_parameters():
        if "prefix" in name:
            parameter.data = random.normal(size=parameter.shape)
    return model.eval()


def tokens(rows: int = 2) -> Array:
    return np.random.default_rng(0).integers(0, 7, (rows, SIZES.context)).astype(np.int32)


def test_a_prefix_is_looked_at_as_in_multihead_attention() -> None:
    own = with_prefix(gpt.SelfAttention(SIZES), "")
    layer = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    layer = with_prefix(layer, "")
    state = own.state_dict()
    names = {"c_attn.weight": "in_proj_weight", "c_proj.weight": "out_proj.weight"}
    layer.load_state_dict({names.get(name, name): array for name, array in state.items()})
    x = np.random.default_rng(1).normal(size=(2, 6, 8))
    expected = layer(x, x, x, is_causal=True)[0]
    np.testing.assert_allclose(own(x), expected, rtol=1e-12, atol=1e-12)


def test_no_position_looks_ahead_and_a_cache_gives_the_same() -> None:
    model = with_prefix(gpt.GPT(SIZES), "transformer.h.*.attn")
    whole = model(tokens())
    changed = tokens()
    changed[:, 4:] = 0
    np.testing.assert_array_equal(model(changed)[:, :4], whole[:, :4])
    cache = model.make_cache(2)
    specs = graphc.Spec((2, 2), "int32"), graphc.Spec((), "int32")
    step = graphc.compile(lambda x, at: model(x, cache, at), *specs, model=model)
    found = [step(tokens()[:, at : at + 2], np.int32(at)) for at in (0, 2, 4)]
    np.testing.assert_allclose(np.concatenate(found, axis=1), whole, rtol=1e-10, atol=1e-12)
    nn.remove_adapters(model)
    assert not np.allclose(model(tokens()), whole)


@pytest.mark.parametrize("fuse", [True, False])
def test_a_prefix_learns_alone(fuse: bool) -> None:
    model = gpt.GPT(SIZES)
    nn.prefix(model, "*.attn", length=3)
    batch = graphc.Spec((2, 6), "int32")
    step = graphc.TrainStep(model, gpt.next_character, optim.Adam(0.05), batch, batch, fuse=fuse)
    before = model.state_dict()
    losses = [float(step(tokens(), np.roll(tokens(), -1, 1))) for _ in range(20)]
    assert losses[-1] < losses[0]
    after = model.state_dict()
    changed = {name for name in after if not np.array_equal(after[name], before[name])}
    assert changed == {f"transformer.h.{n}.attn.prefix_{part}" for n in (0, 1) for part in "kv"}
