"""Memory of a program's results, used again once nobody holds them.

Large new arrays cost more than many kernels that fill them: the system clears every page at its
first use. An array that was given out and is gone gives its memory to the next call; one that is
still held, by itself or by a view, keeps it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.loops import Storage

from .addresses import address_of

Array = np.ndarray[Any, Any]

# Less is given out afresh: it comes from memory that the process has in use.
_LEAST_BYTES = 1 << 18
_ALIGNMENT = 64
# Of memory that only this object holds: its list, a variable, and the call that counts.
_OWN_REFERENCES = 3


class Outputs:
    """Arrays for the results of call after call."""

    def __init__(self, storages: Sequence[Storage]) -> None:
        self._forms = [(s.shape, s.dtype.numpy, s.nbytes) for s in storages]
        self._kept: dict[int, Array] = {}

    def arrays(self) -> list[Array]:
        """One array for each result, of undefined elements; large ones start at whole lines."""
        return [
            np.empty(shape, dtype) if size < _LEAST_BYTES else self._large(number)
            for number, (shape, dtype, size) in enumerate(self._forms)
        ]

    def _large(self, number: int) -> Array:
        shape, dtype, size = self._forms[number]
        memory = self._memory(number, size)
        start = -address_of(memory) % _ALIGNMENT
        part = memory[start : start + math.prod(shape) * dtype.itemsize]
        return part.view(dtype).reshape(shape)

    def _memory(self, number: int, size: int) -> Array:
        kept = self._kept.get(number)
        if kept is None or sys.getrefcount(kept) > _OWN_REFERENCES:
            kept = self._kept[number] = np.empty(size + _ALIGNMENT, np.uint8)
        return kept
