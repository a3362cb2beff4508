"""Augmentation of images: flips, crops, colours, squares cut out, and normalisation.

Each works on a whole batch, float (0...1) or uint8 (0...255) [N, C, H, W], in NumPy, and leaves the
other arrays of the batch alone. What it draws for an example follows from (seed, epoch, example),
so an epoch is the same whatever the batch size, and after a resume. Names and meanings are
torchvision's where it has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.train.data.dataset import Array
from graphc.frontends.train.data.random import Generators
from graphc.frontends.train.data.transform import Transform

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green, blue; ITU-R BT.601


class RandomHorizontalFlip(Transform):
    """Mirror an image left to right with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability("RandomHorizontalFlip", p)

    def images(self, images: Array, generators: Generators) -> Array:
        chosen = generators.uniforms(1)[:, 0] < self.p
        flipped = images.copy()
        flipped[chosen] = images[chosen, :, :, ::-1]
        return flipped


class RandomCrop(Transform):
    """Pad an image with `fill` on every side and cut `size` (H, W) out at a random place.

    Without `size` the image keeps its own: with ``padding=4`` on 32x32, the usual augmentation of
    CIFAR-10 (K. He et al., "Deep Residual Learning", 2016, section 4.2).
    """

    def __init__(
        self, size: int | tuple[int, int] | None = None, padding: int = 0, fill: float = 0
    ) -> None:
        self.size = (int(size), int(size)) if isinstance(size, int | np.integer) else size
        if padding < 0 or not (self.size is None or _is_size(self.size)):
            raise ArgumentError(f"RandomCrop: size {size} with padding {padding} is no crop")
        self.padding = padding
        self.fill = fill

    def images(self, images: Array, generators: Generators) -> Array:
        height, width = images.shape[2:]
        crop = self.size or (height, width)
        room = (height + 2 * self.padding - crop[0], width + 2 * self.padding - crop[1])
        if min(room) < 0:
            raise ShapeError(
                f"RandomCrop: a {crop[0]}x{crop[1]} crop does not fit images of {height}x{width} "
                f"with padding {self.padding}"
            )
        places = generators.whole_numbers(room[0] + 1, room[1] + 1).tolist()
        padded = self._padded(images)
        result = np.empty((*images.shape[:2], *crop), images.dtype)
        for cut, image, (top, left) in zip(result, padded, places, strict=True):
            cut[...] = image[:, top : top + crop[0], left : left + crop[1]]
        return result

    def _padded(self, images: Array) -> Array:
        if not self.padding:
            return images
        count, channels, height, width = images.shape
        side = self.padding
        fill = _filling("RandomCrop", self.fill, images)
        padded = np.full((count, channels, height + 2 * side, width + 2 * side), fill, images.dtype)
        padded[:, :, side : side + height, side : side + width] = images
        return padded


class Cutout(Transform):
    """Fill a square of `size` pixels around a random pixel; what lies outside is left off.

    T. DeVries, G. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
    2017; 16 pixels for CIFAR-10. After `Normalize` a fill of 0 is the mean.
    """

    def __init__(self, size: int, fill: float = 0) -> None:
        if size < 1:
            raise ArgumentError(f"Cutout: size is {size}, expected at least 1")
        self.size = size
        self.fill = fill

    def images(self, images: Array, generators: Generators) -> Array:
        height, width = images.shape[2:]
        centres = generators.whole_numbers(height, width)
        rows = self._reaches(centres[:, :1], height)
        columns = self._reaches(centres[:, 1:], width)
        square = rows[:, None, :, None] & columns[:, None, None, :]
        return np.where(square, _filling("Cutout", self.fill, images), images)

    def _reaches(self, centres: Array, extent: int) -> Array:
        """Which of `extent` positions the squares around centres [N, 1] cover: bool [N, extent]."""
        first = centres - self.size // 2
        positions = np.arange(extent)
        covered: Array = (positions >= first) & (positions < first + self.size)
        return covered


class ColorJitter(Transform):
    """Change brightness, contrast and saturation, each by a random factor, in this order.

    An option b draws a factor from max(0, 1 - b) to 1 + b, a pair (low, high) from there; 0 leaves
    the property alone. Brightness mixes an image with black, contrast with its mean grey,
    saturation with its own grey picture. Values stay within 0...1, or 0...255 for uint8. Images
    of one channel have no saturation to change.
    """

    def __init__(
        self,
        brightness: float | tuple[float, float] = 0,
        contrast: float | tuple[float, float] = 0,
        saturation: float | tuple[float, float] = 0,
    ) -> None:
        self.brightness = _factors("brightness", brightness)
        self.contrast = _factors("contrast", contrast)
        self.saturation = _factors("saturation", saturation)

    def images(self, images: Array, generators: Generators) -> Array:
        if images.shape[1] not in (1, 3):
            raise ShapeError(f"ColorJitter: takes 1 or 3 channels, given {images.shape[1]}")
        is_bytes = images.dtype == np.uint8
        most = 255.0 if is_bytes else 1.0
        result = images.astype(np.float32)
        drawn = generators.uniforms(3).astype(np.float32)
        if self.brightness:
            result = _mixed(result, np.float32(0), self.brightness, drawn[:, 0], most)
        if self.contrast:
            mean = _grey(result).mean(axis=(1, 2, 3), keepdims=True)
            result = _mixed(result, mean, self.contrast, drawn[:, 1], most)
        if self.saturation:
            result = _mixed(result, _grey(result), self.saturation, drawn[:, 2], most)
        return np.rint(result).astype(np.uint8) if is_bytes else result


def _grey(images: Array) -> Array:
    """[N, 1, H, W] from [N, 3, H, W] or [N, 1, H, W]."""
    if images.shape[1] == 1:
        return images
    grey: Array = np.einsum("nchw,c->nhw", images, _GREY)
    return grey[:, None]


def _mixed(
    images: Array,
    other: Array | np.float32,
    factors: tuple[float, float],
    drawn: Array,
    most: float,
) -> Array:
    """factor * image + (1 - factor) * other, within 0...most; a factor for each image."""
    low, high = factors
    factor = (low + (high - low) * drawn).astype(np.float32)[:, None, None, None]
    mixed: Array = np.clip(other + factor * (images - other), np.float32(0), np.float32(most))
    return mixed


class Normalize(Transform):
    """(image - mean) / std for each channel, float32; uint8 images are taken as 0...1."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean = np.asarray(mean, np.float32).reshape(-1, 1, 1)
        self.std = np.asarray(std, np.float32).reshape(-1, 1, 1)
        if self.mean.shape != self.std.shape or not (self.std > 0).all():
            raise ArgumentError(
                f"Normalize: mean {mean} and std {std}; expected one number a channel for each, "
                "std above 0"
            )

    def images(self, images: Array, generators: Generators) -> Array:
        if len(self.mean) not in (1, images.shape[1]):
            raise ShapeError(
                f"Normalize: has {len(self.mean)} channels, images have {images.shape[1]}"
            )
        if images.dtype == np.uint8:
            images = np.divide(images, np.float32(255), dtype=np.float32)
        normal: Array = images.astype(np.float32, copy=False) - self.mean
        normal /= self.std
        return normal


def _is_size(size: Any) -> bool:
    """Whether it is a height and a width of at least 1."""
    return isinstance(size, Sequence) and len(size) == 2 and min(size) >= 1


def _filling(transform: str, fill: float, images: Array) -> Array:
    """`fill` in the images' type. Raises ArgumentError where bytes have no such value."""
    if images.dtype == np.uint8 and fill not in range(256):
        raise ArgumentError(f"{transform}: fill is {fill}, images are bytes; expected 0 to 255")
    return np.asarray(fill, images.dtype)


def _probability(transform: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ArgumentError(f"{transform}: p is {p}, expected a probability")
    return p


def _factors(name: str, option: float | tuple[float, float]) -> tuple[float, float] | None:
    """The smallest and the largest factor of an option; None where it changes nothing."""
    pair = option if isinstance(option, tuple) else (max(0.0, 1 - option), 1 + option)
    if not 0 <= pair[0] <= pair[1] or (not isinstance(option, tuple) and option < 0):
        raise ArgumentError(
            f"ColorJitter: {name} is {option}, expected a number from 0 or a pair 0 <= low <= high"
        )
    return None if pair == (1, 1) else pair
