"""`graphc translate`: sentences by a trained model, a line each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from graphc.cli import texts
from graphc.errors import ArgumentError


def translate(options: argparse.Namespace) -> None:
    """Print a translation for every sentence."""
    from graphc.models.saved import load_run
    from graphc.models.translating import Translator

    model = load_run(options.source, options.average, expected=("seq2seq",)).model
    translator = Translator(
        model, options.beam, options.length_penalty, options.batch_size, threads=options.threads
    )
    for sentences in _sentences(options.inputs):
        for found in translator.translate(sentences):
            print(found, flush=True)


def _sentences(inputs: list[str]) -> Iterator[list[str]]:
    """Sentences that are translated together: all, but at a terminal line by line."""
    from graphc.frontends.train.data.parallel import lines_of

    if inputs:
        yield _given(inputs)
    elif sys.stdin.isatty():
        yield from ([line] for line in texts.typed())
    else:
        yield lines_of(texts.piped())


def _given(inputs: list[str]) -> list[str]:
    from graphc.frontends.train.data.parallel import read_lines

    files = [Path(text) for text in inputs if _is_file(text)]
    if not files:
        return [texts.word(text, f"sentence {n}") for n, text in enumerate(inputs, 1)]
    if len(inputs) > 1:
        raise ArgumentError(f"{files[0]} is a file; expected one file, or sentences alone")
    return read_lines(files[0])


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long for a name
        return False
