"""The arena that the programs of one State share.

A program's plan gives each temporary a place in an arena. Nothing in it outlives a call, so that
programs which never run at once (the buckets of a training step) can use the same bytes: together
they take what the largest of them takes, if that one is made first.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from graphc.runtime.state import ALIGNMENT_BYTES
from graphc.runtime.turns import waited_for_by_forks

Memory = np.ndarray[Any, np.dtype[np.uint8]]


class Workspace:
    """One arena for several programs, and the lock that keeps them from running at once."""

    def __init__(self) -> None:
        self.lock = waited_for_by_forks(threading.Lock())
        self._arena = aligned_zeros(0)

    def arena(self, size: int) -> Memory:
        """At least `size` bytes: those that are there, or new ones, shared from now on."""
        if self._arena.nbytes < size:
            self._arena = aligned_zeros(size)
        return self._arena


def aligned_zeros(size: int) -> Memory:
    """Zeroed memory that starts at a multiple of ALIGNMENT_BYTES."""
    memory = np.zeros(size + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    return memory[start : start + size]
