"""`graphc generate`: text that a trained language model goes on with, printed as it comes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from graphc.cli import texts
from graphc.errors import ArgumentError, DataError

# The ready models that are language models.
MODELS = ("gpt",)


def generate(options: argparse.Namespace) -> None:
    """Print the prompt and what follows."""
    from graphc.frontends.decoding.sampling import Sampling
    from graphc.models.saved import load_run

    if options.model not in MODELS:
        raise ArgumentError(f"{options.model} is no language model; there are {', '.join(MODELS)}")
    if options.source is None:
        raise ArgumentError(
            f"nothing is trained to generate with: `graphc train {options.model}` trains a model "
            f"into runs/{options.model}-1, which `--from runs/{options.model}-1` takes"
        )
    rule = Sampling(options.temperature, options.top_k, options.top_p, options.seed)
    model = load_run(options.source, options.average, expected=(options.model,)).model
    prompt = None if options.prompt is None else _prompt(options.prompt)
    for part in _parts(model, prompt, options.length, rule, options.threads):
        print(part, end="", flush=True)
    print()


def _prompt(given: str) -> str:
    return texts.piped() if given == texts.PIPED else texts.word(given, "--prompt")


def _parts(
    model: Any, prompt: str | None, length: int, rule: Any, threads: int | None
) -> Iterator[str]:
    """The prompt, then pieces of text as they are drawn."""
    from graphc.frontends.decoding.decoder import Decoder
    from graphc.frontends.decoding.generate import stream

    tokenizer = model.tokenizer
    if tokenizer is None:
        raise ArgumentError("the run's model has no tokenizer, so that its tokens are no text")
    codes = _line_start(tokenizer) if prompt is None else tokenizer.encode(prompt)
    decoder = Decoder(model, threads=threads)
    drawn = stream(decoder, [codes], length, rule, window=max(1, decoder.length // 2))
    yield from pieces(tokenizer, codes, (token for (token,) in drawn if token is not None))


def pieces(tokenizer: Any, codes: Any, drawn: Iterable[int]) -> Iterator[str]:
    """The text of `codes`, then what every code that is drawn adds to it.

    A character of several codes comes whole, with the last of them: up to there a tokenizer gives
    U+FFFD for it.
    """
    known = list(codes)
    shown = tokenizer.decode(known)
    yield shown
    for code in drawn:
        known.append(code)
        text = tokenizer.decode(known).rstrip("\ufffd")
        if text.startswith(shown):
            yield text[len(shown) :]
            shown = text


def _line_start(tokenizer: Any) -> Any:
    """The codes of a new line; the first code of a tokenizer that has no lines."""
    try:
        return tokenizer.encode("\n")
    except DataError:
        return np.array([tokenizer.specials], np.int32)
