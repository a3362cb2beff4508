"""Who waits for whom: what one thread does at a time, and what a fork waits for.

A process that is forked has its parent's memory, but of its threads only the one that forked. So a
fork waits until nothing is half done: no step runs, no program is being made.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Lock(AbstractContextManager[Any], Protocol):
    """What `threading.Lock` and `threading.RLock` give."""

    def acquire(self) -> bool: ...

    def release(self) -> None: ...


_waited_for: weakref.WeakSet[Lock] = weakref.WeakSet()
_forking = threading.Lock()
_held: list[Lock] = []


def waited_for_by_forks(lock: Lock) -> Lock:
    """The lock, which a fork takes before, and releases after in both processes."""
    _waited_for.add(lock)
    return lock


def _before() -> None:
    _forking.acquire()
    for lock in sorted(_waited_for, key=id):
        lock.acquire()
        _held.append(lock)


def _after() -> None:
    while _held:
        _held.pop().release()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)

# Held while a program or the elements of a state tensor are made: programs of one model settle
# together how their tensors lie.
MAKING = waited_for_by_forks(threading.RLock())
