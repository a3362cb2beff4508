"""Drawing the next token from a model's scores, inside the compiled step.

    scores / temperature
    top_k   all but the k greatest (and their equals) are left out
    top_p   of what is left, in order of falling probability, those are kept before which less than
            p is reached (Holtzman et al., arXiv:1904.09751)
    then    the greatest of score + Gumbel noise, which draws in proportion to the probabilities

The noise depends on the seed, the number of the draw and the row alone, so that a text is the same
for any threads and chunks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from graphc.errors import ArgumentError
from graphc.frontends.tracing import Spec
from graphc.frontends.tracing import functional as F
from graphc.frontends.tracing.convert import emit

# Normal numbers of the type in which temperature and top_p reach the program.
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; a temperature of 0 (what rounds to it is), or top_k of 1, takes the
    likeliest.

    Raises ArgumentError for a temperature below 0, a top_k below 1, a top_p outside 0 < p ≤ 1, and
    for a top_k or a seed that is no whole number.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not _is_number(self.temperature) or not 0 <= self.temperature < math.inf:
            raise ArgumentError(f"temperature is {self.temperature!r}; expected 0 or more")
        if self.top_k is not None and (not _is_whole(self.top_k) or self.top_k < 1):
            raise ArgumentError(f"top_k is {self.top_k!r}; expected at least 1")
        if self.top_p is not None and (not _is_number(self.top_p) or not 0 < self.top_p <= 1):
            raise ArgumentError(f"top_p is {self.top_p!r}; expected above 0, at most 1")
        if not _is_whole(self.seed):
            raise ArgumentError(f"seed is {self.seed!r}; expected a whole number")

    @property
    def is_greedy(self) -> bool:
        return self.temperature < _SMALLEST or self.top_k == 1

    def kind(self) -> tuple[bool, int | None, bool]:
        """What a program is compiled for; the rest are inputs."""
        return (True, None, False) if self.is_greedy else (False, self.top_k, self._cuts)

    @property
    def _cuts(self) -> bool:
        return self.top_p is not None and self.top_p < 1

    def specs(self) -> tuple[Spec, ...]:
        if self.is_greedy:
            return ()
        numbers = (Spec(()), Spec(())) if self._cuts else (Spec(()),)
        return Spec((2,), "uint32"), *numbers

    def inputs(self) -> tuple[Any, ...]:
        """The seed's two halves, the temperature, and top_p where it cuts."""
        if self.is_greedy:
            return ()
        key = np.array([self.seed & 0xFFFFFFFF, (self.seed >> 32) & 0xFFFFFFFF], np.uint32)
        numbers = [self.temperature]
        if self.top_p is not None and self._cuts:
            numbers.append(self.top_p)
        return key, *np.clip(numbers, _SMALLEST, _LARGEST).astype(np.float32)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def drawn(scores: Any, rule: Sampling, number: Any, *inputs: Any) -> Any:
    """i32[rows] from scores[rows, vocabulary]; traced, with `rule.inputs()` as tensors."""
    if rule.is_greedy:
        return F.astype(F.argmax(scores, axis=-1), "int32")
    key, temperature = inputs[:2]
    # The greatest becomes 0, so that no temperature makes it infinite.
    below = scores - F.amax(scores, axis=-1, keepdims=True)
    scaled = below / F.astype(temperature, scores.dtype)
    if rule.top_k is not None and rule.top_k < scores.shape[-1]:
        scaled = greatest(scaled, rule.top_k)
    if len(inputs) > 2:
        scaled = nucleus(scaled, inputs[2])
    noise = _gumbel(emit("fold_in", key, number), scores.shape)
    return F.astype(F.argmax(scaled + F.astype(noise, scores.dtype), axis=-1), "int32")


def greatest(scores: Any, count: int) -> Any:
    """-inf for all but the `count` greatest of each row, and those equal to the last of them."""
    least = F.flip(F.sort(scores, axis=-1), -1)[:, count - 1 : count]
    return F.where(F.greater_equal(scores, least), scores, -math.inf)


def nucleus(scores: Any, share: Any) -> Any:
    """-inf for all outside the smallest set of likeliest whose probability reaches `share`."""
    ordered = F.flip(F.sort(scores, axis=-1), -1)
    chances = F.softmax(ordered, dim=-1)
    before = F.cumsum(chances, axis=-1) - chances
    kept = F.less(before, F.astype(share, scores.dtype))
    least = F.amin(F.where(kept, ordered, math.inf), axis=-1, keepdims=True)
    return F.where(F.greater_equal(scores, least), scores, -math.inf)


def _gumbel(key: Any, shape: tuple[int, ...]) -> Any:
    """-log(-log u) of uniform u; u = 0 is never drawn."""
    chance = emit("random_uniform", key, shape=shape, dtype=_FLOAT32, stream=0)
    return -F.log(-F.log(chance))


_FLOAT32 = Spec(()).dtype
