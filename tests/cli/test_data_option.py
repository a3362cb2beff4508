"""`graphc train MODEL --data PATH` on small files in every published form, and on broken ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from data_files import (
    cifar_batches,
    cifar_entries,
    cifar_tar,
    mnist_files,
    write_folder,
    write_zip,
    zipped,
)

from graphc.cli.main import main
from graphc.models.registry import find
from graphc.models.resnet20 import MEAN, STD

RESULT = re.compile(r"test accuracy [01]\.\d{4}")


def images_as(form: str, folder: Path) -> Path:
    """A folder, or the file in it, with CIFAR-10 in one of its forms."""
    if form == "binary":
        return write_folder(folder, cifar_batches())
    if form == "published folder":
        return write_folder(folder / "cifar-10-batches-bin", cifar_batches()).parent
    if form == "tar":
        return cifar_tar(folder / "cifar-10-binary.tar.gz", cifar_batches())
    parts = {"train": cifar_entries(2), "test": cifar_entries(1, seed=9)}
    for part, entries in parts.items():
        if form == "zips":
            write_zip(folder / f"cifar10-{part}.zip", entries)
        else:
            write_folder(folder / part, entries)
    (folder / "notes.txt").write_text("other files are ignored")
    return folder


def train(model: str, data: Path, out: Path, batch_size: int = 8) -> int:
    arguments = ["train", model, "--data", str(data), "--out", str(out), "--epochs", "1"]
    return main([*arguments, "--batch-size", str(batch_size), "--threads", "1"])


@pytest.mark.parametrize("form", ["binary", "published folder", "tar", "zips", "class folders"])
def test_cifar_cnn_takes_every_form(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    assert train("cifar-cnn", images_as(form, data), tmp_path / "run") == 0
    assert RESULT.fullmatch(capsys.readouterr().out.splitlines()[-1])


def test_resnet20_takes_the_same_flipped_cropped_and_normalised(tmp_path: Path) -> None:
    images_as("binary", tmp_path)
    step, training, test = find("resnet20").make(str(tmp_path), batch_size=4, epochs=3)
    assert step.optimizer.lr.total_steps == 3 * 10
    (x, y), (whole, _) = next(iter(training)), next(iter(test))
    assert (x.shape, y.shape, str(x.dtype), str(y.dtype)) == (
        (4, 3, 32, 32),
        (4,),
        "float32",
        "int32",
    )
    lowest = -np.divide(MEAN, STD)
    assert np.allclose(whole.min(axis=(0, 2, 3)), lowest, atol=0.05)
    assert (np.abs(x - lowest.reshape(3, 1, 1)) < 1e-6).mean() > 0.02  # what a crop brings in


@pytest.mark.parametrize("form", ["plain", "gzip", "torchvision"])
def test_mlp_takes_mnist(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = mnist_files()
    if form != "plain":
        files = {f"{name}.gz": zipped(data) for name, data in files.items()}
    place = tmp_path / "data" / ("MNIST/raw" if form == "torchvision" else "")
    write_folder(place, files)
    assert train("mlp", tmp_path / "data", tmp_path / "run") == 0
    assert RESULT.fullmatch(capsys.readouterr().out.splitlines()[-1])


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2 - 5]


BROKEN = {
    "cut images": ("mlp", "train-images-idx3-ubyte", cut, "train-images-idx3-ubyte: .*the values"),
    "no idx": ("mlp", "t10k-labels-idx1-ubyte", lambda data: b"text" * 9, "no IDX file"),
    "cut gzip": ("mlp", "train-labels-idx1-ubyte", lambda d: cut(zipped(d)), "ends? early|cut"),
    "cut batch": ("cifar-cnn", "data_batch_2.bin", cut, r"data_batch_2\.bin: .* is cut at byte"),
    "label": ("cifar-cnn", "test_batch.bin", lambda d: b"\x0b" + d[1:], "has label 11"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named_in_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, name, breaks, told = BROKEN[case]
    files = mnist_files() if model == "mlp" else cifar_batches()
    files[name] = breaks(files[name])
    assert train(model, write_folder(tmp_path / "data", files), tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert re.search(told, error)
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("model", "told"), [("mlp", "train-images-idx3"), ("resnet20", "CIFAR")])
def test_a_folder_of_something_else_says_what_is_expected(
    model: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    assert train(model, tmp_path, tmp_path / "run") == 2
    assert told in capsys.readouterr().err
