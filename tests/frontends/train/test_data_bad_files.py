"""Bad data files: a DataError that names the file and the place, and nothing else."""

from __future__ import annotations

import gzip
import os
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from data_files import (
    cifar_batches,
    cifar_entries,
    cifar_tar,
    idx_bytes,
    mnist_files,
    png,
    random_pixels,
    write_folder,
    write_zip,
    zipped,
)

from graphc import data
from graphc.errors import ArgumentError, DataError, DTypeError

IMAGE = png(random_pixels(0, 32, 32, 3))


def refuse(call: Callable[[], object], *parts: str) -> None:
    """`call` raises DataError with all `parts` in its message and no foreign cause shown."""
    with pytest.raises(DataError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.__cause__ is None and (
        caught.value.__context__ is None or caught.value.__suppress_context__
    )


@pytest.mark.parametrize("read", [data.images, data.cifar10, data.idx, data.csv, data.text])
def test_nothing_there(tmp_path: Path, read: Callable[[Path], object]) -> None:
    refuse(lambda: read(tmp_path / "absent"), "absent", "No such file")
    refuse(lambda: read("a\0b"), "is not a path")  # type: ignore[arg-type]  # str works too


@pytest.mark.parametrize("read", [data.csv, data.text])
def test_a_folder_is_no_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    refuse(lambda: read(tmp_path), str(tmp_path), "Is a directory")


# Images


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    for cut in (0, 10, 60, len(IMAGE) // 2, len(IMAGE) - 40):
        path = write_zip(tmp_path / f"{cut}.zip", {"a/1.png": IMAGE, "a/2.png": IMAGE[:cut]})
        refuse(partial(data.images, path), f"{cut}.zip: entry 'a/2.png'", "no whole image")


def test_images_of_different_sizes(tmp_path: Path) -> None:
    small = png(random_pixels(0, 30, 31, 3))
    path = write_folder(tmp_path, {"a/1.png": IMAGE, "b/2.png": small})
    first, second = str(tmp_path / "a/1.png"), str(tmp_path / "b/2.png")
    refuse(lambda: data.images(path), f"{second}: is 30x31", f"expected 32x32 as {first}")


def test_empty_class_folders(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", {"a/1.png": IMAGE, "b/readme.txt": b""})
    refuse(lambda: data.images(tmp_path / "set"), str(tmp_path / "set" / "b"), "holds no image")
    path = tmp_path / "set.zip"
    write_zip(path, {"a/1.png": IMAGE, "b/": b""})
    refuse(lambda: data.images(path), "entry 'b'", "holds no image")


def test_folders_that_are_no_class_folders(tmp_path: Path) -> None:
    refuse(lambda: data.images(tmp_path), "holds no image; expected class folders")
    write_folder(tmp_path, {"a/1.png": IMAGE, "2.png": IMAGE})
    refuse(lambda: data.images(tmp_path), "2.png: lies in no class folder")
    text = write_folder(tmp_path, {"text": b"words"}) / "text"
    refuse(lambda: data.images(text), "neither a folder nor a whole zip")


def test_zip_cut_anywhere_and_flipped_anywhere(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "whole.zip", {"a/1.png": IMAGE, "b/1.png": IMAGE}).read_bytes()
    path = tmp_path / "bad.zip"
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        refuse(lambda: data.images(path), "bad.zip")
    expected = data.images(tmp_path / "whole.zip", dtype="uint8").arrays[0]
    for position in range(0, len(whole), 13):
        damaged = bytearray(whole)
        damaged[position] ^= 0x20
        path.write_bytes(damaged)
        try:  # a byte that no reader uses, or a name, may change nothing that matters
            images = data.images(path, dtype="uint8").arrays[0]
        except DataError as error:
            assert "bad.zip" in str(error)
        else:
            assert np.array_equal(images, expected) or len(images) < 2


def test_zip_entries_never_reach_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "1.png").write_bytes(IMAGE)
    entries = {"a/1.png": IMAGE, "../secret/1.png": b"", "/etc/1.png": IMAGE}
    path = write_zip(tmp_path / "set.zip", entries)
    before = sorted(tmp_path.rglob("*"))
    opened: list[str] = []
    _watch(opened)
    assert len(data.images(path)) == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert not [name for name in opened if "secret" in name or name.startswith("/etc")]


def _watch(opened: list[str]) -> None:
    import sys

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(note)


def test_a_locked_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/1.png": IMAGE})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag "encrypted", here and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refuse(lambda: data.images(path), "entry 'a/1.png'", "cannot be unpacked")


def test_image_options(tmp_path: Path) -> None:
    path = write_folder(tmp_path, {"a/1.png": IMAGE})
    with pytest.raises(ArgumentError, match="channels is 4"):
        data.images(path, channels=4)
    with pytest.raises(ArgumentError, match="has no pixels"):
        data.images(path, size=(0, 3))
    with pytest.raises(DTypeError, match=r"float32 .* or uint8 .*'float16'"):
        data.images(path, dtype="float16")


# CIFAR-10


def test_cifar_batches_cut(tmp_path: Path) -> None:
    batches = cifar_batches()
    for length in (0, 1, 3072, 3074, 20 * 3073 - 1):
        path = write_folder(
            tmp_path, batches | {"data_batch_2.bin": batches["data_batch_2.bin"][:length]}
        )
        refuse(partial(data.cifar10, path), "data_batch_2.bin", f"is {length} bytes")
        assert len(data.cifar10(path, train=False)) == 10


def test_cifar_labels_out_of_range(tmp_path: Path) -> None:
    batches = cifar_batches()
    wrong = bytearray(batches["test_batch.bin"])
    wrong[3 * 3073] = 10
    path = write_folder(tmp_path, batches | {"test_batch.bin": bytes(wrong)})
    refuse(lambda: data.cifar10(path, train=False), "record 3 (byte 9219) has label 10")


def test_cifar_batches_missing(tmp_path: Path) -> None:
    batches = cifar_batches()
    write_folder(tmp_path / "a", {"data_batch_1.bin": batches["data_batch_1.bin"]})
    refuse(lambda: data.cifar10(tmp_path / "a", train=False), "has no test_batch.bin")
    write_folder(tmp_path / "b", {"data_batch_2.bin": batches["data_batch_1.bin"]})
    refuse(lambda: data.cifar10(tmp_path / "b"), "data_batch numbers [2], expected 1, 2, 3")
    write_folder(tmp_path / "c", {"data_batch_1": b"", "other.txt": b""})
    refuse(lambda: data.cifar10(tmp_path / "c"), "pickled form is not read", "expected a folder")
    write_folder(tmp_path / "d", {"train/airplane/1.png": IMAGE, "test/x.txt": b""})
    refuse(lambda: data.cifar10(tmp_path / "d"), "class folders are airplane, expected airplane, ")
    refuse(lambda: data.cifar10(tmp_path / "d", train=False), "test", "holds no image")


def test_cifar_zips_missing_or_unclear(tmp_path: Path) -> None:
    write_zip(tmp_path / "a-train.zip", cifar_entries(1))
    refuse(lambda: data.cifar10(tmp_path, train=False), "no zip file of the test images")
    write_zip(tmp_path / "b-train.zip", cifar_entries(1))
    refuse(lambda: data.cifar10(tmp_path), "several files", "a-train.zip, b-train.zip")


def test_cifar_images_of_another_size(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", cifar_entries(1, size=16))
    refuse(lambda: data.cifar10(tmp_path), "have 256 pixels, expected 32x32")


def test_cifar_tar_cut_and_flipped(tmp_path: Path) -> None:
    whole = cifar_tar(tmp_path / "whole.tar.gz", cifar_batches()).read_bytes()
    path = tmp_path / "cifar-10-binary.tar.gz"
    for length in (0, 1, 5, 100, len(whole) // 2, len(whole) - 5, len(whole) - 1):
        path.write_bytes(whole[:length])
        refuse(lambda: data.cifar10(path), "cifar-10-binary.tar.gz")
    for position in range(20, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        refuse(lambda: data.cifar10(path), "cifar-10-binary.tar.gz")


def test_cifar_tar_links_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(cifar_batches()["test_batch.bin"])
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
    refuse(lambda: data.cifar10(path, train=False), "holds no data_batch_*.bin")
    refuse(lambda: data.cifar10(secret), "secret.bin: is no gzip file")


# IDX


@pytest.mark.parametrize("packed", [False, True])
def test_idx_cut_anywhere(tmp_path: Path, packed: bool) -> None:
    files = mnist_files(train=2)
    name = "train-images-idx3-ubyte"
    whole = zipped(files[name]) if packed else files[name]
    target = f"{name}.gz" if packed else name
    write_folder(tmp_path, {key: value for key, value in files.items() if key != name})
    for length in [*range(40), *range(40, len(whole), 61)]:
        (tmp_path / target).write_bytes(whole[:length])
        refuse(lambda: data.idx(tmp_path), target)
    (tmp_path / target).write_bytes(whole)
    assert len(data.idx(tmp_path)) == 2


def test_idx_position_of_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "values"
    path.write_bytes(idx_bytes(np.zeros((3, 5), np.uint8))[:-4])
    refuse(
        lambda: data.read_idx(path),
        "values: ends at byte 23, but the values of shape (3, 5) takes bytes 12 to 27",
    )


def test_idx_headers_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "values"
    path.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12 + b"short")
    refuse(lambda: data.read_idx(path), "ends at byte 21")  # and no memory was taken
    path.write_bytes(b"\0\0\x08\xff" + bytes(2000))
    refuse(lambda: data.read_idx(path), "rank 255 at byte 0")
    path.write_bytes(b"\0\0\x0a\x01" + bytes(20))
    refuse(lambda: data.read_idx(path), "type 0x0a")
    path.write_bytes(idx_bytes(np.zeros(3, np.uint8)) + b"more")
    refuse(lambda: data.read_idx(path), "goes on after byte 11")


def test_idx_flipped_checksum(tmp_path: Path) -> None:
    packed = bytearray(zipped(idx_bytes(random_pixels(0, 100))))
    packed[-6] ^= 1
    path = tmp_path / "values.gz"
    path.write_bytes(packed)
    refuse(lambda: data.read_idx(path), "values.gz", "damaged")


def test_idx_files_that_do_not_fit_each_other(tmp_path: Path) -> None:
    files = mnist_files()
    write_folder(tmp_path, files)
    refuse(lambda: data.idx(tmp_path / "train-labels-idx1-ubyte"), "is no folder")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(11, np.uint8)))
    refuse(lambda: data.idx(tmp_path), "has 11 labels", "12 images")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros((12, 1), np.uint8)))
    refuse(lambda: data.idx(tmp_path), "shape (12, 1), expected uint8 of rank 1")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    refuse(lambda: data.idx(tmp_path), "has no train-labels-idx1-ubyte")
    (tmp_path / "x-train-images-idx3-ubyte").write_bytes(b"")
    refuse(lambda: data.idx(tmp_path), "several files that may be the train-images")


# Tables and text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("has no row",)),
        ("a,b\n", ("has no row",)),
        ("1,2\n3,x\n", ("line 2, column 2: 'x' is no finite number",)),
        ("a,b\n1,2\n\n3,\n", ("line 4, column 2 (b): '' is no finite number",)),
        ("1,2\nnan,4\n", ("line 2, column 1: 'nan'",)),
        ("1,2\n3,inf\n", ("line 2, column 2: 'inf'",)),
        ("1,2\n3,4,5\n", ("line 2 has 3 cells, expected 2",)),
        ("1,2\n3\n", ("line 2 has 1 cells, expected 2",)),
        ("1,x\n3,4\n", ("line 1, column 2: 'x'",)),
        ('1,"2\n3,4\n', ("line 1 has", "expected")),
        ("1,2\x00\n", ("line 1",)),
    ],
)
def test_csv_cells(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    if text.startswith('1,"2'):
        parts = ("line 2, column 2",)
    refuse(lambda: data.csv(path), "t.csv", *parts)


def test_csv_labels(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,kind\n1,x\n2,y\n")
    refuse(lambda: data.csv(path, label="sort"), "no column 'sort'; it has a, kind")
    refuse(lambda: data.csv(path, label=2), "has 2 columns, so column 2 (label) is none")
    refuse(lambda: data.csv(path, classes=("x", "z")), "line 3, column 2: 'y' is none of")
    with pytest.raises(ArgumentError, match="one character"):
        data.csv(path, delimiter=", ")


def test_csv_gzip_cut(tmp_path: Path) -> None:
    whole = gzip.compress(b"1,2\n" * 1000)
    path = tmp_path / "t.csv.gz"
    for length in (2, 12, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:length])
        refuse(lambda: data.csv(path), "t.csv.gz", "cut")


def test_text_errors(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"abc\xffdef")
    refuse(lambda: data.text(path), "byte 3 is not UTF-8")
    path.write_bytes(b"")
    refuse(lambda: data.text(path), "no characters")
    path.write_bytes(b"abc" * 10)
    refuse(lambda: data.text(path, length=30), "has 27 codes, expected at least 31")
    refuse(lambda: data.text(path, length=2, vocabulary="ab"), "'c' at position 2")
    with pytest.raises(ArgumentError, match="fraction 2"):
        data.text(path, fraction=2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/1.png": IMAGE})
    path.chmod(0)
    refuse(lambda: data.images(path), "set.zip", "Permission denied")


def test_fixtures_are_whole(tmp_path: Path) -> None:
    """The files the tests above damage are good before that."""
    assert len(data.cifar10(cifar_tar(tmp_path / "x.tar.gz", cifar_batches()))) == 40
    with zipfile.ZipFile(write_zip(tmp_path / "x.zip", cifar_entries(1))) as archive:
        assert archive.testzip() is None
