"""What is done to examples between the data set and the batch.

A transform is a function of one example, ``transform(*example)`` or, where it has a parameter
``generator``, ``transform(*example, generator=...)`` with a ``numpy.random.Generator`` that follows
from (seed, epoch, example) alone; it returns the new example. The transforms of `image_transforms`
work on whole batches.
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

    >>> from graphc.data import transforms
    >>> transforms.Normalize([0.5], [0.25])(np.full((1, 2, 2), 1.0)).tolist()
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


def as_transform(transform: Transform | Callable[..., Any]) -> Transform:
    """A Transform from one, or from a function of one example."""
    if isinstance(transform, Transform):
        return transform
    if not callable(transform):
        raise ArgumentError(f"a transform is a function of an example, not {transform!r}")
    return PerExample(transform)
