"""The IDX format of MNIST and its relatives, plain or gzip.

Two zero bytes, a type code, the rank; then the extents as big-endian uint32 and the values in row
order, big-endian (Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/).
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from graphc.errors import DataError
from graphc.frontends.train.data.dataset import Array, ImageDataset
from graphc.frontends.train.data.files import existing, expect_end, open_binary, read_exactly

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LARGEST_RANK = 8


def read_idx(path: str | Path) -> Array:
    """The array of one IDX file, in native byte order.

    Raises DataError naming the byte where the file is cut, no IDX, or longer than its header says.
    """
    found = existing(path)
    name = str(found)
    with open_binary(found) as stream:
        zero, code, rank = struct.unpack(">HBB", read_exactly(stream, 4, name, "the magic number"))
        if zero or code not in _TYPES or rank > _LARGEST_RANK:
            raise DataError(
                f"{name}: begins with {zero:#06x}, type {code:#04x}, rank {rank} at byte 0; no IDX "
                f"file (0x0000, type 0x08 to 0x0e, rank up to {_LARGEST_RANK})"
            )
        extents = struct.unpack(f">{rank}I", read_exactly(stream, 4 * rank, name, "the shape", 4))
        dtype = np.dtype(_TYPES[code])
        start, size = 4 + 4 * rank, math.prod(extents) * dtype.itemsize
        data = read_exactly(stream, size, name, f"the values of shape {extents}", start)
        expect_end(stream, name, start + size)
    return np.frombuffer(data, dtype).reshape(extents).astype(dtype.newbyteorder("="), copy=False)


def idx(
    path: str | Path, train: bool = True, dtype: str = "float32", flat: bool = False
) -> ImageDataset:
    """MNIST and sets published like it: (image [1, H, W], int32 label) each.

    `path` is a folder with ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, and
    ``t10k-...`` for the test part, each plain or ``.gz``. dtype float32 gives 0...1, uint8 0...255;
    `flat` gives [H*W]. Raises DataError naming the file and the position of what is wrong.
    """
    folder = existing(path)
    part = "train" if train else "t10k"
    images_path = _find(folder, f"{part}-images", 3)
    labels_path = _find(folder, f"{part}-labels", 1)
    images = _expect(read_idx(images_path), images_path, 3)
    labels = _expect(read_idx(labels_path), labels_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: has {len(labels)} labels, but {images_path.name} has {len(images)} "
            "images"
        )
    return ImageDataset(images[:, None], labels.astype(np.int32), (), dtype, flat)


def _find(folder: Path, part: str, rank: int) -> Path:
    """The file of a part; published names differ in a dot, a prefix (emnist-...) and ``.gz``."""
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder; expected one with {part}-idx{rank}-ubyte[.gz]")
    for place in (folder, folder / "raw", folder / "MNIST" / "raw"):
        found = sorted(place.glob(f"*{part}?idx{rank}-ubyte")) or sorted(
            place.glob(f"*{part}?idx{rank}-ubyte.gz")
        )
        if len(found) > 1:
            names = ", ".join(item.name for item in found)
            raise DataError(f"{place}: has several files that may be the {part}: {names}")
        if found:
            return found[0]
    raise DataError(f"{folder}: has no {part}-idx{rank}-ubyte and no {part}-idx{rank}-ubyte.gz")


def _expect(array: Array, path: Path, rank: int) -> Array:
    if array.ndim != rank or array.dtype != np.uint8 or array.size == 0:
        raise DataError(
            f"{path}: holds {array.dtype} of shape {array.shape}, expected uint8 of rank {rank} "
            "with values in it"
        )
    return array
