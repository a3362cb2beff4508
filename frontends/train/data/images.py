"""Images in class folders, decoded by Pillow once into memory or each time they are asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from graphc.errors import ArgumentError, DataError
from graphc.frontends.train.data.dataset import (
    Array,
    Arrays,
    ImageDataset,
    Indexes,
    finish_images,
    image_dtype,
)
from graphc.frontends.train.data.files import existing
from graphc.frontends.train.data.sources import ClassFolders, class_folders, open_source

if TYPE_CHECKING:
    from PIL.Image import Image

_MODES = {1: "L", 3: "RGB"}


@overload
def images(
    path: str | Path,
    size: tuple[int, int] | None = ...,
    channels: int = ...,
    dtype: str = ...,
    flat: bool = ...,
    lazy: Literal[False] = ...,
) -> ImageDataset: ...


@overload
def images(
    path: str | Path,
    size: tuple[int, int] | None = ...,
    channels: int = ...,
    dtype: str = ...,
    flat: bool = ...,
    *,
    lazy: bool,
) -> ImageDataset | LazyImageDataset: ...


def images(
    path: str | Path,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    dtype: str = "float32",
    flat: bool = False,
    lazy: bool = False,
) -> ImageDataset | LazyImageDataset:
    """Class folders of images, or a zip file of them: (image [C, H, W], int32 label) each.

    Classes are the folders' names in sorted order (`class_names` of the result). `size` (H, W)
    resizes (bilinear); without it all images must be of one size. `channels` is 3 (RGB) or 1
    (grey). dtype float32 gives 0...1, uint8 gives 0...255. `lazy` decodes an image each time it is
    asked for, for sets that do not fit memory.

    Raises DataError naming the file that is missing, cut, no image, or of another size.
    """
    if channels not in _MODES:
        raise ArgumentError(f"images: channels is {channels}, expected 1 (grey) or 3 (RGB)")
    folders = class_folders(open_source(existing(path)))
    lazily = LazyImageDataset(folders, Decoder(folders, size, channels), dtype, flat)
    return lazily if lazy else lazily.decoded()


class Decoder:
    """Decodes image i of class folders as uint8 [C, H, W], all of one size."""

    def __init__(self, folders: ClassFolders, size: tuple[int, int] | None, channels: int) -> None:
        if size is not None and min(size) < 1:
            raise ArgumentError(f"images: size {size} has no pixels; expected (height, width)")
        self._folders = folders
        self._resize = size
        self._channels = channels
        self._expected = size
        self._expected_by = "the argument size"

    def __call__(self, index: int) -> Array:
        name = self._folders.names[index]
        described = self._folders.source.describe(name)
        data = self._folders.source.read(name)
        pixels = decode(data, described, self._channels, self._resize)
        self._check_size(pixels, described)
        return pixels

    def _check_size(self, pixels: Array, name: str) -> None:
        size = (pixels.shape[1], pixels.shape[2])
        if self._expected is None:
            self._expected, self._expected_by = size, name
        if size != self._expected:
            raise DataError(
                f"{name}: is {size[0]}x{size[1]} (height x width), expected "
                f"{self._expected[0]}x{self._expected[1]} as {self._expected_by}; "
                "give size=(height, width) to resize"
            )


def decode(data: bytes, name: str, channels: int = 3, size: tuple[int, int] | None = None) -> Array:
    """The image in the bytes of a file as uint8 [C, H, W], resized (bilinear) to `size` (H, W).

    Raises DataError, which begins with `name`, for bytes that are no whole image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(_converted(image, channels, size))
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{name}: is no whole image: of no known format") from None
    except Exception as error:  # Pillow's plugins raise many types for damaged files
        raise DataError(f"{name}: is no whole image: {error}") from None
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(planes)


def _converted(image: Image, channels: int, size: tuple[int, int] | None) -> Image:
    if size is None or image.size == size[::-1]:
        return image.convert(_MODES[channels])
    return image.convert(_MODES[channels]).resize(size[::-1], resample=2)  # 2: bilinear


class LazyImageDataset:
    """Images of class folders, decoded each time they are asked for."""

    def __init__(self, folders: ClassFolders, decoder: Decoder, dtype: str, flat: bool) -> None:
        self._folders = folders
        self._decode = decoder
        self._labels = np.asarray(folders.labels, np.int32)
        self.class_names = folders.class_names
        self.dtype = image_dtype(dtype)
        self.flat = flat

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Arrays:
        image, label = self.batch(np.asarray([range(len(self))[index]]))
        return image[0], label[0]

    def batch(self, indexes: Indexes) -> Arrays:
        decoded = np.stack([self._decode(int(index)) for index in indexes])
        return finish_images(decoded, self.dtype, self.flat), self._labels[indexes]

    def decoded(self) -> ImageDataset:
        """The same data set with every image decoded now, into one uint8 array."""
        first = self._decode(0)
        pixels = np.empty((len(self), *first.shape), np.uint8)
        for index in range(len(self)):
            pixels[index] = self._decode(index)
        return ImageDataset(pixels, self._labels, self.class_names, self.dtype.name, self.flat)


def relabel(folders: ClassFolders, class_names: Sequence[str]) -> ClassFolders:
    """The same images with label i for class `class_names[i]`; raises DataError for others."""
    if set(folders.class_names) != set(class_names):
        raise DataError(
            f"{folders.source.path}: class folders are {_listed(folders.class_names)}, expected "
            f"{_listed(class_names)}"
        )
    position = {name: label for label, name in enumerate(class_names)}
    order = [position[name] for name in folders.class_names]
    labels = tuple(order[label] for label in folders.labels)
    return ClassFolders(folders.source, tuple(class_names), folders.names, labels)


def _listed(names: Sequence[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")
