"""Parameters and buffers: the state tensors of a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc import dtypes
from graphc.errors import ArgumentError, ShapeError, StateError
from graphc.frontends.nn.init import Initializer, generator
from graphc.frontends.tracing.holder import Holder
from graphc.runtime.state import Slot

Elements = np.ndarray[Any, Any]
Draw = Callable[[tuple[int, ...], np.random.Generator], Any]


class StateTensor(Holder):
    """What parameters and buffers share: elements that can be looked at and set."""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.type.size

    @property
    def data(self) -> Elements:
        """The elements, writable in place. Raises StateError before they are made."""
        if self.slot is None:
            raise StateError(
                f"the elements of a parameter {self.type} are not made yet; "
                "model.state_dict() makes them from seed 0, a TrainStep from its own"
            )
        return self.slot.array

    @data.setter
    def data(self, elements: Any) -> None:
        self.set(elements)

    def set(self, elements: Any) -> None:
        """Set all elements; those of another kind of number or shape raise StateError."""
        array = np.asarray(elements)
        if array.shape != self.shape or not _fits(array.dtype, self.dtype.numpy):
            raise StateError(f"elements {array.dtype}{list(array.shape)} for {self.type}")
        if self.slot is None:
            self.slot = Slot(array.astype(self.dtype.numpy))
        else:
            self.slot.write(array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Elements:
        return np.array(self.data, dtype=dtype)

    def convert(self, dtype: Any) -> None:
        """Change the element type. Raises StateError once a program holds the address."""
        row = dtypes.get(dtype)
        if row == self.dtype:
            return
        if self.slot is not None:
            if self.slot.locked:
                raise StateError(f"a program holds a parameter {self.type}; it cannot be {row}")
            self.slot = Slot(self.slot.array.astype(row.numpy))
        self.dtype = row


def _fits(given: np.dtype[Any], expected: np.dtype[Any]) -> bool:
    return bool(np.can_cast(given, expected, "same_kind"))


class Parameter(StateTensor):
    """A tensor to be trained: `Parameter(shape, initializer, dtype)`, or `Parameter(array)`.

    Its elements are made with the model's State, from the seed and the full name.
    """

    def __init__(
        self,
        data: Any,
        initializer: Initializer | type[Initializer] | Draw | None = None,
        dtype: Any = None,
        requires_grad: bool = True,
    ) -> None:
        self.requires_grad = requires_grad
        self.initializer: Draw | None = None
        self._given: Elements | None = None
        if initializer is None:
            self._given = _given_elements(data, dtype)
            super().__init__(self._given.shape, dtypes.get(self._given.dtype))
        else:
            shape = data if isinstance(data, tuple | list) else (data,)
            super().__init__(shape, dtypes.get("float32" if dtype is None else dtype))
            self.initializer = _instance(initializer)

    def initial(self, seed: int, name: str) -> Elements:
        if self.initializer is None:
            assert self._given is not None
            return self._given
        elements = np.asarray(self.initializer(self.shape, generator(seed, name)))
        if elements.shape != self.shape:
            raise ShapeError(
                f"{name}: its initializer gives shape {list(elements.shape)}; "
                f"the parameter is {self.type}"
            )
        return elements

    def __repr__(self) -> str:
        return f"Parameter({self.type})"


def _instance(initializer: Any) -> Draw:
    """`nn.init.zeros` means `nn.init.zeros()`."""
    made: Draw = initializer() if isinstance(initializer, type) else initializer
    return made


def _given_elements(data: Any, dtype: Any) -> Elements:
    """A copy of an array. A shape without an initializer is an error."""
    if not hasattr(data, "__array__"):
        raise ArgumentError(
            f"Parameter: {data!r} is no array; a shape needs an initializer: "
            "nn.Parameter(shape, nn.init.normal())"
        )
    return np.array(data, None if dtype is None else dtypes.get(dtype).numpy)


class Buffer(StateTensor):
    """A tensor that the model keeps and does not train: running statistics, counters, caches."""

    requires_grad = False

    def __init__(self, data: Any, persistent: bool = True) -> None:
        self._given = np.array(data)
        self.persistent = persistent
        row = dtypes.get(self._given.dtype)
        if isinstance(data, list | float) and row.is_float:
            row = dtypes.float32
        super().__init__(self._given.shape, row)

    def initial(self, seed: int, name: str) -> Elements:
        return self._given

    def __repr__(self) -> str:
        return f"Buffer({self.type})"
