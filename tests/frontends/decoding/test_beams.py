"""Beam search beside all sequences, and beside the whole forward of a Transformer."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import decoding, nn
from graphc.decoding import BeamDecoder, Hypothesis, beam_search, length_penalty
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.decoding.beams import _Search
from graphc.models import seq2seq

Array = np.ndarray[Any, Any]
START, END = 1, 2


class Table(nn.Module):
    """Scores of what follows token t in a sentence whose source begins with s: table[s, t].

    The cache holds all tokens so far, so that rows which change places are found out.
    """

    def __init__(self, table: Array) -> None:
        super().__init__()
        self.table = nn.Parameter(table.astype(np.float64))

    def make_cache(self, rows: int, sentences: int, source: int) -> nn.Module:
        cache = nn.KeyValueCache(rows, 4, 1, dtype="float64")
        cache.register_buffer("first", np.zeros(sentences, np.int32))
        return cache

    def start(self, source: Any, cache: Any) -> None:
        cache.first = source[:, 0]

    def step(self, tokens: Any, cache: Any, position: Any) -> Any:
        kept = F.astype(F.expand_dims(tokens, -1), "float64")
        history, _ = cache.append(kept, kept, position)
        rows, sentences = tokens.shape[0], cache.first.shape[0]
        first = F.repeat(cache.first, rows // sentences)
        own = F.asarray(self.table)[first, tokens[:, 0]]
        # A sum over what came before makes the order of the rows matter.
        seen = F.astype(cache.seen(position, 1), "float64")
        past = F.sum(history[:, :, 0] * seen, axis=1)
        return F.expand_dims(own + F.sin(F.expand_dims(past, -1) * np.arange(own.shape[1])), 1)


def log_probability(table: Array, first: int, tokens: list[int]) -> float:
    """Of the tokens after START, by hand."""
    total, past, last = 0.0, 0.0, START
    for token in tokens:
        past += last
        scores = table[first, last] + np.sin(past * np.arange(table.shape[2]))
        total += scores[token] - np.logaddexp.reduce(scores)
        last = token
    return total


def every_sequence(table: Array, first: int, most: int, alpha: float) -> list[Hypothesis]:
    """All finished sequences of up to `most` tokens, the end included, the best first."""
    others = [t for t in range(table.shape[2]) if t != END]
    found = []
    for length in range(most):
        for tokens in itertools.product(others, repeat=length):
            total = log_probability(table, first, [*tokens, END])
            score = total / float(length_penalty(length + 1, alpha))
            found.append(Hypothesis(tokens, total, score))
    return sorted(found, key=lambda item: -item.score)


def table(seed: int = 0, words: int = 4) -> Array:
    return np.random.default_rng(seed).normal(size=(3, words, words))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wide_beam_finds_the_best_of_all_sequences(seed: int, alpha: float) -> None:
    made = table(seed)
    source = np.array([[0, 5], [2, 5]])
    found = beam_search(Table(made), source, start=START, end=END, width=40, length=4, alpha=alpha)
    for (first, _), hypotheses in zip(source, found, strict=True):
        for got, best in zip(hypotheses, every_sequence(made, first, 4, alpha)[:10], strict=False):
            assert got.tokens == best.tokens and got.is_finished
            assert got.log_probability == pytest.approx(best.log_probability, abs=1e-12)
            assert got.score == pytest.approx(best.score, abs=1e-12)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_narrow_beam_tells_the_truth_about_what_it_finds(width: int) -> None:
    made = table(3, words=6)
    source = np.array([[0], [1], [2]])
    found = beam_search(Table(made), source, start=START, end=END, width=width, length=4)
    for first, hypotheses in enumerate(found):
        assert 1 <= len(hypotheses) <= width
        assert [x.score for x in hypotheses] == sorted((x.score for x in hypotheses), reverse=True)
        for item in hypotheses:
            tokens = [*item.tokens, END] if item.is_finished else list(item.tokens)
            assert item.log_probability == pytest.approx(
                log_probability(made, first, tokens), abs=1e-12
            )


def test_a_width_of_one_takes_the_likeliest() -> None:
    made = table(4, words=6)
    made[:, :, END] -= 9
    ((found,),) = beam_search(Table(made), [[0]], start=START, end=END, width=1, length=4)
    tokens: list[int] = []
    for _ in range(4):
        choices = [log_probability(made, 0, [*tokens, t]) for t in range(6)]
        tokens.append(int(np.argmax(choices)))
    assert list(found.tokens) == tokens and not found.is_finished


@pytest.mark.parametrize("is_adapted", [False, True])
def test_hypotheses_of_a_transformer_have_the_probabilities_of_its_whole_forward(
    is_adapted: bool,
) -> None:
    """Also with a prefix in every attention, the decoder's caches of beams included."""
    sizes = seq2seq.Sizes(17, 13, length=8, width=12, heads=3, feed_forward=16, layers=2)
    model = seq2seq.Seq2Seq(sizes)
    if is_adapted:
        nn.prefix(model, "*attn", length=2)
        nn.lora(model, "*.linear1", "*.[qv]_proj", rank=1)
    model.make_state(5)
    if is_adapted:
        random = np.random.default_rng(0)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.set(random.normal(size=parameter.shape))
    model.target.weight.set(12 * model.target.weight.data)
    model.to("float64")
    source = np.array([[3, 7, 9, 2, 0, 0], [4, 2, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.int32)
    decoder = BeamDecoder(model, 3, 6, width=3)
    found = beam_search(decoder, source, start=START, end=END, length=8)
    whole = graphc.compile(
        lambda s, t: F.log_softmax(model(s, t), dim=-1),
        graphc.Spec((1, 6), "int32"),
        graphc.Spec((1, 8), "int32"),
        model=model.eval(),
    )
    for row, hypotheses in zip(source, found, strict=True):
        assert len({item.tokens for item in hypotheses}) == len(hypotheses)
        for item in hypotheses:
            target = [*item.tokens, END] if item.is_finished else [*item.tokens]
            given = [START, *target[:-1]] + [0] * (8 - len(target))
            scores = whole(row[None], np.array([given], np.int32))[0]
            total = sum(scores[n, token] for n, token in enumerate(target))
            assert item.log_probability == pytest.approx(total, abs=1e-12)
    again = beam_search(decoder, source[::-1], start=START, end=END, length=8)
    assert again == found[::-1]


def test_what_the_source_gives_is_computed_once() -> None:
    """A step neither encodes nor projects the source, and keeps it once a sentence."""
    sizes = seq2seq.Sizes(9, 9, length=40, width=16, heads=2, feed_forward=32, layers=1)
    decoder = BeamDecoder(seq2seq.Seq2Seq(sizes), sentences=2, source=40, width=4)
    (layer,) = decoder.cache.layers.children()
    assert layer.memory.keys.shape == (2, 40, 16) and layer.own.keys.shape == (8, 40, 16)
    step = decoder.advancing(reorders=False)
    encode = decoder.starting()
    flops = [sum(launch.flops for launch in made.launches) for made in (step, encode)]
    assert flops[0] < flops[1] / 2
    written = {name for name, _ in step.graph.updates}
    assert not [name for name in written if "memory" in name]
    # Beams that change places move no keys: only attention reads all of them.
    moves = decoder.advancing(reorders=True)
    kept = layer.own.keys.nbytes
    big = [x.ops for x in moves.launches if x.bytes >= kept]
    assert big == [("attention",)], big


@pytest.mark.parametrize("words", [5, 32, 100])
def test_candidates_are_the_greatest_of_all(words: int) -> None:
    draw = np.random.default_rng(words)
    scores = draw.normal(size=(6, words)).astype(np.float32)
    search = _Search(2, 3, END, 4, 0.6)
    search.totals = draw.normal(size=(2, 3))
    totals, beams, tokens = search._candidates(scores)
    grown = search.totals[:, :, None] + scores.reshape(2, 3, words)
    np.testing.assert_array_equal(totals, -np.sort(-grown.reshape(2, -1), axis=1)[:, :6])
    np.testing.assert_array_equal(grown[np.arange(2)[:, None], beams, tokens], totals)


def test_the_length_penalty_is_the_published_one() -> None:
    assert length_penalty(1, 0.7) == pytest.approx(1.0)
    assert length_penalty(13, 0.5) == pytest.approx(np.sqrt(3))
    assert length_penalty(99, 0) == 1


def test_errors_name_what_was_given() -> None:
    model = Table(table())
    options: dict[str, Any] = {"start": START, "end": END}
    with pytest.raises(ShapeError, match=r"source has shape \[3\]; expected \[N, S\]"):
        beam_search(model, [1, 2, 3], **options)
    with pytest.raises(ArgumentError, match="0 beams for 1 sentences of 2 tokens"):
        beam_search(model, [[1, 2]], width=0, **options)
    with pytest.raises(ArgumentError, match="length 9, alpha"):
        beam_search(model, [[1, 2]], length=9, **options)
    with pytest.raises(ArgumentError, match="alpha nan"):
        beam_search(model, [[1, 2]], alpha=float("nan"), **options)
    with pytest.raises(ShapeError, match=r"source is int64\[1, 3\]; expected integers \[1, 2\]"):
        beam_search(BeamDecoder(model, 1, 2), [[1, 2, 3]], **options)
    with pytest.raises(ArgumentError, match="Linear has no make_cache: beam search calls"):
        decoding.BeamDecoder(nn.Linear(2, 2), 1, 1)
