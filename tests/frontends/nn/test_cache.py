"""Layers that go on position by position give what they give for the whole sequence."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.errors import ArgumentError, IndexFault, ShapeError

Array = np.ndarray[Any, Any]
ROWS, LENGTH, WIDTH = 2, 7, 12
POSITION = graphc.Spec((), "int32")


def drawn(*shape: int) -> Array:
    return np.random.default_rng(len(shape) + shape[-1]).normal(size=shape)


def spec(x: Array) -> graphc.Spec:
    return graphc.Spec(x.shape, str(x.dtype))


def decoded(step: Callable[..., Any], x: Array, cuts: list[int], axis: int = 1) -> Array:
    """What `step(part, position)` gives for x cut into parts along `axis`."""
    found = []
    for first, last in pairwise(cuts):
        part = np.take(x, range(first, last), axis)
        program = graphc.compile(step, spec(part), POSITION, backend="interpreter")
        found.append(program(part, np.int32(first)))
    return np.concatenate(found, axis)


def whole(function: Callable[..., Any], *arrays: Array) -> Array:
    found: Array = graphc.compile(function, *map(spec, arrays), backend="interpreter")(*arrays)
    return found


CUTS = [[0, 1, 2, 3, 4, 5, 6, 7], [0, 4, 5, 7], [0, 7]]


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("heads", [None, 1, 2])
def test_attention(cuts: list[int], heads: int | None) -> None:
    layer = nn.MultiheadAttention(WIDTH, 4, batch_first=True, dtype="float64", num_kv_heads=heads)
    x = drawn(ROWS, LENGTH, WIDTH)
    cache = layer.make_cache(ROWS, LENGTH)
    expected = whole(lambda x: layer(x, x, x, need_weights=False, is_causal=True)[0], x)

    def step(x: Any, position: Any) -> Any:
        return layer(x, x, x, need_weights=False, cache=cache, position=position)[0]

    np.testing.assert_allclose(decoded(step, x, cuts), expected, rtol=0, atol=1e-12)
    assert cache.keys.shape == (ROWS, LENGTH, 3 * (heads or 4))


def test_attention_with_masks_and_keys_of_its_own() -> None:
    options: dict[str, Any] = {"add_bias_kv": True, "add_zero_attn": True}
    layer = nn.MultiheadAttention(WIDTH, 4, dtype="float64", **options)
    x, bias = drawn(LENGTH, ROWS, WIDTH), drawn(LENGTH, LENGTH)
    padding = np.zeros((ROWS, LENGTH), bool)
    padding[1, :3] = True
    cache = layer.make_cache(ROWS, LENGTH)

    def all_at_once(x: Any) -> Any:
        later = np.triu(np.full((LENGTH, LENGTH), -np.inf), 1)
        return layer(x, x, x, F.asarray(padding), attn_mask=F.asarray(bias + later))

    def step(x: Any, position: Any) -> Any:
        own = F.dynamic_slice(F.asarray(bias), (position, 0), (x.shape[0], LENGTH))
        return layer(x, x, x, F.asarray(padding), attn_mask=own, cache=cache, position=position)

    output = decoded(lambda x, p: step(x, p)[0], x, [0, 3, 4, 7], axis=0)
    np.testing.assert_allclose(output, whole(lambda x: all_at_once(x)[0], x), rtol=0, atol=1e-12)
    weights = decoded(lambda x, p: F.transpose(step(x, p)[1], (1, 0, 2)), x, [0, 3, 7], axis=0)
    expected = whole(lambda x: F.transpose(all_at_once(x)[1], (1, 0, 2)), x)
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("cuts", CUTS[:2])
def test_encoder_stacks(norm_first: bool, cuts: list[int]) -> None:
    layer = nn.TransformerEncoderLayer(
        WIDTH, 3, 20, norm_first=norm_first, batch_first=True, dtype="float64"
    )
    stack = nn.TransformerEncoder(layer, 3).eval()
    cache = stack.make_cache(ROWS, LENGTH)
    x = drawn(ROWS, LENGTH, WIDTH)
    found = decoded(lambda x, p: stack(x, cache=cache, position=p), x, cuts)
    expected = whole(lambda x: stack(x, is_causal=True), x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
def test_decoder_stacks_whose_rows_share_their_source(batch_first: bool, norm_first: bool) -> None:
    """Two rows for each of two sources; one source is padded, and so the weights of its keys 0."""
    options: dict[str, Any] = {"norm_first": norm_first, "batch_first": batch_first}
    layer = nn.TransformerDecoderLayer(WIDTH, 3, 20, dtype="float64", **options)
    stack = nn.TransformerDecoder(layer, 2, nn.LayerNorm(WIDTH, dtype="float64")).eval()
    x, memory = drawn(4, LENGTH, WIDTH), drawn(2, 5, WIDTH)
    padding = np.array([[False] * 5, [False] * 2 + [True] * 3])
    along = 1 if batch_first else 0
    x, memory = (a if batch_first else a.swapaxes(0, 1) for a in (x, memory))
    cache = stack.make_cache(4, LENGTH, 2, 5)
    graphc.compile(lambda m: stack.remember(m, cache), spec(memory), backend="interpreter")(memory)

    def step(x: Any, position: Any) -> Any:
        hidden = F.asarray(padding)
        return stack(x, None, memory_key_padding_mask=hidden, cache=cache, position=position)

    def all_at_once(x: Any, memory: Any) -> Any:
        hidden = F.asarray(padding.repeat(2, 0))
        return stack(x, memory, tgt_is_causal=True, memory_key_padding_mask=hidden)

    found = decoded(step, x, [0, 1, 3, 4, 7], along)
    expected = whole(all_at_once, x, memory.repeat(2, 1 - along))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [nn.SinusoidalPositions, nn.LearnedPositions, nn.RotaryPositions])
def test_positions_begin_anywhere(make: Any) -> None:
    layer, x = make(LENGTH, WIDTH), drawn(ROWS, LENGTH, WIDTH).astype(np.float32)
    np.testing.assert_array_equal(decoded(layer, x, [0, 1, 4, 7]), whole(layer, x))
    np.testing.assert_array_equal(whole(lambda x: layer(x, 4), x[:, 4:]), whole(layer, x)[:, 4:])
    with pytest.raises(ShapeError, match="positions 5 to 7 of 7"):
        layer(x[:, :3], 5)


def test_rotary_positions_know_distances_alone() -> None:
    layer = nn.RotaryPositions(32, 8)
    q, k = drawn(1, 8), drawn(2, 8)[:1]

    def product(at_q: int, at_k: int) -> float:
        return float(np.sum(np.asarray(layer(q, at_q)) * np.asarray(layer(k, at_k))))

    assert product(9, 4) == pytest.approx(product(25, 20), rel=1e-12)
    assert product(9, 4) != pytest.approx(product(9, 5), rel=1e-3)


@pytest.mark.parametrize("fuse", [True, False])
def test_a_step_moves_a_row_and_no_cache(fuse: bool) -> None:
    """The cache is read by the attention alone, and nothing but its row is written."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
    stack = nn.TransformerEncoder(layer, 2).eval()
    cache = stack.make_cache(1, 512)
    program = graphc.compile(
        lambda x, p: stack(x, cache=cache, position=p), graphc.Spec((1, 1, 16)), POSITION, fuse=fuse
    )
    writes = [x for x in program.launches if x.name == "dynamic_update"]
    assert len(writes) == 4
    assert all(launch.bytes < 512 for launch in writes)
    assert not [x for x in program.launches if x.name in ("copy", "output")]
    if fuse:  # else products want the keys in another order
        kept = 512 * 16 * 4
        assert program.memory.arena_bytes < kept
        attended = [x.bytes for x in program.launches if "attention" in x.ops]
        assert [2 * kept < nbytes < 2 * kept + 2048 for nbytes in attended] == [True, True]


def test_training_and_decoding_programs_share_the_parameters() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, 3, 20, 0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 1)
    x = drawn(1, LENGTH, WIDTH).astype(np.float32)
    cache = model.make_cache(1, LENGTH)
    decode = graphc.compile(
        lambda x, p: model(x, cache=cache, position=p), spec(x), POSITION, model=model
    )
    forward = graphc.compile(lambda x: model(x, is_causal=True), spec(x), model=model)
    step = graphc.TrainStep(
        model, lambda m, x: F.mean(m(x, is_causal=True) ** 2), optim.SGD(lr=0.1), spec(x)
    )
    before = decode(x, np.int32(0))
    np.testing.assert_allclose(before, forward(x), rtol=0, atol=1e-6)
    step(x)
    after = decode(x, np.int32(0))
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, forward(x), rtol=0, atol=1e-6)
    assert not [name for name in step.state_dict() if "keys" in name]
    assert not [name for name in model.state_dict() if "keys" in name]


def test_rows_change_places() -> None:
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    cache = layer.make_cache(3, 5)
    cache.keys = drawn(3, 5, 4).astype(np.float32)
    before = cache.keys.copy()
    program = graphc.compile(cache.select, graphc.Spec((3,), "int32"))
    program(np.array([2, 2, 0], np.int32))
    np.testing.assert_array_equal(cache.keys, before[[2, 2, 0]])


def test_errors_name_what_was_given() -> None:
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    cache = layer.make_cache(2, 5)
    x = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(ShapeError, match=r"keys are f32\[2,6,4\]; expected 2 rows of at most 5"):
        layer(*3 * [np.zeros((2, 6, 4), np.float32)], cache=cache, position=0)
    with pytest.raises(ArgumentError, match="a cache needs the position"):
        layer(x, x, x, cache=cache)
    with pytest.raises(ShapeError, match="3 rows look at a cache of 2"):
        layer(np.zeros((3, 1, 4), np.float32), None, None, cache=cache)
    with pytest.raises(ArgumentError, match="4 heads are no multiple of 3 key heads"):
        nn.MultiheadAttention(8, 4, num_kv_heads=3)
    with pytest.raises(ArgumentError, match="0 rows of 5 keys"):
        nn.KeyValueCache(0, 5, 4)
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 2)
    with pytest.raises(ArgumentError, match="a cache of 1 layers; there are 2"):
        stack(x, cache=[cache], position=0)
    program = graphc.compile(
        lambda x, p: layer(x, x, x, cache=cache, position=p)[0], spec(x), POSITION
    )
    program(x, np.int32(2))
    before = cache.keys.copy()
    with pytest.raises(IndexFault, match="dynamic_update"):
        program(x + 1, np.int32(3))
    np.testing.assert_array_equal(cache.keys, before)
