"""Files kept between runs: what was made from a key before is found again, untouched or not at all.

    CACHE/kind/key    SHA-256 of the content, then the content

The folder of a kind is the user's alone (mode 0700, its owner checked at every use), files are
written aside and renamed, so that processes may share it, and a file that is cut or changed is
taken for missing. Reading a file renews its time; `trim` removes those unused for longest.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from graphc import settings

DIGEST_BYTES = 32
_TRIMMED = 3, 4  # a cache that is too large shrinks to this part of its limit


@dataclass(frozen=True)
class Entry:
    """A file of the cache. `used` is when it was last read or written, in seconds of the epoch."""

    path: Path
    bytes: int
    used: float


class Store:
    """The contents of one kind, by key. Without a folder of the user's own it keeps nothing."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def read(self, key: str) -> bytes | None:
        """What was written under a key; None where there is nothing, or it was damaged."""
        folder = self._folder()
        return None if folder is None else read_entry(folder / key)

    def write(self, key: str, content: bytes) -> None:
        """Keep a content. A full or read-only disk costs time later, and is no error."""
        folder = self._folder()
        if folder is None:
            return
        try:
            handle, name = tempfile.mkstemp(dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(name, folder / key)
        except OSError:
            return

    def entries(self) -> list[Entry]:
        """The files, the last used first."""
        folder = self._folder()
        return [] if folder is None else _newest_first(_entries(folder))

    def total_bytes(self) -> int:
        """What all files take. Quicker than listing them: it is asked at every compilation."""
        folder = self._folder()
        return 0 if folder is None else sum(facts.st_size for _, facts in _files(folder))

    def _folder(self) -> Path | None:
        """The folder, made where there is none; None where another user could change it."""
        root = settings.cache_folder()
        if root is None:
            return None
        folder = root / self.kind
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
        except OSError:
            return None
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        return folder if mine and not found.st_mode & 0o077 else None


def read_entry(path: Path, touch: bool = True) -> bytes | None:
    """A file's content without its digest; None where it is missing, damaged or another user's.

    `touch` makes it the last used.
    """
    try:
        with open(path, "rb", opener=_open_own) as file:
            data = file.read()
            if touch:
                os.utime(file.fileno())
    except OSError:
        return None
    content = data[DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == data[:DIGEST_BYTES] else None


def _open_own(path: str, flags: int) -> int:
    """Open a file that is no link and belongs to the user. Raises OSError otherwise."""
    handle = os.open(path, flags | os.O_NOFOLLOW)
    if os.fstat(handle).st_uid != os.getuid():
        os.close(handle)
        raise PermissionError(f"{path} belongs to another user")
    return handle


def all_entries(kinds: Iterable[str]) -> list[Entry]:
    """The files of all kinds, the last used first."""
    return _newest_first(entry for kind in kinds for entry in Store(kind).entries())


def trim(kinds: Iterable[str], limit_bytes: int) -> None:
    """Where the files of all kinds take more than the limit, remove those unused for longest."""
    kinds = list(kinds)
    if sum(Store(kind).total_bytes() for kind in kinds) <= limit_bytes:
        return
    room = limit_bytes * _TRIMMED[0] // _TRIMMED[1]
    for entry in all_entries(kinds):
        room -= entry.bytes
        if room < 0:
            remove(entry)


def remove(entry: Entry) -> None:
    """Remove a file; another process may have done so."""
    entry.path.unlink(missing_ok=True)


def _entries(folder: Path) -> Iterator[Entry]:
    return (Entry(Path(path), facts.st_size, facts.st_mtime) for path, facts in _files(folder))


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as found:
        for item in found:
            try:
                facts = item.stat(follow_symlinks=False)
            except OSError:
                continue  # removed meanwhile
            if stat.S_ISREG(facts.st_mode):
                yield item.path, facts


def _newest_first(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.used, reverse=True)
