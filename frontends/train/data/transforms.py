"""What is done to examples between the data set and the batch.

A transform is a function of one example, ``transform(*example)`` or, where it has a parameter
``generator``, ``transform(*example, generator=...)`` with a ``numpy.random.Generator`` that depends
on (seed, epoch, example) alone; it returns the new example. The classes here work on whole batches
of images, float or uint8 [N, C, H, W], and leave the other arrays alone; names and meanings are
torchvision's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.train.data.dataset import Array, Arrays, as_example, stack
from graphc.frontends.train.data.random import Generators


class Transform:
    """A transform of whole batches; it may also be called by hand, on images alone.

    >>> Normalize([0.5], [0.25])(np.full((1, 2, 2), 1.0)).tolist()
    [[[2.0, 2.0], [2.0, 2.0]]]
    """

    def __call__(self, images: Any, seed: int = 0) -> Array:
        """One image [C, H, W], or several [N, C, H, W], transformed; draws follow from `seed`."""
        array = np.asarray(images)
        several = array[None] if array.ndim == 3 else array
        generators = Generators(seed, 0, np.arange(len(several)))
        result, *_ = self.batch((several,), generators)
        return result[0] if array.ndim == 3 else result

    def batch(self, arrays: Arrays, generators: Generators) -> Arrays:
        """The new arrays [N, ...]; example i may draw from ``generators[i]`` only."""
        images, *others = arrays
        if images.ndim != 4:
            raise ShapeError(
                f"{type(self).__name__}: takes images [N, C, H, W], given shape {images.shape}"
            )
        return (self.images(images, generators), *others)

    def images(self, images: Array, generators: Generators) -> Array:
        """The new images [N, C, H, W]."""
        raise NotImplementedError


class PerExample(Transform):
    """A function of one example, done to each of a batch."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._is_random = "generator" in inspect.signature(function).parameters

    def batch(self, arrays: Arrays, generators: Generators) -> Arrays:
        examples = [
            self._one(tuple(array[position] for array in arrays), generators, position)
            for position in range(len(arrays[0]))
        ]
        return stack(examples, np.arange(len(examples)))

    def _one(self, example: Arrays, generators: Generators, position: int) -> Arrays:
        if self._is_random:
            return as_example(self._function(*example, generator=generators[position]))
        return as_example(self._function(*example))


class Compose(Transform):
    """Transforms one after the other."""

    def __init__(self, transforms: Sequence[Transform | Callable[..., Any]]) -> None:
        self.transforms = tuple(as_transform(transform) for transform in transforms)

    def batch(self, arrays: Arrays, generators: Generators) -> Arrays:
        for transform in self.transforms:
            arrays = transform.batch(arrays, generators)
        return arrays


class RandomHorizontalFlip(Transform):
    """Mirror an image left to right with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ArgumentError(f"RandomHorizontalFlip: p is {p}, expected a probability")
        self.p = p

    def images(self, images: Array, generators: Generators) -> Array:
        chosen = np.array([generators[i].random() < self.p for i in range(len(images))], bool)
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
        self.size = (size, size) if isinstance(size, int) else size
        if padding < 0 or (self.size is not None and min(self.size) < 1):
            raise ArgumentError(f"RandomCrop: size {size} with padding {padding} is no crop")
        self.padding = padding
        self.fill = fill

    def images(self, images: Array, generators: Generators) -> Array:
        count, channels, height, width = images.shape
        crop = self.size or (height, width)
        room = (height + 2 * self.padding - crop[0], width + 2 * self.padding - crop[1])
        if min(room) < 0:
            raise ShapeError(
                f"RandomCrop: a {crop[0]}x{crop[1]} crop does not fit images of {height}x{width} "
                f"with padding {self.padding}"
            )
        padded = self._padded(images)
        result = np.empty((count, channels, *crop), images.dtype)
        for i in range(count):
            top, left = generators[i].integers(0, (room[0] + 1, room[1] + 1))
            result[i] = padded[i, :, top : top + crop[0], left : left + crop[1]]
        return result

    def _padded(self, images: Array) -> Array:
        side = (self.padding, self.padding)
        return np.pad(images, ((0, 0), (0, 0), side, side), constant_values=self.fill)


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
        return ((images - self.mean) / self.std).astype(np.float32, copy=False)


def as_transform(transform: Transform | Callable[..., Any]) -> Transform:
    """A Transform from one, or from a function of one example."""
    if isinstance(transform, Transform):
        return transform
    if not callable(transform):
        raise ArgumentError(f"a transform is a function of an example, not {transform!r}")
    return PerExample(transform)
