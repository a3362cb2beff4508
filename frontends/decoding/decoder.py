"""A model with a cache of keys and values, compiled to go on a few positions at a time.

    fill      the positions of a prompt, a chunk of them in one program, no scores given out
    scores    the same for a few positions, with their scores
    choose    one position of every row, and its successor drawn in the same program

All programs read the model's own parameters and write the same cache; a program for training beside
them shares the parameters. The position is an input, so that no program depends on it.

A model can be decoded where it has

    make_cache(rows) -> Module       holding nn.KeyValueCaches, such as Transformer layers make
    forward(tokens, cache, position) -> scores[rows, L, vocabulary] of tokens i32[rows, L] that
                                     begin at `position` i32[], with all before in the cache

or, where its forward is another function, `step(tokens, cache, position)`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.compile import CompiledFunction, compile
from graphc.frontends.decoding.sampling import Sampling, drawn
from graphc.frontends.nn.cache import positions_in
from graphc.frontends.tracing import Spec

Array = np.ndarray[Any, Any]
_SCALAR = Spec((), "int32")


class Decoder:
    """`rows` sequences that grow together, at one `position`.

    chunk   how many positions of a prompt one call takes; the last ones go one by one where a
            whole chunk does not fit the cache
    Other options are `graphc.compile`'s. Programs compile at first use, in evaluation mode.
    """

    def __init__(
        self,
        model: Any,
        rows: int = 1,
        chunk: int = 64,
        *,
        cache: Any = None,
        **options: Any,
    ) -> None:
        if rows < 1 or chunk < 1:
            raise ArgumentError(f"Decoder: {rows} rows, chunks of {chunk}; expected at least 1")
        if cache is None:
            _expect_decodable(model)
            cache = model.make_cache(rows)
        self.model, self.rows, self.cache = model, rows, cache
        self.length = positions_in(cache)
        self.chunk = min(chunk, self.length)
        self.position = 0
        self._options = options
        self._programs: dict[Hashable, CompiledFunction] = {}

    def rewind(self, position: int = 0) -> None:
        """Forget what comes from a position on."""
        if not 0 <= position <= self.position:
            raise ArgumentError(f"rewind to {position}; {self.position} positions are known")
        self.position = position

    def fill(self, tokens: Any) -> None:
        """Take up tokens[rows, L] from the position on."""
        given = self._fitted(tokens)
        while given.shape[1]:
            count = min(self.chunk, given.shape[1])
            # What is padded is written over before anything looks at it.
            size = self.chunk if self.position + self.chunk <= self.length else 1
            part = np.zeros((self.rows, size), np.int32)
            count = min(count, size)
            part[:, :count] = given[:, :count]
            self.filling(size)(part, np.int32(self.position))
            self.position += count
            given = given[:, count:]

    def scores(self, tokens: Any) -> Array:
        """Take up tokens[rows, L]; scores[rows, L, vocabulary] of what follows each."""
        given = self._fitted(tokens)
        program = self._program(
            ("scores", given.shape[1]), self._step, self._tokens(given.shape[1]), _SCALAR
        )
        found: Array = program(given, np.int32(self.position))
        self.position += given.shape[1]
        return found

    def choose(self, tokens: Any, rule: Sampling, number: int | None = None) -> Array:
        """Take up tokens[rows]; i32[rows], drawn by `rule` from the scores of what follows.

        The draw depends on (rule.seed, number, row) alone; `number` is the position by default.
        """
        given = self._fitted(np.asarray(tokens)[:, None])
        at = self.position if number is None else number
        found: Array = self.choosing(rule)(
            given, np.int32(self.position), np.int64(at), *rule.inputs()
        )
        self.position += 1
        return found

    # Programs

    def filling(self, size: int) -> CompiledFunction:
        """The program of `size` positions that only writes the cache."""

        def fill(tokens: Any, position: Any) -> None:
            self._step(tokens, position)

        return self._program(("fill", size), fill, self._tokens(size), _SCALAR)

    def choosing(self, rule: Sampling) -> CompiledFunction:
        """The program of one position that draws the next token."""
        if (known := self._programs.get(("choose", rule.kind()))) is not None:
            return known

        def choose(tokens: Any, position: Any, number: Any, *inputs: Any) -> Any:
            return drawn(self._step(tokens, position)[:, -1], rule, number, *inputs)

        specs = (self._tokens(1), _SCALAR, Spec((), "int64"), *rule.specs())
        return self._program(("choose", rule.kind()), choose, *specs)

    def _step(self, tokens: Any, position: Any) -> Any:
        call = getattr(self.model, "step", self.model)
        return call(tokens, self.cache, position)

    def _tokens(self, count: int) -> Spec:
        return Spec((self.rows, count), "int32")

    def _program(
        self, key: Hashable, function: Callable[..., Any], *specs: Any
    ) -> CompiledFunction:
        if key not in self._programs:
            training = self.model.training
            self.model.eval()
            try:
                self._programs[key] = compile(function, *specs, model=self.model, **self._options)
            finally:
                self.model.train(training)
        return self._programs[key]

    def _fitted(self, tokens: Any) -> Array:
        """Raises ShapeError, or ArgumentError for more positions than there are."""
        given = np.asarray(tokens)
        if given.ndim != 2 or given.shape[0] != self.rows or given.dtype.kind not in "iu":
            raise ShapeError(
                f"Decoder: tokens are {given.dtype}{list(given.shape)}; "
                f"expected integers of {self.rows} rows"
            )
        if self.position + given.shape[1] > self.length:
            raise ArgumentError(
                f"Decoder: {given.shape[1]} tokens after {self.position}; the model's context is "
                f"{self.length} positions"
            )
        return given.astype(np.int32)


def _expect_decodable(model: Any) -> None:
    if not hasattr(model, "make_cache"):
        raise ArgumentError(
            f"{type(model).__name__} has no make_cache(rows): a model is decoded step by step with "
            "nn.KeyValueCaches, which its forward takes as (tokens, cache, position)"
        )
