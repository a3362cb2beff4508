"""Data sets: what a loader reads, and the ones that hold everything in memory.

A data set has a length and gives example i as a tuple of arrays. One that can gather many examples
at once also has ``batch``; the loader uses it where it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphc.errors import ArgumentError, DataError, DTypeError, ShapeError

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = tuple[Array, ...]
Indexes = NDArray[np.int64]


class Dataset(Protocol):
    """What `Loader` needs; a list of tuples of arrays is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any:
        """Example `index`: a tuple of arrays or numbers, or one of them alone."""


@runtime_checkable
class BatchDataset(Protocol):
    """A data set that gathers many examples at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    def batch(self, indexes: Indexes, /) -> Arrays:
        """The examples `indexes`, stacked along a new first dimension."""


def gather(dataset: Dataset, indexes: Indexes) -> Arrays:
    """The examples `indexes` of any data set, stacked. Raises DataError where they differ."""
    if isinstance(dataset, BatchDataset):
        return dataset.batch(indexes)
    examples = [as_example(dataset[int(index)]) for index in indexes]
    return stack(examples, indexes)


def as_example(value: Any) -> Arrays:
    """An example as a tuple of arrays, from a tuple, a list or one value alone."""
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return tuple(np.asarray(part) for part in parts)


def stack(examples: Sequence[Arrays], indexes: Indexes) -> Arrays:
    """Examples stacked part by part; raises DataError naming the first one that differs."""
    first = examples[0]
    for index, example in zip(indexes, examples, strict=True):
        if [part.shape for part in example] != [part.shape for part in first]:
            raise DataError(
                f"example {index} has shapes {_shapes(example)}, but example {indexes[0]} has "
                f"{_shapes(first)}; examples of one batch have equal shapes"
            )
    return tuple(np.stack(parts) for parts in zip(*examples, strict=True))


def _shapes(example: Arrays) -> str:
    return ", ".join(str(part.shape) for part in example)


class ArrayDataset:
    """Arrays of one length N whose entries i together are example i.

    >>> pairs = arrays(np.zeros((10, 3), np.float32), np.arange(10))
    >>> len(pairs), [part.shape for part in pairs[4]]
    (10, [(3,), ()])
    """

    def __init__(self, arrays: Arrays, class_names: Sequence[str] = ()) -> None:
        self._arrays = arrays
        self.class_names = tuple(class_names)

    @property
    def arrays(self) -> Arrays:
        """All examples, as the arrays the loader takes batches from."""
        return self.batch(np.arange(len(self)))

    def __len__(self) -> int:
        return len(self._arrays[0])

    def __getitem__(self, index: int) -> Arrays:
        return tuple(part[0] for part in self.batch(np.asarray([range(len(self))[index]])))

    def batch(self, indexes: Indexes) -> Arrays:
        return tuple(array[indexes] for array in self._arrays)

    @property
    def labels(self) -> Array:
        """The last of the arrays, [N]."""
        return self._arrays[-1]

    def with_labels(self, labels: Array, class_names: Sequence[str] = ()) -> ArrayDataset:
        """The same examples with other labels [N]. Raises ShapeError for another length."""
        if len(labels) != len(self):
            raise ShapeError(f"{len(labels)} labels for {len(self)} examples")
        changed = copy(self)
        changed._arrays = (*self._arrays[:-1], labels)
        changed.class_names = tuple(class_names)
        return changed

    def subset(self, indexes: Indexes) -> ArrayDataset:
        """The examples `indexes`, in that order."""
        chosen = copy(self)
        chosen._arrays = tuple(array[indexes] for array in self._arrays)
        return chosen

    def of_classes(
        self, names: Sequence[str], each: int | None = None, seed: int = 0
    ) -> ArrayDataset:
        """The examples of some classes, whose labels become 0, 1 ... in the order of `names`.

        The labels are the last of the arrays. With `each` it is that many of every class, drawn by
        `seed`. Raises ArgumentError for an unknown class, or one that has fewer.

        >>> whole = ArrayDataset((np.arange(6), np.array([0, 1, 2] * 2)), ("ant", "bee", "cat"))
        >>> [part.tolist() for part in whole.of_classes(["cat", "ant"]).arrays]
        [[2, 5, 0, 3], [0, 0, 1, 1]]
        """
        places = [self._drawn_of(name, each, seed, number) for number, name in enumerate(names)]
        sizes = [len(place) for place in places]
        labels = np.repeat(np.arange(len(names), dtype=self.labels.dtype), sizes)
        return self.subset(np.concatenate(places)).with_labels(labels, names)

    def _drawn_of(self, name: str, each: int | None, seed: int, number: int) -> Indexes:
        """Where the examples of a class are, or `each` of them drawn at random, in order."""
        from graphc.frontends.train.data.random import shuffled  # which reads this module

        if name not in self.class_names:
            known = ", ".join(self.class_names) or "none with a name"
            raise ArgumentError(f"no class {name!r}; there are {known}")
        places = np.flatnonzero(self.labels == self.class_names.index(name))
        if each is None:
            return places
        if not 0 < each <= len(places):
            raise ArgumentError(f"class {name!r} has {len(places)} examples, asked for {each}")
        return places[np.sort(shuffled(seed, number, len(places))[:each])]


class ImageDataset(ArrayDataset):
    """Images of one size as uint8 [N, C, H, W] in memory, and their int32 labels [N].

    With dtype float32 a batch is scaled to 0...1 when it is taken, so that the set itself stays a
    quarter of the size. `flat` gives [N, C*H*W].
    """

    def __init__(
        self,
        images: Array,
        labels: Array,
        class_names: Sequence[str] = (),
        dtype: str = "float32",
        flat: bool = False,
    ) -> None:
        super().__init__((images, labels), class_names)
        self.dtype = image_dtype(dtype)
        self.flat = flat

    def batch(self, indexes: Indexes) -> Arrays:
        images, labels = super().batch(indexes)
        return finish_images(images, self.dtype, self.flat), labels


def image_dtype(dtype: Any) -> np.dtype[Any]:
    """float32 or uint8; raises DTypeError for others."""
    for name in ("float32", "uint8"):
        if dtype in (name, np.dtype(name)):
            return np.dtype(name)
    raise DTypeError(f"images are given as float32 (0 to 1) or uint8 (0 to 255), not {dtype!r}")


def finish_images(images: Array, dtype: np.dtype[Any], flat: bool) -> Array:
    """uint8 images [N, C, H, W] as `dtype`, float32 scaled to 0...1; `flat` as [N, C*H*W]."""
    if dtype == np.float32:
        images = np.divide(images, np.float32(255), dtype=np.float32)
    return images.reshape(len(images), -1) if flat else images


def arrays(*arrays: ArrayLike) -> ArrayDataset:
    """A data set of arrays of one length: entry i of each is example i.

    Raises ShapeError where the lengths differ, DTypeError for arrays of Python objects.

    >>> pairs = arrays(np.float32([[1, 2], [3, 4]]), np.int32([0, 1]))
    >>> len(pairs), [part.tolist() for part in pairs[1]]
    (2, [[3.0, 4.0], 1])
    """
    if not arrays:
        raise ArgumentError("data.arrays takes at least one array")
    parts = tuple(np.asarray(array) for array in arrays)
    for position, part in enumerate(parts):
        _check_array(position, part, parts[0])
    return ArrayDataset(parts)


def _check_array(position: int, part: Array, first: Array) -> None:
    if part.dtype.hasobject or part.dtype.kind not in "fiub":
        raise DTypeError(f"data.arrays: array {position} has element type {part.dtype}, no number")
    if part.ndim == 0:
        raise ShapeError(f"data.arrays: array {position} is a single number, not one per example")
    if len(part) != len(first):
        raise ShapeError(
            f"data.arrays: array {position} has {len(part)} examples, array 0 has {len(first)}"
        )
