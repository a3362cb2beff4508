"""Learning rates that change with the step, computed inside the graph: nothing is recompiled.

`step` is the number of steps done before, 0 at the first. Rates are f64 scalars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Self

from graphc.dtypes import float64
from graphc.errors import ArgumentError
from graphc.ir import Value
from graphc.ops import Builder

_POSITIVE = frozenset({"step_size", "total_steps", "decay_steps"})
_NOT_NEGATIVE = frozenset({"lr", "minimum"})


@dataclass(frozen=True)
class Schedule:
    """A learning rate as a function of the step."""

    lr: float

    def __post_init__(self) -> None:
        """Raises ArgumentError for an option outside its meaning."""
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name != "milestones" and not isinstance(value, Real):
                raise ArgumentError(f"{self._name()}: {option.name} is {value!r}, no number")
            if option.name in _POSITIVE and not value > 0:
                raise ArgumentError(f"{self._name()}: {option.name} is {value}, expected above 0")
            if option.name in _NOT_NEGATIVE and not 0 <= value < math.inf:
                raise ArgumentError(f"{self._name()}: {option.name} is {value}, expected 0 or more")

    def scaled(self, factor: float) -> Self:
        """This schedule with all rates times a factor."""
        rates = ("lr", "minimum")
        known = {field.name for field in fields(self)}
        return replace(self, **{n: getattr(self, n) * factor for n in rates if n in known})

    def _name(self) -> str:
        return f"schedules.{type(self).__name__}"

    def rate(self, b: Builder, step: Value) -> Value:
        return b.constant(self.lr, float64)


class constant(Schedule):
    """The same rate at every step."""


def _number(b: Builder, value: float) -> Value:
    return b.constant(value, float64)


@dataclass(frozen=True)
class step(Schedule):
    """lr * gamma ** floor(step / step_size)."""

    step_size: int
    gamma: float = 0.1

    def rate(self, b: Builder, step: Value) -> Value:
        count = b.op("floor", b.div(step, _number(b, self.step_size)))
        return b.mul(_number(b, self.lr), b.op("pow", _number(b, self.gamma), count))


@dataclass(frozen=True)
class multi_step(Schedule):
    """lr * gamma for every milestone that has been reached."""

    milestones: Sequence[int]
    gamma: float = 0.1

    def rate(self, b: Builder, step: Value) -> Value:
        rate = _number(b, self.lr)
        for milestone in self.milestones:
            reached = b.compare("ge", step, _number(b, milestone))
            rate = b.where(reached, b.mul(rate, _number(b, self.gamma)), rate)
        return rate


@dataclass(frozen=True)
class exponential(Schedule):
    """lr * gamma ** step."""

    gamma: float

    def rate(self, b: Builder, step: Value) -> Value:
        return b.mul(_number(b, self.lr), b.op("pow", _number(b, self.gamma), step))


@dataclass(frozen=True)
class polynomial(Schedule):
    """lr * (1 - step / total_steps) ** power, 0 after the end."""

    total_steps: int
    power: float = 1.0

    def rate(self, b: Builder, step: Value) -> Value:
        share = b.op("clamp", b.div(step, _number(b, self.total_steps)), min=0.0, max=1.0)
        left = b.sub(_number(b, 1.0), share)
        return b.mul(_number(b, self.lr), b.op("pow", left, _number(b, self.power)))


@dataclass(frozen=True)
class inverse_time_decay(Schedule):
    """A rise over `warmup_steps`, then lr / (1 + steps since / decay_steps)."""

    decay_steps: float
    warmup_steps: int = 0

    def rate(self, b: Builder, step: Value) -> Value:
        since = b.shift(step, -float(self.warmup_steps)) if self.warmup_steps else step
        slower = b.add(_number(b, 1.0), b.div(since, _number(b, self.decay_steps)))
        return _warmed(b, step, self.lr, self.warmup_steps, b.div(_number(b, self.lr), slower))


@dataclass(frozen=True)
class inverse_square_root(Schedule):
    """A rise over `warmup_steps`, then lr · sqrt(warmup_steps / (step + 1)).

    Vaswani et al., 2017, section 5.3, whose rate is this one's with
    lr = (width · warmup_steps) ** -0.5.
    """

    warmup_steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_steps < 1:
            raise ArgumentError(
                f"{self._name()}: warmup_steps is {self.warmup_steps}, expected above 0"
            )

    def rate(self, b: Builder, step: Value) -> Value:
        share = b.div(_number(b, self.warmup_steps), b.shift(step, 1.0))
        falling = b.mul(_number(b, self.lr), b.op("sqrt", share))
        return _warmed(b, step, self.lr, self.warmup_steps, falling)


def _warmed(b: Builder, step: Value, lr: float, warmup_steps: int, rate: Value) -> Value:
    """`rate`, but lr · (step + 1) / warmup_steps in the first steps."""
    if not warmup_steps:
        return rate
    rising = b.div(b.add(step, _number(b, 1.0)), _number(b, warmup_steps))
    warm = b.compare("lt", step, _number(b, warmup_steps))
    return b.where(warm, b.mul(_number(b, lr), rising), rate)


@dataclass(frozen=True)
class cosine(Schedule):
    """A rise over `warmup_steps`, then half a cosine from lr to `minimum` at `total_steps`."""

    total_steps: int
    warmup_steps: int = 0
    minimum: float = 0.0

    def rate(self, b: Builder, step: Value) -> Value:
        span = max(1, self.total_steps - self.warmup_steps)
        done = b.div(b.sub(step, _number(b, self.warmup_steps)), _number(b, span))
        angle = b.mul(b.op("clamp", done, min=0.0, max=1.0), _number(b, math.pi))
        half = b.mul(_number(b, 0.5), b.add(_number(b, 1.0), b.op("cos", angle)))
        rate = b.add(_number(b, self.minimum), b.mul(_number(b, self.lr - self.minimum), half))
        return _warmed(b, step, self.lr, self.warmup_steps, rate)


@dataclass(frozen=True)
class one_cycle(Schedule):
    """torch's OneCycleLR with cosine ends; `lr` is its max_lr.

    From lr / div_factor up to lr at step pct_start * total_steps - 1, then down to
    lr / div_factor / final_div_factor at step total_steps - 1, where it stays.
    """

    total_steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def rate(self, b: Builder, step: Value) -> Value:
        first = self.lr / self.div_factor
        top, end = self.pct_start * self.total_steps - 1.0, self.total_steps - 1.0
        rising = _cosine_between(b, step, (0.0, first), (top, self.lr))
        falling = _cosine_between(b, step, (top, self.lr), (end, first / self.final_div_factor))
        return b.where(b.compare("le", step, _number(b, top)), rising, falling)


def _cosine_between(
    b: Builder, step: Value, start: tuple[float, float], end: tuple[float, float]
) -> Value:
    """Half a cosine through two points (step, rate), flat outside them."""
    share = b.scale(b.shift(step, -start[0]), 1.0 / (end[0] - start[0] or 1.0))
    angle = b.scale(b.op("clamp", share, min=0.0, max=1.0), math.pi)
    half = b.scale(b.shift(b.op("cos", angle), 1.0), (start[1] - end[1]) / 2.0)
    return b.shift(half, end[1])
