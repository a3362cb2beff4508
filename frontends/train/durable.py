"""Files that are there whole or not at all, through crashes and power cuts.

A file is written under another name, synced, renamed over the old one, and the folder is synced.
POSIX makes the rename atomic; without the first sync a file system may keep the new name with no
content, without the second it may forget the name.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PARTIAL_SUFFIX = ".partial"


def replace_file(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write `path` with `chunks` as content; raises OSError, and then the old file still stands."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        _write_synced(partial, chunks)
        os.replace(partial, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


def append_line(path: Path, line: str) -> None:
    """Add one line to a text file and sync it; raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        _write_all(descriptor, memoryview(f"{line}\n".encode()))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_synced(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for chunk in chunks:
            _write_all(descriptor, memoryview(chunk).cast("B"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def make_folder(path: Path) -> None:
    """Make a folder and those above it, so that a power cut does not take them back."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial_files(folder: Path) -> None:
    """Remove what writers that were killed left in a folder; only for the folder's one writer."""
    for stale in folder.glob(f".*{PARTIAL_SUFFIX}"):
        with suppress(OSError):
            os.unlink(stale)
