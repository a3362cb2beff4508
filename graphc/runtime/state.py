"""The arrays of a model: parameters, buffers, optimizer moments, counters and random keys.

    State    an ordered {full name: Slot}, shared by all programs of a model
    Slot     one tensor: its elements in one block of memory, in some order of its dimensions

Logical shapes are always the user's (NCHW, OIHW). A slot may hold its elements in another order
of the dimensions, which the operators that read it prefer; that is settled before a program
takes its address. From then on elements change in place and memory never moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.dtypes import DType, get
from graphc.errors import StateError
from graphc.ir import TensorType

Elements = np.ndarray[Any, Any]

# The widest vector register and one cache line, in bytes.
ALIGNMENT_BYTES = 64


class Slot:
    """One state tensor in memory aligned to 64 bytes.

    >>> import numpy as np
    >>> slot = Slot(np.arange(6, dtype=np.float32).reshape(2, 3))
    >>> slot.set_order((1, 0))
    >>> slot.base.ravel().tolist(), slot.array.tolist()
    ([0.0, 3.0, 1.0, 4.0, 2.0, 5.0], [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    """

    __slots__ = ("_base", "_locked", "_order")

    def __init__(self, elements: Any) -> None:
        elements = np.asarray(elements)
        self._order = tuple(range(elements.ndim))
        self._base = _aligned_copy(elements)
        self._locked = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The logical shape."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return get(self._base.dtype)

    @property
    def type(self) -> TensorType:
        extents = dict(zip(self._order, self._base.shape, strict=True))
        return TensorType(tuple(extents[axis] for axis in sorted(extents)), self.dtype)

    @property
    def order(self) -> tuple[int, ...]:
        """The logical dimensions from the outermost in memory to the innermost."""
        return self._order

    @property
    def locked(self) -> bool:
        """Whether a program holds the address."""
        return self._locked

    @property
    def base(self) -> Elements:
        """The elements as they lie in memory: C-contiguous, dimensions in `order`."""
        return self._base

    @property
    def array(self) -> Elements:
        """The elements in their logical shape: a view, writable in place."""
        inverse = np.argsort(self._order) if self._order else ()
        return self._base.transpose(inverse)

    def set_order(self, order: Sequence[int]) -> None:
        """Lay the elements out anew. Raises StateError after the address has been taken."""
        order = tuple(order)
        if sorted(order) != list(range(self._base.ndim)):
            raise StateError(f"order {order} is no permutation of {self._base.ndim} dimensions")
        if order == self._order:
            return
        if self._locked:
            raise StateError(
                f"the layout is {self._order} and a program holds its address; "
                f"it cannot become {order}"
            )
        self._base = _aligned_copy(self.array.transpose(order))
        self._order = order

    def lock(self) -> int:
        """The address of the first element, which from now on never changes."""
        self._locked = True
        return int(self._base.ctypes.data)

    def __deepcopy__(self, memo: Any) -> Slot:
        """A slot with memory of its own, which no program holds."""
        twin = Slot(self.array)
        twin.set_order(self._order)
        return twin

    def write(self, elements: Any) -> None:
        """Set all elements, in place. Raises StateError for another shape or kind of number."""
        source = np.asarray(elements)
        if source.shape != self.shape:
            raise StateError(f"elements of shape {source.shape} for a tensor {self.type}")
        if not np.can_cast(source.dtype, self._base.dtype, "same_kind"):
            raise StateError(f"elements of type {source.dtype} for a tensor {self.type}")
        self.array[...] = source


def _aligned_copy(elements: Elements) -> Elements:
    """A C-contiguous copy that starts at a multiple of ALIGNMENT_BYTES."""
    memory = np.zeros(elements.nbytes + ALIGNMENT_BYTES, np.uint8)
    skipped_bytes = -memory.ctypes.data % ALIGNMENT_BYTES
    block = memory[skipped_bytes : skipped_bytes + elements.nbytes]
    copy = block.view(elements.dtype).reshape(elements.shape)
    copy[...] = elements
    return copy


class State(Mapping[str, Slot]):
    """All tensors of a model by full name, in order."""

    def __init__(self, slots: Mapping[str, Slot] | None = None) -> None:
        self._slots = dict(slots or {})

    def __getitem__(self, name: str) -> Slot:
        if name not in self._slots:
            raise StateError(f"no state tensor {name!r}; there are {', '.join(self._slots)}")
        return self._slots[name]

    def __contains__(self, name: object) -> bool:
        return name in self._slots

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        return sum(slot.base.nbytes for slot in self._slots.values())

    def add(self, name: str, elements: Any) -> Slot:
        """Enter a tensor: a Slot (shared), or elements to copy."""
        if name in self._slots:
            raise StateError(f"state tensor {name!r} exists already")
        slot = elements if isinstance(elements, Slot) else Slot(elements)
        self._slots[name] = slot
        return slot

    def array(self, name: str) -> Elements:
        """The elements in their logical shape: a view, writable in place."""
        return self[name].array

    def set_order(self, name: str, order: Sequence[int]) -> None:
        """Lay one tensor out anew, before any program took its address."""
        try:
            self[name].set_order(order)
        except StateError as error:
            raise StateError(f"{name}: {error}") from None

    def address(self, name: str) -> int:
        """Where the tensor's memory starts; it is locked there from now on."""
        return self[name].lock()

    def state_dict(self) -> dict[str, Elements]:
        """{name: elements}: C-contiguous copies in the logical shapes."""
        return {name: np.array(slot.array, order="C") for name, slot in self._slots.items()}

    def load(self, arrays: Mapping[str, Any], strict: bool = True) -> None:
        """Set elements in place, all of them or none.

        Raises StateError that lists every missing, unexpected and misshapen name; missing and
        unexpected ones only where `strict`.
        """
        check_names(arrays, self._slots, strict)
        shapes = {name: slot.type for name, slot in self._slots.items()}
        given = {name: np.asarray(arrays[name]) for name in self._slots if name in arrays}
        check_elements(given, shapes)
        for name, elements in given.items():
            self._slots[name].write(elements)


def check_names(given: Mapping[str, Any], expected: Mapping[str, Any], strict: bool) -> None:
    """Raise StateError where `strict` and the names differ."""
    if not strict:
        return
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    faults = [f"missing: {', '.join(missing)}"] if missing else []
    faults += [f"unexpected: {', '.join(unexpected)}"] if unexpected else []
    if faults:
        raise StateError(f"state dict does not fit the model; {'; '.join(faults)}")


def check_elements(given: Mapping[str, Elements], expected: Mapping[str, TensorType]) -> None:
    """Raise StateError that lists every array whose shape or kind of number differs."""
    faults = [
        f"{name} is {elements.dtype}{list(elements.shape)}, expected {expected[name]}"
        for name, elements in given.items()
        if elements.shape != expected[name].shape
        or not np.can_cast(elements.dtype, expected[name].dtype.numpy, "same_kind")
    ]
    if faults:
        raise StateError(f"state dict does not fit the model; {'; '.join(faults)}")
