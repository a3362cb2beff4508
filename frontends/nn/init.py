"""Initializers: the first elements of a parameter, with torch.nn.init's names and defaults.

    nn.Parameter((64, 32), nn.init.kaiming_uniform(a=5**0.5))

An initializer is a value; it draws from a generator that is keyed with the seed and the
parameter's full name, so that elements depend on no order and no process.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from graphc.errors import ArgumentError, ShapeError

Elements = np.ndarray[Any, Any]
Shape = Sequence[int]


def generator(seed: int, name: str) -> np.random.Generator:
    """Philox, keyed with a hash of the seed and the full name."""
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


class Initializer(ABC):
    """Draws the elements of a parameter of a given shape, in float64."""

    @abstractmethod
    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements: ...


@dataclass(frozen=True)
class constant(Initializer):
    """Every element `val`."""

    val: float

    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        return np.full(shape, self.val)


@dataclass(frozen=True)
class zeros(Initializer):
    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        return np.zeros(shape)


@dataclass(frozen=True)
class ones(Initializer):
    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        return np.ones(shape)


@dataclass(frozen=True)
class eye(Initializer):
    """1 on the diagonal of a matrix."""

    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        if len(shape) != 2:
            raise ShapeError(f"init.eye: shape is {tuple(shape)}; expected two dimensions")
        return np.eye(shape[0], shape[1])


@dataclass(frozen=True)
class uniform(Initializer):
    """Uniform in a ≤ x < b."""

    a: float = 0.0
    b: float = 1.0

    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        return self.a + (self.b - self.a) * random.random(tuple(shape))


@dataclass(frozen=True)
class normal(Initializer):
    mean: float = 0.0
    std: float = 1.0

    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        return self.mean + self.std * random.standard_normal(tuple(shape))


@dataclass(frozen=True)
class trunc_normal(Initializer):
    """Normal, drawn again until it lies in a … b. Raises ArgumentError where that is rare."""

    mean: float = 0.0
    std: float = 1.0
    a: float = -2.0
    b: float = 2.0

    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        if self._share() < 0.01:
            raise ArgumentError(
                f"init.trunc_normal: less than 1 % of a normal({self.mean}, {self.std}) "
                f"lies in {self.a} … {self.b}"
            )
        draw = normal(self.mean, self.std)
        elements = np.atleast_1d(draw(shape, random))
        outside = (elements < self.a) | (elements > self.b)
        while outside.any():
            elements[outside] = draw((int(outside.sum()),), random)
            outside = (elements < self.a) | (elements > self.b)
        return elements.reshape(shape)

    def _share(self) -> float:
        """The part of the distribution that lies in a … b."""
        low, high = (
            math.erf((bound - self.mean) / (self.std * math.sqrt(2))) for bound in (self.a, self.b)
        )
        return (high - low) / 2


def fans(shape: Shape) -> tuple[int, int]:
    """(inputs, outputs) that one element of a weight [O, I, …] is part of, as torch counts."""
    if len(shape) < 2:
        raise ShapeError(
            f"init: shape {tuple(shape)} has no inputs and outputs; expected [O, I, …]"
        )
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights grow to keep the variance through an activation."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    gains |= dict.fromkeys(("linear", "conv1d", "conv2d", "sigmoid"), 1.0)
    if nonlinearity not in gains:
        known = ", ".join([*gains, "leaky_relu"])
        raise ArgumentError(f"init: no gain for {nonlinearity!r}; expected one of {known}")
    return gains[nonlinearity]


@dataclass(frozen=True)
class xavier_uniform(Initializer):
    """Glorot & Bengio 2010: uniform within gain sqrt(6 / (inputs + outputs))."""

    gain: float = 1.0

    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        bound = self.gain * math.sqrt(6 / sum(fans(shape)))
        return uniform(-bound, bound)(shape, random)


@dataclass(frozen=True)
class xavier_normal(Initializer):
    """Glorot & Bengio 2010: normal of deviation gain sqrt(2 / (inputs + outputs))."""

    gain: float = 1.0

    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        return normal(0.0, self.gain * math.sqrt(2 / sum(fans(shape))))(shape, random)


Mode = Literal["fan_in", "fan_out"]


def _kaiming_deviation(shape: Shape, a: float, mode: Mode, nonlinearity: str) -> float:
    """He et al. 2015: gain / sqrt(inputs), or of outputs."""
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"init: mode is {mode!r}; expected 'fan_in' or 'fan_out'")
    fan = fans(shape)[0 if mode == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


@dataclass(frozen=True)
class kaiming_uniform(Initializer):
    """He et al. 2015: uniform within sqrt(3) times the deviation."""

    a: float = 0.0
    mode: Mode = "fan_in"
    nonlinearity: str = "leaky_relu"

    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        bound = math.sqrt(3) * _kaiming_deviation(shape, self.a, self.mode, self.nonlinearity)
        return uniform(-bound, bound)(shape, random)


@dataclass(frozen=True)
class kaiming_normal(Initializer):
    a: float = 0.0
    mode: Mode = "fan_in"
    nonlinearity: str = "leaky_relu"

    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        deviation = _kaiming_deviation(shape, self.a, self.mode, self.nonlinearity)
        return normal(0.0, deviation)(shape, random)


@dataclass(frozen=True)
class orthogonal(Initializer):
    """Saxe et al. 2014: rows or columns of [O, the rest] are orthonormal, times gain."""

    gain: float = 1.0

    def __call__(self, shape: Shape, random: np.random.Generator) -> Elements:
        fans(shape)
        rows, columns = shape[0], math.prod(shape[1:])
        drawn = random.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(drawn)
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # makes the distribution uniform
        return self.gain * (q if rows >= columns else q.T).reshape(shape)
