"""What users give to a trained model: image files, folders and zips of them, tables of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from graphc.data import transforms
from graphc.errors import CheckpointError, DataError
from graphc.frontends.train.data.dataset import finish_images
from graphc.frontends.train.data.files import existing, reading
from graphc.frontends.train.data.images import decode
from graphc.frontends.train.data.sources import image_names, open_source
from graphc.frontends.train.data.tables import csv
from graphc.models.prediction import Array, Item

_TABLES = (".csv", ".csv.gz", ".npy", ".npz")


@dataclass(frozen=True)
class ExampleInput:
    """The shape of one example, float32, and how a file becomes one.

    shape   what the model takes, without the batch
    image   (channels, height, width) that images are made to, values 0...1; () takes no images
    mean, std   of the channels, which are then normalised; () leaves them
    """

    shape: tuple[int, ...]
    image: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def of_images(cls, channels: int, height: int, width: int, flat: bool = False) -> ExampleInput:
        image = (channels, height, width)
        return cls((prod(image),) if flat else image, image)

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> ExampleInput:
        return replace(self, mean=tuple(mean), std=tuple(std))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Any) -> ExampleInput:
        """Raises CheckpointError for what `to_json` did not write."""
        try:
            return cls(**{name: tuple(value) for name, value in dict(fields).items()})
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the description of the input: {error}") from None

    # Reading

    def read(self, paths: Sequence[str | Path]) -> Iterator[Item]:
        """(name, array) of every image and every row, in the order given.

        A path is an image, a folder or zip of images (its own order sorted by name), a CSV file, or
        a NumPy file. Raises DataError naming the file, and the row, that is no such example.
        """
        for path in map(existing, paths):
            if path.name.lower().endswith(_TABLES):
                yield from self._rows(path)
            else:
                yield from self._images(path)

    def _images(self, path: Path) -> Iterator[Item]:
        if not self.image:
            raise DataError(
                f"{path}: the model takes rows of {prod(self.shape)} numbers, from "
                f"{', '.join(_TABLES)} files"
            )
        for name, data in _image_files(path):
            pixels = decode(data, name, self.image[0], (self.image[1], self.image[2]))
            yield name, self._prepared(pixels)

    def _rows(self, path: Path) -> Iterator[Item]:
        rows = csv(path, label=None).arrays[0] if ".csv" in path.suffixes else _array(path)
        width = prod(self.shape)
        if rows.ndim == 0 or rows[0].size != width:
            given = "x".join(map(str, rows.shape[1:])) or "1"
            raise DataError(
                f"{path}: a row has {given} numbers, but the model takes {width}"
                + ("; leave the label out" if rows.ndim == 2 and rows.shape[1] == width + 1 else "")
            )
        for number, row in enumerate(rows):
            yield f"{path}:{number + 1}", self._prepared(row)

    def _prepared(self, values: Array) -> Array:
        """What the model takes, from bytes 0...255 or from numbers as they are."""
        scaled = finish_images(values, np.dtype(np.float32), False)
        if values.dtype != np.uint8:
            scaled = values.astype(np.float32)
        if self.mean:
            scaled = transforms.Normalize(self.mean, self.std)(scaled.reshape(self.image))
        return scaled.reshape(self.shape)


def _image_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of an image file, or of every image in a folder or zip."""
    if path.is_file() and path.suffix.lower() != ".zip":
        with reading(str(path)):
            yield str(path), path.read_bytes()
        return
    source = open_source(path)
    names = image_names(source)
    if not names:
        raise DataError(f"{path}: holds no image")
    for name in names:
        yield source.describe(name), source.read(name)


def _array(path: Path) -> Array:
    """The array of a .npy file, or of an .npz file with one, or with one called x."""
    try:
        with reading(str(path)):
            loaded = np.load(path, allow_pickle=False)
            found = loaded if isinstance(loaded, np.ndarray) else _entry(path, loaded)
    except DataError:
        raise
    except ValueError as error:  # an array of objects, or no NumPy file
        raise DataError(f"{path}: {error}") from None
    if found.dtype.kind not in "fiub" or not found.ndim or not len(found):
        raise DataError(f"{path}: holds {found.dtype} of shape {found.shape}, no rows of numbers")
    return found


def _entry(path: Path, archive: Any) -> Array:
    names = archive.files
    name = "x" if "x" in names else names[0] if len(names) == 1 else None
    if name is None:
        raise DataError(f"{path}: has arrays {', '.join(names)}; expected one, or one called x")
    array: Array = archive[name]
    return array
