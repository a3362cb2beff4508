"""Memory of a program's results, used again once nobody holds them.

Large new arrays cost more than many kernels that fill them: the system clears every page at its
first use. An array that was given out and is gone gives its memory to the next call; one that is
still held, by itself or by a view, keeps it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.loops import Storage

Array = np.ndarray[Any, Any]

# Less is given out afresh: it comes from memory that the process has in use.
_LEAST_BYTES = 1 << 18
_ALIGNMENT = 64
# Of memory that only this object holds: its list, a variable, and the call that counts.
_OWN_REFERENCES = 3


@dataclass
class Outputs:
    """Arrays for the results of call after call."""

    storages: Sequence[Storage]
    _kept: dict[int, Array] = field(default_factory=dict)

    def arrays(self) -> list[Array]:
        """One array for each result, of undefined elements; large ones start at whole lines."""
        return [self._array(number, storage) for number, storage in enumerate(self.storages)]

    def _array(self, number: int, storage: Storage) -> Array:
        if storage.nbytes < _LEAST_BYTES:
            return np.empty(storage.shape, storage.dtype.numpy)
        memory = self._memory(number, storage.nbytes)
        start = -memory.ctypes.data % _ALIGNMENT
        part = memory[start : start + math.prod(storage.shape) * storage.dtype.itemsize]
        return part.view(storage.dtype.numpy).reshape(storage.shape)

    def _memory(self, number: int, size: int) -> Array:
        kept = self._kept.get(number)
        if kept is None or sys.getrefcount(kept) > _OWN_REFERENCES:
            kept = self._kept[number] = np.empty(size + _ALIGNMENT, np.uint8)
        return kept
