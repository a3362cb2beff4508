"""CIFAR-10 in the forms it is found in: image folders, zip files of them, and its own binary form.

The binary form: records of 3,073 bytes, a label of one byte (0...9) and then 32x32 red, green and
blue values, each plane row by row (A. Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html).
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from graphc.errors import DataError
from graphc.frontends.train.data.dataset import Array, ImageDataset
from graphc.frontends.train.data.files import GZIP_MAGIC, existing, open_binary, reading
from graphc.frontends.train.data.image_folders import part_places
from graphc.frontends.train.data.images import Decoder, LazyImageDataset, relabel
from graphc.frontends.train.data.sources import class_folders, find_one, open_source

CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
RECORD_BYTES = 1 + 3 * 32 * 32
_BATCH = re.compile(r"data_batch_(\d+)\.bin")
_FORMS = (
    "expected a folder with *train*.zip and *test*.zip, with train/ and test/ of class folders, "
    "with data_batch_*.bin and test_batch.bin, or with cifar-10-binary.tar.gz; or that file itself"
)


def cifar10(
    path: str | Path, train: bool = True, dtype: str = "float32", flat: bool = False
) -> ImageDataset:
    """CIFAR-10, the training or the test part: (image [3, 32, 32], int32 label) each.

    `path` is a folder with ``*train*.zip`` and ``*test*.zip`` of class folders, with ``train/`` and
    ``test/`` of class folders, with ``data_batch_*.bin`` and ``test_batch.bin``, or with
    ``cifar-10-binary.tar.gz``; or that file itself. Other files are ignored. Labels are in the
    published order (airplane 0 ... truck 9); dtype float32 gives 0...1, uint8 0...255.

    Raises DataError naming the file and the position of what is missing, cut or damaged.
    """
    found = existing(path)
    if found.is_file():
        return _from_tar(found, train, dtype, flat)
    part = "train" if train else "test"
    if any(found.glob("*train*.zip")) or any(found.glob("*test*.zip")):
        archive = find_one(found, f"*{part}*.zip", f"zip file of the {part} images", hint="cifar")
        return _from_folders(archive, dtype, flat)
    if (found / part).is_dir():
        return _from_folders(found / part, dtype, flat)
    return _from_binary(found, train, dtype, flat)


def holds_cifar10(path: str | Path) -> bool:
    """Whether `cifar10` is what reads a place, and not `image_folders`: by its classes' names, or
    where it holds no class folders at all.
    """
    found = existing(path)
    places = part_places(found) or (found,)
    try:
        names = class_folders(open_source(places[0])).class_names
    except DataError:
        return not zipfile.is_zipfile(found)
    return set(names) == set(CLASS_NAMES) and places != (found,)


def _from_folders(path: Path, dtype: str, flat: bool) -> ImageDataset:
    folders = relabel(class_folders(open_source(path)), CLASS_NAMES)
    dataset = LazyImageDataset(folders, Decoder(folders, None, 3), dtype, flat).decoded()
    size = dataset.batch(np.arange(1))[0].size
    if size != RECORD_BYTES - 1:
        raise DataError(f"{path}: images have {size // 3} pixels, expected 32x32")
    return dataset


def _from_binary(folder: Path, train: bool, dtype: str, flat: bool) -> ImageDataset:
    for place in (folder, folder / "cifar-10-batches-bin"):
        files = {item.name: item for item in sorted(place.glob("*.bin"))}
        if wanted := _wanted(list(files), train, str(place)):
            return _dataset([_read_batch(files[name]) for name in wanted], dtype, flat)
    archive = folder / "cifar-10-binary.tar.gz"
    if archive.is_file():
        return _from_tar(archive, train, dtype, flat)
    pickled = any(folder.glob("data_batch_1")) or any(folder.glob("cifar-10-python*"))
    hint = " (its pickled form is not read: a pickle runs code)" if pickled else ""
    raise DataError(f"{folder}: holds no CIFAR-10{hint}; {_FORMS}")


def _wanted(names: list[str], train: bool, place: str) -> list[str]:
    """The names of the batches of one part, in order; [] where there are none of either part."""
    numbers = sorted(int(match[1]) for name in names if (match := _BATCH.fullmatch(name)))
    if not numbers and "test_batch.bin" not in names:
        return []
    if train and (not numbers or numbers != list(range(1, len(numbers) + 1))):
        raise DataError(f"{place}: has data_batch numbers {numbers}, expected 1, 2, 3 ...")
    if not train and "test_batch.bin" not in names:
        raise DataError(f"{place}: has no test_batch.bin")
    return [f"data_batch_{number}.bin" for number in numbers] if train else ["test_batch.bin"]


def _read_batch(path: Path) -> Array:
    with open_binary(path) as stream:
        return _records(stream.read(), str(path))


def _records(data: bytes, name: str) -> Array:
    """uint8 [N, 3073] from the bytes of one batch file."""
    whole, rest = divmod(len(data), RECORD_BYTES)
    if rest or not whole:
        raise DataError(
            f"{name}: is {len(data)} bytes, record {whole} is cut at byte {rest} of {RECORD_BYTES}"
        )
    records = np.frombuffer(data, np.uint8).reshape(whole, RECORD_BYTES)
    wrong = np.flatnonzero(records[:, 0] > 9)
    if wrong.size:
        raise DataError(
            f"{name}: record {wrong[0]} (byte {wrong[0] * RECORD_BYTES}) has label "
            f"{records[wrong[0], 0]}, expected 0 to 9"
        )
    return records


def _dataset(batches: list[Array], dtype: str, flat: bool) -> ImageDataset:
    records = np.concatenate(batches)
    pixels = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)
    return ImageDataset(pixels, records[:, 0].astype(np.int32), CLASS_NAMES, dtype, flat)


def _from_tar(path: Path, train: bool, dtype: str, flat: bool) -> ImageDataset:
    with reading(str(path)), path.open("rb") as raw:
        if raw.read(2) != GZIP_MAGIC:
            raise DataError(f"{path}: is no gzip file; {_FORMS}")
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) as stream:
            batches = dict(_tar_batches(stream, str(path)))
            while stream.read(1 << 20):  # to the end, where gzip keeps its checksum
                pass
    wanted = _wanted(list(batches), train, str(path))
    if not wanted:
        raise DataError(f"{path}: holds no data_batch_*.bin and no test_batch.bin; {_FORMS}")
    return _dataset([batches[name] for name in wanted], dtype, flat)


def _tar_batches(stream: gzip.GzipFile, path: str) -> Iterator[tuple[str, Array]]:
    """(file name, records) of every batch in a tar file; links and other members are left out."""
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            name = member.name.rsplit("/", 1)[-1]
            if not member.isreg() or not (_BATCH.fullmatch(name) or name == "test_batch.bin"):
                continue
            content = archive.extractfile(member)
            if content is not None:
                yield name, _records(content.read(), f"{path}: member {member.name!r}")
