"""A state tensor as a model holds it: a parameter, a buffer or the key of random numbers.

A holder knows its shape and element type from the start; its elements are made later, in a
`Slot` that every program of the model shares.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from graphc.dtypes import DType, uint32
from graphc.errors import ArgumentError
from graphc.ir import TensorType
from graphc.runtime.state import Slot, State
from graphc.runtime.turns import MAKING


class Holder(ABC):
    """One state tensor; its identity is the object, its name depends on the model around it."""

    shape: tuple[int, ...]
    dtype: DType

    def __init__(self, shape: Iterable[int], dtype: DType) -> None:
        self.shape = _extents(tuple(shape))
        self.dtype = dtype
        self.slot: Slot | None = None

    @property
    def type(self) -> TensorType:
        return TensorType(self.shape, self.dtype)

    @abstractmethod
    def initial(self, seed: int, name: str) -> np.ndarray[Any, Any]:
        """The first elements; they depend on the seed and the full name only."""

    def make(self, seed: int, name: str) -> Slot:
        """The slot, made now where there is none yet."""
        with MAKING:
            if self.slot is None:
                self.slot = Slot(np.asarray(self.initial(seed, name), self.dtype.numpy))
            return self.slot


def _extents(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Raises ArgumentError for extents that are not whole or below 0."""
    if any(not hasattr(extent, "__index__") or extent < 0 for extent in shape):
        raise ArgumentError(f"a parameter of shape {shape}; expected whole numbers from 0")
    return tuple(operator.index(extent) for extent in shape)


class RandomKey(Holder):
    """The key of a model's random numbers, u32[2]: the low and the high half of the seed."""

    def __init__(self) -> None:
        super().__init__((2,), uint32)

    def initial(self, seed: int, name: str) -> np.ndarray[Any, Any]:
        return np.array([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF], np.uint32)


class Stateful(Protocol):
    """What a model offers to the tracer."""

    random_key: RandomKey

    def named_holders(self) -> Iterable[tuple[str, Holder]]:
        """(full name, holder) of every parameter and buffer; a shared one comes once."""
        ...

    def root(self) -> Stateful:
        """The model that this one is a part of, or itself."""
        ...

    def source_folder(self) -> str:
        """The folder of the file that defines the model."""
        ...


def make_state(holders: Mapping[str, Holder], seed: int = 0) -> State:
    """The State of the holders; those without elements get theirs from (seed, name)."""
    return State({name: holder.make(seed, name) for name, holder in holders.items()})
