"""Small data files in every form the loaders read."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 pixels [H, W, 3] or [H, W]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def random_pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def write_folder(path: Path, entries: dict[str, bytes]) -> Path:
    for name, data in entries.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path


def cifar_entries(per_class: int, seed: int = 0, size: int = 32) -> dict[str, bytes]:
    return {
        f"{name}/{number:04d}.png": png(random_pixels(seed + 100 * label + number, size, size, 3))
        for label, name in enumerate(CIFAR_CLASSES)
        for number in range(per_class)
    }


def cifar_records(count: int, seed: int) -> bytes:
    records = random_pixels(seed, count, 3073)
    records[:, 0] %= 10
    return records.tobytes()


def cifar_batches() -> dict[str, bytes]:
    """Two batches of 20 and a test batch of 10 records, by file name."""
    return {
        "data_batch_1.bin": cifar_records(20, 1),
        "data_batch_2.bin": cifar_records(20, 2),
        "test_batch.bin": cifar_records(10, 3),
    }


def cifar_tar(path: Path, batches: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in {"readme.html": b"<p>", **batches}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file of a uint8 array."""
    extents = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes((0, 0, 8, array.ndim)) + extents + array.tobytes()


def mnist_files(train: int = 12, test: int = 5) -> dict[str, bytes]:
    files = {}
    for part, count, seed in (("train", train, 0), ("t10k", test, 1)):
        files[f"{part}-images-idx3-ubyte"] = idx_bytes(random_pixels(seed, count, 28, 28))
        files[f"{part}-labels-idx1-ubyte"] = idx_bytes(random_pixels(seed, count) % 10)
    return files


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)
