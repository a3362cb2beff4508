"""Class folders of one's own: their two parts, and the examples of some classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_files import cifar_batches, cifar_entries, png, random_pixels, write_folder, write_zip

from graphc import data
from graphc.errors import ArgumentError, DataError, ShapeError


def pets(count: int, seed: int = 0) -> dict[str, bytes]:
    """Class folders of `count` pictures of 6x5 each."""
    return {
        f"{name}/{n:02}.png": png(random_pixels(seed + 100 * label + n, 6, 5, 3))
        for label, name in enumerate(("cat", "dog"))
        for n in range(count)
    }


def as_set(dataset: data.ImageDataset) -> set[tuple[int, bytes]]:
    return {(int(label), image.tobytes()) for image, label in zip(*dataset.arrays, strict=True)}


@pytest.mark.parametrize("form", ["folders", "zips"])
def test_given_parts_are_taken(form: str, tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 2)):
        if form == "zips":
            write_zip(tmp_path / f"my-{part}.zip", pets(count))
        else:
            write_folder(tmp_path / part, pets(count))
    train, test = (data.image_folders(tmp_path, part) for part in (True, False))
    assert (len(train), len(test)) == (6, 4)
    assert train.class_names == test.class_names == ("cat", "dog")
    assert not data.holds_cifar10(tmp_path)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_class_folders_alone_are_split_once_for_all(form: str, tmp_path: Path) -> None:
    entries = pets(20)
    place = tmp_path / "pets"
    place = write_folder(place, entries) if form == "folder" else write_zip(place, entries)
    train, test = (data.image_folders(place, part, size=(4, 4)) for part in (True, False))
    assert (len(train), len(test)) == (36, 4)
    assert np.bincount(test.labels).tolist() == [2, 2]
    assert as_set(train).isdisjoint(as_set(test))
    assert as_set(test) == as_set(data.image_folders(place, False, size=(4, 4)))
    whole = data.images(place, size=(4, 4))
    assert as_set(train) | as_set(test) == as_set(whole)


def test_parts_with_other_classes_and_classes_of_one_image_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", pets(2))
    write_folder(tmp_path / "test", {"cow/1.png": png(random_pixels(0, 6, 5, 3))})
    with pytest.raises(DataError, match="test: class folders are cow, expected cat, dog"):
        data.image_folders(tmp_path, train=False)
    with pytest.raises(DataError, match="class 'cat' has 1 image, too few"):
        data.image_folders(write_folder(tmp_path / "few", pets(1)))


def test_cifar10_is_known_by_its_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "binary", cifar_batches())
    for part in ("train", "test"):
        write_folder(tmp_path / "folders" / part, cifar_entries(1))
    assert data.holds_cifar10(tmp_path / "binary") and data.holds_cifar10(tmp_path / "folders")
    alone = write_folder(tmp_path / "alone", cifar_entries(2))
    assert not data.holds_cifar10(alone)
    assert len(data.image_folders(alone, train=False)) == 10


def test_examples_of_some_classes() -> None:
    labels = np.arange(60, dtype=np.int32) % 3
    images = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
    whole = data.ImageDataset(images, labels, ("ant", "bee", "cat"), dtype="uint8")
    some = whole.of_classes(["cat", "ant"], each=5, seed=1)
    assert isinstance(some, data.ImageDataset) and some.class_names == ("cat", "ant")
    values = some.arrays[0].reshape(2, 5)
    assert some.labels.tolist() == [0] * 5 + [1] * 5
    assert (values % 3 == [[2], [0]]).all()
    assert len(set(values.reshape(-1).tolist())) == 10
    assert np.array_equal(whole.of_classes(["cat", "ant"], 5, seed=1).arrays[0], some.arrays[0])
    assert not np.array_equal(whole.of_classes(["cat", "ant"], 5).arrays[0], some.arrays[0])
    with pytest.raises(ArgumentError, match="no class 'cow'; there are ant, bee, cat"):
        whole.of_classes(["cow"])
    with pytest.raises(ArgumentError, match="class 'ant' has 20 examples, asked for 21"):
        whole.of_classes(["ant"], each=21)
    with pytest.raises(ShapeError, match="3 labels for 60 examples"):
        whole.with_labels(np.zeros(3, np.int32))
