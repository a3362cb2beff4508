"""The data sets, each in every form it is published in."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from data_files import (
    CIFAR_CLASSES,
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
from PIL import Image

from graphc import data


def expected_cifar(records: bytes) -> tuple[np.ndarray, np.ndarray]:
    table = np.frombuffer(records, np.uint8).reshape(-1, 3073)
    return table[:, 1:].reshape(-1, 3, 32, 32), table[:, 0]


# Images in class folders


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("form", ["folder", "zip", "wrapped zip"])
def test_images_from_class_folders(tmp_path: Path, form: str, lazy: bool) -> None:
    pixels = {f"{kind}/{i}.png": random_pixels(i, 6, 5, 3) for kind in ("b", "a") for i in (1, 2)}
    entries = {name: png(value) for name, value in pixels.items()}
    entries |= {"a/notes.txt": b"no image", ".hidden/x.png": b"", "a/.x.png": b""}
    if form == "folder":
        path = write_folder(tmp_path / "set", entries)
    else:
        root = "" if form == "zip" else "pictures/"
        mac = {f"__MACOSX/{root}a/._1.png": b"resource fork"}
        path = write_zip(tmp_path / "s.zip", {root + n: d for n, d in entries.items()} | mac)
    dataset = data.images(path, lazy=lazy, dtype="uint8")
    assert dataset.class_names == ("a", "b") and len(dataset) == 4
    for index, name in enumerate(sorted(pixels)):
        image, label = dataset[index]
        assert image.dtype == np.uint8 and np.array_equal(image, pixels[name].transpose(2, 0, 1))
        assert label == (name[0] == "b") and label.dtype == np.int32
    ((x, y),) = data.Loader(data.images(path, lazy=lazy), 4, shuffle=False)
    assert x.dtype == np.float32 and x.shape == (4, 3, 6, 5) and y.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(x[0, 0], pixels["a/1.png"][..., 0].astype(np.float32) / 255)


def test_images_resized_and_grey(tmp_path: Path) -> None:
    entries = {"a/1.png": png(random_pixels(0, 9, 7, 3)), "b/2.png": png(random_pixels(1, 4, 5))}
    path = write_folder(tmp_path, entries)
    assert data.images(path, size=(8, 6)).batch(np.arange(2))[0].shape == (2, 3, 8, 6)
    grey = data.images(path, size=(8, 6), channels=1, flat=True)
    assert grey[0][0].shape == (48,)


def test_images_in_linked_folders(tmp_path: Path) -> None:
    real = write_folder(tmp_path / "real", {"1.png": png(random_pixels(0, 4, 4, 3))})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a").symlink_to(real)
    (tmp_path / "set" / "b").mkdir()
    (tmp_path / "set" / "b" / "1.png").write_bytes(png(random_pixels(1, 4, 4, 3)))
    assert len(data.images(tmp_path / "set")) == 2
    (real / "loop").symlink_to(tmp_path / "set")
    assert len(data.images(tmp_path / "set")) == 2


# CIFAR-10


def place_cifar(folder: Path, form: str, batches: dict[str, bytes]) -> Path:
    folder.mkdir()
    (folder / "readme.txt").write_text("other files are ignored")
    if form == "bin":
        return write_folder(folder, batches)
    if form == "unpacked":
        write_folder(folder / "cifar-10-batches-bin", batches)
        return folder
    archive = cifar_tar(folder / "cifar-10-binary.tar.gz", batches)
    return archive if form == "tar file" else folder


@pytest.mark.parametrize("form", ["bin", "unpacked", "tar file", "tar in folder"])
def test_cifar10_binary(tmp_path: Path, form: str) -> None:
    batches = cifar_batches()
    path = place_cifar(tmp_path / "cifar", form, batches)
    images, labels = expected_cifar(batches["data_batch_1.bin"] + batches["data_batch_2.bin"])
    x, y = data.cifar10(path, dtype="uint8").arrays
    assert np.array_equal(x, images) and x.dtype == np.uint8
    assert np.array_equal(y, labels) and y.dtype == np.int32
    x, y = data.cifar10(str(path), train=False).arrays
    images, labels = expected_cifar(batches["test_batch.bin"])
    np.testing.assert_array_equal(x, images.astype(np.float32) / 255)
    assert x.dtype == np.float32 and np.array_equal(y, labels)


@pytest.mark.parametrize("form", ["zips", "folders"])
def test_cifar10_class_folders(tmp_path: Path, form: str) -> None:
    for part, each, seed in (("train", 2, 0), ("test", 1, 5000)):
        entries = cifar_entries(each, seed)
        if form == "zips":
            write_zip(tmp_path / f"cifar10-{part}.zip", dict(reversed(entries.items())))
        else:
            write_folder(tmp_path / part, entries)
    train, test = data.cifar10(tmp_path), data.cifar10(tmp_path, train=False, flat=True)
    assert train.class_names == CIFAR_CLASSES
    x, y = train.arrays
    assert x.shape == (20, 3, 32, 32) and y.tolist() == [label // 2 for label in range(20)]
    expected = random_pixels(101, 32, 32, 3).transpose(2, 0, 1).astype(np.float32) / 255
    np.testing.assert_array_equal(x[3], expected)
    assert test.arrays[0].shape == (10, 3072)


def test_cifar10_prefers_the_zip_named_cifar(tmp_path: Path) -> None:
    write_zip(tmp_path / "cifar10-train.zip", cifar_entries(1))
    write_zip(tmp_path / "speech-train.zip", {"a/1.png": b""})
    assert len(data.cifar10(tmp_path)) == 10


def test_cifar10_as_published(published: Path) -> None:
    test = data.cifar10(published, train=False)
    x, y = test.arrays
    assert x.shape == (10000, 3, 32, 32) and x.min() >= 0 and x.max() <= 1
    assert np.bincount(y).tolist() == [1000] * 10
    # The mean colour of CIFAR-10, as everyone normalises with it.
    np.testing.assert_allclose(x.mean((0, 2, 3)), (0.4942, 0.4851, 0.4504), atol=2e-3)


# IDX


@pytest.mark.parametrize("form", ["plain", "gz", "raw folder", "dotted"])
def test_idx(tmp_path: Path, form: str) -> None:
    files = mnist_files()
    if form == "gz":
        files = {f"{name}.gz": zipped(value) for name, value in files.items()}
    if form == "raw folder":
        files = {f"MNIST/raw/{name}": value for name, value in files.items()}
    if form == "dotted":
        files = {name.replace("-idx", ".idx"): value for name, value in files.items()}
    path = write_folder(tmp_path, files)
    x, y = data.idx(path, dtype="uint8").arrays
    assert np.array_equal(x[:, 0], random_pixels(0, 12, 28, 28)) and x.shape == (12, 1, 28, 28)
    assert np.array_equal(y, random_pixels(0, 12) % 10) and y.dtype == np.int32
    x, _ = data.idx(path, train=False, flat=True).arrays
    expected = random_pixels(1, 5, 28, 28).reshape(5, 784).astype(np.float32) / 255
    np.testing.assert_array_equal(x, expected)


def test_read_idx_types(tmp_path: Path) -> None:
    values = np.arange(6, dtype=">i4").reshape(2, 3)
    path = tmp_path / "values"
    path.write_bytes(b"\0\0\x0c\2" + np.array([2, 3], ">u4").tobytes() + values.tobytes())
    result = data.read_idx(path)
    assert result.tolist() == [[0, 1, 2], [3, 4, 5]] and result.dtype == np.int32
    path.write_bytes(idx_bytes(np.zeros((0, 3), np.uint8)))
    assert data.read_idx(path).shape == (0, 3)


# Tables


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "1,2.5,0\n3,-4e1,1\n\n5,6,2\n")
    x, y = data.csv(path).arrays
    assert x.tolist() == [[1, 2.5], [3, -40], [5, 6]] and x.dtype == np.float32
    assert y.tolist() == [0, 1, 2] and y.dtype == np.int32
    (x,) = data.csv(path, label=None, dtype="float64").arrays
    assert x.shape == (3, 3) and x.dtype == np.float64
    _, y = data.csv(path, label=1).arrays
    assert y.tolist() == [2.5, -40, 6] and y.dtype == np.float32


def test_csv_with_a_header_and_names(tmp_path: Path) -> None:
    text = "\ufeffkind;size\nlarge;2\nsmall;1\nlarge;3\n"
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    table = data.csv(path, label="kind", delimiter=";", classes=("small", "large"))
    x, y = table.arrays
    assert x.tolist() == [[2], [1], [3]] and y.tolist() == [1, 0, 1]
    assert table.class_names == ("small", "large")


def test_csv_header_can_be_said(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "1,2\n3,4\n")
    assert len(data.csv(path, header=True)) == 1
    assert data.csv(path, header=True, label="1").arrays[0].tolist() == [[4]]


def test_digits() -> None:
    train, test = data.digits(), data.digits(train=False)
    assert (len(train), len(test)) == (1437, 360)
    x, y = train.arrays
    assert x.shape == (1437, 3, 32, 32) and x.dtype == np.float32 and y.dtype == np.int32
    flat, labels = data.digits(flat=True).arrays
    assert flat.shape == (1437, 64) and flat.min() == 0 and flat.max() == 1
    assert np.array_equal(labels, y) and labels[:5].tolist() == [0, 1, 2, 3, 4]
    for row, column in ((0, 0), (9, 17), (31, 31)):
        pixel = flat[:, 8 * (row // 4) + column // 4]
        assert all(np.array_equal(x[:, channel, row, column], pixel) for channel in range(3))


def test_digits_carry_source_and_licence() -> None:
    import graphc.models.digits as digits

    (place,) = digits.__path__
    text = (Path(place) / "SOURCE.txt").read_text()
    assert "CC BY 4.0" in text and "Alpaydin" in text


# Text


def test_text_windows(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "abcabcabca" * 2)
    train, test = data.text(path, length=3, fraction=0.5), data.text(path, 3, False, 0.5)
    assert train.vocabulary == "abc" and len(train) == len(test) == 7
    x, following = train[1]
    assert train.decode(x) == "bca" and train.decode(following) == "cab"
    x, following = train[-1]
    assert train.decode(np.append(x, following[-1])) == "abca"
    assert x.dtype == np.int32 and train.encode("cab").tolist() == [2, 0, 1]
    strided = data.text(path, length=3, fraction=0.5, stride=3)
    assert [strided.decode(strided[i][0]) for i in range(len(strided))] == ["abc", "abc", "abc"]
    batch, _ = train.batch(np.array([0, 6]))
    assert batch.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_text_of_any_script_and_a_given_vocabulary(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "żółw 𝄞 日本" * 3)
    dataset = data.text(path, length=4, fraction=1.0)
    assert dataset.decode(dataset.codes) == "żółw 𝄞 日本" * 3
    backwards = data.text(path, length=4, vocabulary=dataset.vocabulary[::-1])
    assert backwards.decode(backwards.encode("本 𝄞")) == "本 𝄞"


def test_text_as_published(published: Path) -> None:
    dataset = data.text(published / "tinyshakespeare.txt", length=64)
    assert len(dataset.vocabulary) == 65
    assert dataset.decode(dataset[0][0]).startswith("First Citizen:\nBefore we proceed")


def test_images_as_jpeg(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 4
    stream = io.BytesIO()
    Image.fromarray(smooth).save(stream, "JPEG", quality=95)
    path = write_folder(tmp_path, {"a/1.JPG": stream.getvalue()})
    image, _ = data.images(path, channels=1, dtype="uint8")[0]
    assert np.abs(image[0].astype(int) - smooth).max() <= 4
