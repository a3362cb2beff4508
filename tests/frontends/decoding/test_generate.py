"""Text by a cached model: the bits of the whole forward, and draws that a seed decides."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import decoding, nn
from graphc.errors import ArgumentError, IndexFault, ShapeError
from graphc.frontends.decoding.sampling import greatest, nucleus
from graphc.models import gpt

Array = np.ndarray[Any, Any]
CONTEXT = 16
SIZES = gpt.Sizes(vocabulary=11, context=CONTEXT, layers=2, heads=2, width=16, dropout=0.5)


def model(dtype: str = "float32", sharp: float = 20.0) -> gpt.GPT:
    """A GPT whose scores are far apart."""
    made = gpt.GPT(SIZES)
    made.make_state(3)
    head = made.transformer["wte"].weight
    head.set(head.data * np.float32(sharp))
    return made.to(dtype)


def text(rows: int = 1) -> Array:
    return np.random.default_rng(0).integers(0, 11, (rows, CONTEXT)).astype(np.int32)


@pytest.fixture(scope="module")
def decoder() -> decoding.Decoder:
    return decoding.Decoder(model(), chunk=5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scores_are_those_of_the_whole_forward(dtype: str) -> None:
    made, given = model(dtype), text(2)
    expected = graphc.compile(made.eval(), graphc.Spec(given.shape, "int32"))(given)
    made.train()
    found = decoding.Decoder(made, rows=2)
    cuts = [0, 5, 6, 7, 12, 16]
    parts = [found.scores(given[:, a:b]) for a, b in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts, 1), expected)
    assert made.training
    found.rewind()
    found.fill(given[:, :15])
    np.testing.assert_array_equal(found.scores(given[:, 15:])[:, 0], expected[:, 15])


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_a_prompt_is_taken_up_in_chunks(chunk: int) -> None:
    made, given = model(), text()
    expected = decoding.Decoder(made, chunk=5).scores(given)[:, -1]
    found = decoding.Decoder(made, chunk=chunk)
    found.fill(given[:, :8])
    found.fill(given[:, 8:15])
    np.testing.assert_array_equal(found.scores(given[:, 15:])[:, 0], expected)


def test_the_likeliest_tokens_are_those_of_the_whole_forward(decoder: decoding.Decoder) -> None:
    prompt = text()[0, :4]
    found = decoding.generate(decoder, prompt, 12, temperature=0)
    tokens = list(prompt)
    for token in found:
        decoder.rewind()
        scores = decoder.scores(np.array([tokens], np.int32))[0, -1]
        assert token == scores.argmax()
        tokens.append(int(token))
    assert list(decoding.generate(decoder, prompt, 12, top_k=1, seed=9)) == list(found)
    assert list(decoding.generate(decoder, prompt, 12, temperature=1e-5, seed=9)) == list(found)


def test_a_seed_decides_the_text(decoder: decoding.Decoder) -> None:
    prompt = text()[0, :3]
    first = decoding.generate(decoder, prompt, 10, temperature=3.0, seed=1)
    again = decoding.generate(model(), list(prompt), 10, temperature=3.0, seed=1, threads=2)
    other = decoding.generate(decoder, prompt, 10, temperature=3.0, seed=2)
    assert first.dtype == np.int32 and first.shape == (10,)
    assert list(first) == list(again) != list(other)


def test_rows_of_different_lengths_go_on_together() -> None:
    made, given = model(), text(3)
    prompts = [given[0, :2], given[1, :7], given[2, :4]]
    found = decoding.generate(made, prompts, 6, temperature=0)
    for prompt, tokens in zip(prompts, found, strict=True):
        alone = decoding.generate(made, prompt, 6, temperature=0)
        assert list(tokens) == list(alone)


def test_a_stop_ends_its_row(decoder: decoding.Decoder) -> None:
    prompt = text()[0, :3]
    plain = decoding.generate(decoder, prompt, 10, temperature=3.0, seed=1)
    stop = int(plain[4])
    found = decoding.generate(decoder, prompt, 10, temperature=3.0, seed=1, stop=stop)
    assert list(found) == list(plain[: list(plain).index(stop)])


def test_a_window_goes_on_past_the_context(decoder: decoding.Decoder) -> None:
    prompt = text()[0, :6]
    with pytest.raises(ArgumentError, match="6 and 30 new tokens; the context is 16; window=8"):
        decoding.generate(decoder, prompt, 30)
    found = decoding.generate(decoder, prompt, 30, temperature=0, window=8)
    assert len(found) == 30
    assert list(found[:11]) == list(decoding.generate(decoder, prompt, 11, temperature=0))
    tokens = np.concatenate([prompt, found])
    # The 17th token is the first after a window of the last 8.
    assert tokens[17] == decoding.generate(decoder, tokens[9:17], 1, temperature=0)[0]


# Draws


def filtered(function: Any, scores: Array) -> Array:
    found: Array = graphc.compile(function, graphc.Spec(scores.shape), backend="interpreter")(
        scores
    )
    return found


def test_top_k_leaves_the_greatest() -> None:
    scores = np.array([[1, 5, 2, 4], [3, 3, 0, 1]], np.float32)
    found = filtered(lambda x: greatest(x, 2), scores)
    assert (found > -np.inf).tolist() == [[False, True, False, True], [True, True, False, False]]
    assert np.array_equal(found[found > -np.inf], scores[found > -np.inf])


def test_top_p_leaves_the_likeliest_that_reach_it() -> None:
    scores = np.log(np.array([[0.1, 0.5, 0.15, 0.25]], np.float32))
    for share, kept in ((0.4, [1]), (0.5, [1]), (0.6, [1, 3]), (0.8, [1, 2, 3]), (1.0, range(4))):
        found = filtered(lambda x, share=share: nucleus(x, F.asarray(np.float32(share))), scores)
        assert np.flatnonzero(found[0] > -np.inf).tolist() == list(kept), share


class Known(nn.Module):
    """A model whose scores for what follows token t are the logarithms of table[t]."""

    def __init__(self, table: Array) -> None:
        super().__init__()
        self.table = nn.Parameter(np.log(table).astype(np.float32))

    def forward(self, tokens: Any, cache: Any, position: Any) -> Any:
        return F.embedding(tokens, self.table)

    def make_cache(self, rows: int) -> nn.Module:
        return nn.KeyValueCache(rows, 4, 1)


def test_draws_follow_the_probabilities() -> None:
    chances = np.array([[0.1, 0.2, 0.3, 0.4]] * 4)
    rows = 20_000
    found = decoding.Decoder(Known(chances), rows=rows)

    def shares(rule: decoding.Sampling) -> Array:
        found.rewind()
        drawn = found.choose(np.zeros(rows, np.int32), rule)
        return np.bincount(drawn, minlength=4) / rows

    def expect(rule: decoding.Sampling, meant: Any) -> None:
        np.testing.assert_allclose(shares(rule), meant, atol=4 * np.sqrt(0.25 / rows))

    expect(decoding.Sampling(), chances[0])
    squared = chances[0] ** 2
    expect(decoding.Sampling(temperature=0.5, seed=3), squared / squared.sum())
    expect(decoding.Sampling(top_k=2), np.array([0, 0, 3, 4]) / 7)
    expect(decoding.Sampling(top_p=0.8), np.array([0, 2, 3, 4]) / 9)
    expect(decoding.Sampling(top_k=3, top_p=0.5), np.array([0, 0, 3, 4]) / 7)


@pytest.mark.parametrize(
    ("options", "likely"),
    [
        ({"temperature": 1e-300}, {3}),
        ({"temperature": 1e-37}, {3}),
        ({"temperature": 1e300}, {0, 1, 2, 3}),
        ({"top_p": 1e-300}, {3}),
        ({"top_p": 1.0, "top_k": 99}, {0, 1, 2, 3}),
        ({"top_k": 2, "temperature": 1e300}, {2, 3}),
    ],
)
def test_options_at_their_ends_draw_what_they_mean(
    options: dict[str, Any], likely: set[int]
) -> None:
    chances = np.exp([[0.0, 30, 40, 50]] * 4) if "temperature" in options else [[1, 2, 3, 4]] * 4
    decoder = decoding.Decoder(Known(np.array(chances)), rows=200, backend="interpreter")
    found = decoder.choose(np.zeros(200, np.int32), decoding.Sampling(**options))
    assert set(found.tolist()) == likely


# Errors


def test_errors_name_what_was_given(decoder: decoding.Decoder) -> None:
    for options, match in (
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": "hot"}, "temperature is 'hot'; expected 0 or more"),
        ({"top_p": "all"}, "top_p is 'all'; expected above 0"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": 2.5}, "top_k is 2.5"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"seed": 0.5}, "seed is 0.5; expected a whole number"),
        ({"window": 99}, "window is 99; expected 1 to 16"),
    ):
        with pytest.raises(ArgumentError, match=match):
            decoding.generate(decoder, [1], 3, **options)
    with pytest.raises(ArgumentError, match="a prompt of 17 tokens; the context is 16"):
        decoding.generate(decoder, range(17), 1)
    with pytest.raises(ArgumentError, match="a prompt is empty"):
        decoding.generate(decoder, [], 3)
    for prompt, match in (
        ("ab", "a prompt of <U1; expected whole numbers"),
        ([1.5], "a prompt of float64; expected whole numbers"),
        ([2**40], "tokens of 1099511627776 to"),
        ([[[1]]], r"a prompt has shape \[1, 1\]"),
        (3, "prompt is 3; expected a list"),
    ):
        with pytest.raises(ArgumentError, match=match):
            decoding.generate(decoder, prompt, 3)
    with pytest.raises(ArgumentError, match=r"length is 3\.5"):
        decoding.generate(decoder, [1], 3.5)  # type: ignore[arg-type]  # the mistake in question
    with pytest.raises(ArgumentError, match="2 prompts for a decoder of 1 rows"):
        decoding.generate(decoder, [[1], [2]], 3)
    with pytest.raises(IndexFault, match="0 to 10"):
        decoding.generate(decoder, [11], 3)
    decoder.rewind()
    with pytest.raises(ShapeError, match=r"tokens are int64\[2, 1\]; expected integers of 1 rows"):
        decoder.scores(np.zeros((2, 1), np.int64))
    with pytest.raises(ArgumentError, match="17 tokens after 0; the model's context is 16"):
        decoder.fill(np.zeros((1, 17), np.int32))
    with pytest.raises(ArgumentError, match="Linear has no make_cache"):
        decoding.generate(nn.Linear(2, 2), [1], 1)


def test_a_step_costs_the_same_at_any_position(decoder: decoding.Decoder) -> None:
    """One program for all positions; what it moves is far less than the whole forward."""
    rule = decoding.Sampling()
    program = decoder.choosing(rule)
    decoder.rewind()
    for token in text()[0]:
        decoder.choose(np.array([token]), rule)
    assert decoder.choosing(rule) is program
    whole = graphc.compile(decoder.model.eval(), graphc.Spec((1, CONTEXT), "int32"))
    flops = [sum(x.flops for x in made.launches) for made in (program, whole)]
    assert flops[0] < flops[1] / 8
