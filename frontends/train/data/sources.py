"""Where the files of class folders come from: a folder, or a zip file of one.

An archive is only ever read by the names of its own entries; none is taken for a path, so nothing
outside it can be reached. Hidden files, names with ``..`` or a leading ``/``, ``__MACOSX`` and
files that are no images are left out.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from graphc.errors import DataError
from graphc.frontends.train.data.files import reading

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
LARGEST_IMAGE_BYTES = 1 << 28


class Source(Protocol):
    """A place that holds files; names are relative to it, with ``/`` between folders."""

    @property
    def path(self) -> Path:
        """Where the source lies."""

    def files(self) -> list[str]:
        """The names of all files."""

    def folders(self) -> list[str]:
        """The names of all folders that the source knows of."""

    def read(self, name: str) -> bytes:
        """The bytes of one file; raises DataError where it is cut or damaged."""

    def describe(self, name: str) -> str:
        """How an error names one file."""


@dataclass(frozen=True)
class FolderSource:
    """The files under a folder."""

    path: Path

    def files(self) -> list[str]:
        return [_join(place, name) for place, _, names in self._walk() for name in names]

    def folders(self) -> list[str]:
        return [place for place, _, _ in self._walk() if place]

    def read(self, name: str) -> bytes:
        with reading(self.describe(name)), (self.path / name).open("rb") as stream:
            return _limited(stream.read(LARGEST_IMAGE_BYTES + 1), self.describe(name))

    def describe(self, name: str) -> str:
        return str(self.path / name)

    def _walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """(folder, its folders, its files); follows links to folders, each folder once."""
        seen: set[str] = set()
        with reading(str(self.path)):
            for place, folders, names in os.walk(self.path, onerror=_raise, followlinks=True):
                seen.add(os.path.realpath(place))
                folders[:] = [
                    folder
                    for folder in folders
                    if os.path.realpath(os.path.join(place, folder)) not in seen
                ]
                inner = Path(place).relative_to(self.path).as_posix()
                yield "" if inner == "." else inner, folders, names


def _join(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _raise(error: OSError) -> None:
    raise error


class ZipSource:
    """The entries of a zip file. Their checksums are compared when they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(str(path)):
            self._archive = zipfile.ZipFile(path)
        self._entries = {info.filename: info for info in self._archive.infolist()}

    def files(self) -> list[str]:
        return [name for name, info in self._entries.items() if not info.is_dir()]

    def folders(self) -> list[str]:
        return [name.rstrip("/") for name, info in self._entries.items() if info.is_dir()]

    def read(self, name: str) -> bytes:
        with reading(self.describe(name)), self._archive.open(self._entries[name]) as stream:
            return _limited(stream.read(LARGEST_IMAGE_BYTES + 1), self.describe(name))

    def describe(self, name: str) -> str:
        return f"{self.path}: entry {name!r}"


def _limited(data: bytes, name: str) -> bytes:
    if len(data) > LARGEST_IMAGE_BYTES:
        raise DataError(f"{name}: is larger than {LARGEST_IMAGE_BYTES} bytes, too large an image")
    return data


def open_source(path: Path) -> Source:
    """The folder or the zip file at `path`."""
    if path.is_dir():
        return FolderSource(path)
    with reading(str(path)):
        is_zip = zipfile.is_zipfile(path)
    if is_zip:
        return ZipSource(path)
    raise DataError(f"{path}: is neither a folder nor a whole zip file")


@dataclass(frozen=True)
class ClassFolders:
    """The images of a source: class i is `class_names[i]`, its files are `names` with label i."""

    source: Source
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]


def class_folders(source: Source) -> ClassFolders:
    """The class folders of a source, classes and files in sorted order.

    A folder that alone holds all class folders is looked into. Raises DataError where there are no
    class folders, a class folder has no image, or an image lies beside the class folders.
    """
    names = image_names(source)
    if not names:
        raise DataError(f"{source.path}: holds no image; expected class folders of images")
    root = _common_root(names)
    members = _by_class(source, names, root)
    _refuse_empty(source, members, root)
    pairs = [(name, label) for label, key in enumerate(members) for name in members[key]]
    return ClassFolders(
        source,
        tuple(members),
        tuple(name for name, _ in pairs),
        tuple(label for _, label in pairs),
    )


def image_names(source: Source) -> list[str]:
    """The names of a source's images in sorted order, without hidden files and others."""
    return sorted(name for name in source.files() if _is_image(name))


def _by_class(source: Source, names: Iterable[str], root: int) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name in names:
        parts = PurePosixPath(name).parts
        if len(parts) < root + 2:
            raise DataError(
                f"{source.describe(name)}: lies in no class folder; expected CLASS/IMAGE"
            )
        members.setdefault(parts[root], []).append(name)
    return dict(sorted(members.items()))


def _refuse_empty(source: Source, members: dict[str, list[str]], root: int) -> None:
    for folder in sorted(source.folders()):
        parts = PurePosixPath(folder).parts
        if len(parts) == root + 1 and _is_visible(folder) and parts[root] not in members:
            raise DataError(f"{source.describe(folder)}: this class folder holds no image")


def _common_root(names: list[str]) -> int:
    """How many leading folders all of `names` share above their class folders."""
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    root = 0
    while all(len(parts) > root + 1 for parts in folders):
        if len({parts[root] for parts in folders}) > 1:
            break
        root += 1
    return root


def _is_image(name: str) -> bool:
    return _is_visible(name) and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _is_visible(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") or part in ("/", "__MACOSX") for part in parts)


def find_one(folder: Path, pattern: str, what: str, hint: str = "") -> Path:
    """The one file of `folder` that matches `pattern`; of several, the only one with `hint`."""
    found = sorted(item for item in folder.glob(pattern) if item.is_file())
    if len(found) > 1 and hint:
        found = [item for item in found if hint in item.name.lower()] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(f"{folder}: has no {what} ({pattern})")
    names = ", ".join(item.name for item in found)
    raise DataError(f"{folder}: has several files that may be the {what}: {names}")
