"""Text from a language model, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.frontends.decoding.decoder import Decoder
from graphc.frontends.decoding.sampling import Sampling

Array = np.ndarray[Any, Any]


def generate(
    model: Any,
    prompt: Any,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop: int | None = None,
    window: int | None = None,
    **options: Any,
) -> Any:
    """The `length` tokens that a model draws after a prompt, i32[length].

    model    a language model, or a Decoder, whose programs are then used again
    prompt   tokens [L], at least one; or several such, of one length or different ones, and then
             the result has a row for each: a list of i32[length], shorter only after a `stop`
    stop     a token that ends a row; it is not given out
    window   where the model's context is full, its last `window` tokens are taken up anew and it
             goes on; None raises ArgumentError for more than the context holds
    options  of a Decoder that is made: chunk, backend, threads

    The same seed gives the same tokens. Raises ArgumentError for an empty prompt, one that is
    longer than the context or holds no whole numbers; IndexFault for tokens that are not the
    model's.
    """
    rows, is_one = _rows(prompt)
    rule = Sampling(temperature, top_k, top_p, seed)
    decoder = model if isinstance(model, Decoder) else Decoder(model, len(rows), **options)
    found: list[list[int]] = [[] for _ in rows]
    for tokens in stream(decoder, rows, length, rule, stop=stop, window=window):
        for row, token in zip(found, tokens, strict=True):
            if token is not None:
                row.append(token)
    arrays = [np.array(row, np.int32) for row in found]
    return arrays[0] if is_one else arrays


def stream(
    decoder: Decoder,
    prompts: Sequence[Any],
    length: int,
    rule: Sampling,
    *,
    stop: int | None = None,
    window: int | None = None,
) -> Iterator[list[int | None]]:
    """Tokens as they are drawn: of each row one, or None where its prompt goes on or it is done."""
    rows = [_tokens(row) for row in prompts]
    _check(decoder, rows, length, window)
    text = _Text(rows, length, stop)
    shortest = min(map(len, rows))
    decoder.rewind()
    decoder.fill(text.tokens[:, : shortest - 1])
    for at in range(shortest - 1, max(map(len, rows)) + length - 1):
        if text.is_done(at):
            return
        if decoder.position == decoder.length:
            assert window is not None
            decoder.rewind()
            decoder.fill(text.tokens[:, at - window + 1 : at])
        yield text.take(at, decoder.choose(text.tokens[:, at], rule, number=at))


class _Text:
    """The rows' tokens: what is given of them, then what is drawn."""

    def __init__(self, rows: Sequence[Array], length: int, stop: int | None) -> None:
        self.starts = np.array([len(row) for row in rows])
        self.length, self.stop = length, stop
        self.stopped = np.zeros(len(rows), bool)
        self.tokens = np.zeros((len(rows), self.starts.max() + length), np.int32)
        for number, row in enumerate(rows):
            self.tokens[number, : len(row)] = row

    def is_done(self, at: int) -> bool:
        return self.stop is not None and bool(
            (self.stopped | (at + 1 >= self.starts + self.length)).all()
        )

    def take(self, at: int, drawn: Array) -> list[int | None]:
        """Enter what was drawn behind position `at`, where the prompt has nothing there."""
        mine = (at + 1 >= self.starts) & (at + 1 < self.starts + self.length) & ~self.stopped
        self.tokens[mine, at + 1] = drawn[mine]
        if self.stop is not None:
            self.stopped |= mine & (drawn == self.stop)
        shown = mine & ~self.stopped
        return [int(token) if is_new else None for token, is_new in zip(drawn, shown, strict=True)]


def _rows(prompt: Any) -> tuple[list[Any], bool]:
    """A list of prompts, and whether there was but one."""
    if not isinstance(prompt, Iterable):
        raise ArgumentError(f"generate: prompt is {prompt!r}; expected a list of tokens")
    given = list(prompt)
    is_one = not given or np.ndim(given[0]) == 0
    return [given] if is_one else given, is_one


def _tokens(row: Any) -> Array:
    """A prompt as i32[L]."""
    given = np.asarray(row)
    if given.size and given.dtype.kind not in "iu":
        raise ArgumentError(f"generate: a prompt of {given.dtype}; expected whole numbers, tokens")
    tokens = given.astype(np.int32)
    if (tokens != given).any():
        raise ArgumentError(f"generate: tokens of {given.min()} to {given.max()}; expected int32")
    return tokens


def _check(decoder: Decoder, rows: Sequence[Array], length: int, window: int | None) -> None:
    if not isinstance(length, int | np.integer) or length < 0:
        raise ArgumentError(f"generate: length is {length}; expected 0 or more tokens")
    if len(rows) != decoder.rows:
        raise ArgumentError(f"generate: {len(rows)} prompts for a decoder of {decoder.rows} rows")
    for row in rows:
        if row.ndim != 1:
            raise ArgumentError(f"generate: a prompt has shape {list(row.shape)}; expected [L]")
        if not len(row):
            raise ArgumentError("generate: a prompt is empty; expected at least one token")
    longest, context = max(map(len, rows)), decoder.length
    if longest > context:
        raise ArgumentError(f"generate: a prompt of {longest} tokens; the context is {context}")
    if window is not None and not 1 <= window <= context:
        raise ArgumentError(f"generate: window is {window}; expected 1 to {context}")
    if window is None and longest + length - 1 > context:
        raise ArgumentError(
            f"generate: a prompt of {longest} and {length} new tokens; the context is {context}; "
            f"window={max(1, context // 2)} goes on with the last of them"
        )
