"""Class folders of one's own, with a training and a test part or to be split into these."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graphc.errors import DataError
from graphc.frontends.train.data.dataset import ImageDataset
from graphc.frontends.train.data.files import existing
from graphc.frontends.train.data.images import Decoder, LazyImageDataset, relabel
from graphc.frontends.train.data.random import shuffled
from graphc.frontends.train.data.sources import ClassFolders, class_folders, find_one, open_source

TEST_SHARE = 10  # one of so many images of a class is for testing where nothing else is said


def image_folders(
    path: str | Path,
    train: bool = True,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    dtype: str = "float32",
    flat: bool = False,
) -> ImageDataset:
    """One part of a set of class folders: (image [C, H, W], int32 label) each.

    `path` is a folder with ``train/`` and ``test/`` of class folders, with ``*train*.zip`` and
    ``*test*.zip`` of them, or of class folders alone, or a zip file of these; of class folders
    alone every tenth image of a class, in an order drawn once for all, is the test part. The
    other options are those of `images`. Raises DataError where the parts have other classes.
    """
    folders = part_of(path, train)
    lazily = LazyImageDataset(folders, Decoder(folders, size, channels), dtype, flat)
    return lazily.decoded()


def part_of(path: str | Path, train: bool) -> ClassFolders:
    """The files and labels of one part."""
    found = existing(path)
    places = part_places(found)
    if places is None:
        return _split(class_folders(open_source(found)), train)
    training, test = (class_folders(open_source(place)) for place in places)
    return training if train else relabel(test, training.class_names)


def part_places(path: Path) -> tuple[Path, Path] | None:
    """Where the training and the test part lie; None for a place that is not divided."""
    if not path.is_dir():
        return None
    if any(path.glob("*train*.zip")) or any(path.glob("*test*.zip")):
        train, test = (
            find_one(path, f"*{part}*.zip", f"zip file of the {part} images", hint="cifar")
            for part in ("train", "test")
        )
        return train, test
    train, test = path / "train", path / "test"
    if not (train.is_dir() and test.is_dir()):
        return None
    return train, test


def _split(folders: ClassFolders, train: bool) -> ClassFolders:
    """Every tenth image of each class, in a fixed order, or all others."""
    labels = np.asarray(folders.labels)
    chosen: list[int] = []
    for label, name in enumerate(folders.class_names):
        own = np.flatnonzero(labels == label)
        if len(own) < 2:
            raise DataError(
                f"{folders.source.path}: class {name!r} has {len(own)} image, too few for a "
                "training and a test part"
            )
        own = own[shuffled(0, label, len(own))]
        border = max(1, len(own) // TEST_SHARE)
        chosen += sorted(own[border:] if train else own[:border])
    return ClassFolders(
        folders.source,
        folders.class_names,
        tuple(folders.names[index] for index in chosen),
        tuple(folders.labels[index] for index in chosen),
    )
