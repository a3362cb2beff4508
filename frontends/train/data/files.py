"""Reading data files so that a bad one is a DataError naming the file and the position.

Everything here is also the whole contact of the data sets with Python's own readers: their
exceptions end in `reading`.
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from graphc.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 24


def existing(path: str | Path) -> Path:
    """`path` with ``~`` expanded; raises DataError where there is nothing."""
    found = Path(path).expanduser()
    try:
        found.stat()
    except OSError as error:
        raise DataError(f"{found}: {error.strerror or error}") from None
    except ValueError as error:  # a NUL byte in the name
        raise DataError(f"{str(path)!r} is not a path: {error}") from None
    return found


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what Python's readers raise into a DataError that begins with `name`."""
    try:
        yield
    except DataError:
        raise
    except EOFError:
        raise DataError(f"{name}: the compressed data end early; the file is cut") from None
    except (zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: the compressed data are damaged: {error}") from None
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError(f"{name}: the archive is cut or damaged: {error}") from None
    except (NotImplementedError, RuntimeError) as error:  # zip methods and passwords
        raise DataError(f"{name}: cannot be unpacked: {error}") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from None


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where it is gzip (known by its first bytes, not its name)."""
    with reading(str(path)), path.open("rb") as raw:
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as stream:
            yield cast(BinaryIO, stream)


def read_exactly(stream: IO[bytes], count: int, name: str, what: str, start: int = 0) -> bytearray:
    """`count` bytes of `what`, the first one at position `start` of the file called `name`.

    Grows with the bytes that are really there, so that a false count costs no memory. Raises
    DataError where the file ends before.
    """
    data = bytearray()
    while len(data) < count:
        try:
            chunk = stream.read(min(count - len(data), _CHUNK_BYTES))
        except EOFError:  # what is left of a cut gzip stream has been handed out before
            chunk = b""
        if not chunk:
            raise DataError(
                f"{name}: ends at byte {start + len(data)}, but {what} takes bytes {start} to "
                f"{start + count}; the file is cut"
            )
        data += chunk
    return data


def expect_end(stream: IO[bytes], name: str, position: int) -> None:
    """Raise DataError where a file goes on after `position`; reads a gzip's checksum, too."""
    if stream.read(1):
        raise DataError(f"{name}: goes on after byte {position}, where its header says it ends")


def read_text(path: Path) -> str:
    """The whole of a UTF-8 text file, plain or gzip, without a byte order mark."""
    with open_binary(path) as stream:
        data = stream.read()
    return decoded(data, str(path))


def decoded(data: bytes, name: str) -> str:
    """UTF-8 text without a byte order mark. Raises DataError with the place of another byte.

    >>> decoded(b"gr\\xfcn", "a.txt")
    Traceback (most recent call last):
    graphc.errors.DataError: a.txt: byte 2 is not UTF-8 text (invalid start byte)
    """
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: byte {error.start} is not UTF-8 text ({error.reason})") from None
