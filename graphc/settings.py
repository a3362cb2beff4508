"""The environment variables graphc reads, all of them, and nothing else reads any.

    GRAPHC_VERIFY    1: verify graphs after every pass (0 or unset: not)
    GRAPHC_DUMP      a folder: write the graph after each pass that changed it
    GRAPHC_CACHE     the folder of compiled programs (default: graphc in the user's cache folder);
                     "off" keeps nothing on disk
    GRAPHC_CACHE_BYTES  the most that the folder may hold (default: 1 GiB)
    GRAPHC_HELPERS   processes that help to generate code (default: one for each processor that this
                     process may use beside its own; at most 7)
    GRAPHC_THREADS   threads of a program on the CPU (default: the processors this process may use)

Each function reads its variable when called, so that a test or a notebook can set it at any time.
"""

from __future__ import annotations

import os
from pathlib import Path

from graphc.errors import ArgumentError

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


def verify() -> bool:
    """Whether graphs are verified after every pass.

    Raises ArgumentError for a value that is neither true nor false.
    """
    return _flag("GRAPHC_VERIFY")


def dump_folder() -> Path | None:
    """Where the graphs after each pass are written; None: nowhere."""
    text = os.environ.get("GRAPHC_DUMP", "")
    return Path(text).expanduser() if text else None


def cache_folder() -> Path | None:
    """Where compiled programs are kept; None: nowhere."""
    text = os.environ.get("GRAPHC_CACHE", "")
    if text.lower() == "off":
        return None
    if text:
        return Path(text).expanduser()
    user = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(user) if user else Path.home() / ".cache") / "graphc"


def cache_bytes() -> int:
    """The most bytes that the folder of compiled programs may hold.

    Raises ArgumentError for a value that is not a whole number.
    """
    text = os.environ.get("GRAPHC_CACHE_BYTES", "")
    if not text:
        return 1 << 30
    if not text.isdecimal():
        raise ArgumentError(f"GRAPHC_CACHE_BYTES is {text!r}; expected a whole number of bytes")
    return int(text)


def helpers() -> int:
    """How many processes may help to generate code.

    Raises ArgumentError for a value that is not a whole number.
    """
    text = os.environ.get("GRAPHC_HELPERS", "")
    if not text:
        return min(available_processors() - 1, 7)
    if not text.isdecimal():
        raise ArgumentError(f"GRAPHC_HELPERS is {text!r}; expected a whole number")
    return int(text)


def threads() -> int:
    """How many threads a CPU program runs on.

    Raises ArgumentError for a value that is not a whole number of at least 1.
    """
    text = os.environ.get("GRAPHC_THREADS", "")
    if not text:
        return available_processors()
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentError(f"GRAPHC_THREADS is {text!r}; expected a whole number of at least 1")
    return int(text)


def available_processors() -> int:
    """Processors this process may run on: a container's share, not the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _flag(name: str) -> bool:
    text = os.environ.get(name, "").lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ArgumentError(f"{name} is {text!r}; expected 1 or 0")
