"""Memory that only making code takes, given back before the program takes its own.

LLVM's code is mapped from its file, and some 80 MiB of it are in memory once kernels were made.
Pages of a file that nobody wrote to may be dropped at any time: whoever runs them again has them
read again. Only Linux tells which these are; elsewhere they stay.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_LIBRARY = "libllvmlite"


def release_llvm() -> None:
    """Drop LLVM's pages from this process, and what the allocator keeps of freed memory.

    Nothing where LLVM has not been loaded.
    """
    libc = ctypes.CDLL(None)
    if "llvmlite.binding" not in sys.modules or not hasattr(libc, "madvise"):
        return
    advise = libc.madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in _clean_ranges():
        advise(start, end - start, mmap.MADV_DONTNEED)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


@cache
def _clean_ranges() -> tuple[tuple[int, int], ...]:
    """Where LLVM's file is mapped and nothing has been written, as (start, end)."""
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return ()
    return tuple(clean_mappings(lines, _LIBRARY))


def clean_mappings(lines: list[str], name: str) -> Iterator[tuple[int, int]]:
    """Mappings, in the form of Linux's smaps, of a file that cannot be written to and was not.

    What the linker filled in when it loaded the file has pages of its own, which no file holds.

    >>> told = ["1000-3000 r-xp 0 08:01 7 /lib/a.so", "Rss: 8 kB", "Anonymous: 0 kB"]
    >>> told += ["3000-4000 r--p 0 08:01 7 /lib/a.so", "Rss: 4 kB", "Anonymous: 4 kB"]
    >>> list(clean_mappings(told, "a.so"))
    [(4096, 12288)]
    """
    mapping: tuple[int, int] | None = None
    for line in lines:
        first, _, rest = line.partition(" ")
        if first == "Anonymous:":
            if mapping and rest.split()[0] == "0":
                yield mapping
        elif not first.endswith(":"):
            start, _, end = first.partition("-")
            rights, *_, path = rest.split()
            fits = name in path and "w" not in rights
            mapping = (int(start, 16), int(end, 16)) if fits else None
