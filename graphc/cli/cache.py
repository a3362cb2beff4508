"""`graphc cache`: what is kept of compiled programs between runs, and clearing it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from graphc import settings
from graphc.planning.text import format_bytes, format_table
from graphc.runtime.cache import Entry, Store, read_entry, remove
from graphc.runtime.compiled import read_head
from graphc.runtime.kept import KINDS, PROGRAMS

_ROWS = 30  # programs that are listed
_AGES = ((86400, "days"), (3600, "hours"), (60, "minutes"))  # seconds of each


def cache(options: argparse.Namespace) -> None:
    """Print the folder, its size and its programs, the last used first; then clear it if asked."""
    root = settings.cache_folder()
    if root is None:
        print("nothing is kept: GRAPHC_CACHE is off")
        return
    found = {kind: Store(kind).entries() for kind in KINDS}
    counts = (f"{len(entries)} {kind}" for kind, entries in found.items())
    entries = [entry for listed in found.values() for entry in listed]
    used = format_bytes(sum(entry.bytes for entry in entries))
    limit = format_bytes(settings.cache_bytes())
    print(f"{root}: {', '.join(counts)}, {used} of at most {limit}")
    if options.clear:
        for entry in entries:
            remove(entry)
        print(f"removed {len(entries)} files")
    elif found[PROGRAMS.kind]:
        print(_table(found[PROGRAMS.kind]))


def _table(programs: Sequence[Entry]) -> str:
    now = time.time()
    head = ("file", "peak", "launches", "used", "program")
    table = format_table([head, *(_row(entry, now) for entry in programs[:_ROWS])], numbers=3)
    left_out = len(programs) - _ROWS
    return f"{table}\nand {left_out} used before" if left_out > 0 else table


def _row(entry: Entry, now: float) -> tuple[str, ...]:
    size, used = format_bytes(entry.bytes), _age(now - entry.used)
    data = read_entry(entry.path, touch=False)
    if data is None:
        return (size, "", "", used, "damaged: will be made again")
    head = read_head(data)
    return (size, format_bytes(head["peak_bytes"]), str(head["launches"]), used, head["name"])


def _age(seconds: float) -> str:
    """How long ago, in the largest unit that fits.

    >>> _age(5), _age(7300), _age(200_000)
    ('now', '2 hours ago', '2 days ago')
    """
    for unit, name in _AGES:
        if seconds >= unit:
            return f"{int(seconds // unit)} {name} ago"
    return "now"
