"""Examples of several lengths: batches padded to the smallest of a declared list of sizes.

A program is compiled for one size. Examples of any length are therefore sorted into buckets, each
with a program of its own, all compiled ahead: `BucketLoader.specs` is what a TrainStep takes.

    loader = data.BucketLoader(examples, 32, buckets=[(100, 4), (200, 8)])
    step = graphc.TrainStep(model, loss, optimizer, buckets=loader.specs)
    graphc.Trainer(step).fit(loader, epochs=10)
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from graphc.errors import ArgumentError, DataError
from graphc.frontends.tracing.spec import Spec
from graphc.frontends.train.data.dataset import Array, Arrays, Dataset, Indexes, as_example
from graphc.frontends.train.data.loader import Loader
from graphc.frontends.train.data.random import Generators, shuffled_batches
from graphc.frontends.train.data.transform import Transform

Bucket: TypeAlias = "tuple[int | None, ...]"
Specs: TypeAlias = "tuple[Spec, ...]"


@runtime_checkable
class MeasuredDataset(Protocol):
    """A data set that knows its lengths without reading its examples."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The first extent of each field of each example, [examples, fields]; 0 for a number."""


class SequenceDataset:
    """Fields whose entries i together are example i; see `sequences`."""

    def __init__(self, fields: Sequence[Sequence[Array]]) -> None:
        self._fields = fields
        self.lengths = np.array([[_extent(p) for p in part] for part in fields], np.int64).T

    def __len__(self) -> int:
        return len(self._fields[0])

    def __getitem__(self, index: int) -> Arrays:
        return tuple(field[index] for field in self._fields)


def sequences(*fields: Sequence[Any]) -> SequenceDataset:
    """A data set of fields that hold one array, of any length, for each example.

    Raises ArgumentError where the fields differ in how many examples they have.

    >>> words = sequences([[1, 2, 3], [4]], [[5], [6, 7]])
    >>> len(words), [part.tolist() for part in words[1]]
    (2, [[4], [6, 7]])
    """
    counts = [len(field) for field in fields]
    if len(set(counts)) != 1:
        raise ArgumentError(f"data.sequences: fields of {counts} examples; expected equal numbers")
    return SequenceDataset([[np.asarray(part) for part in field] for field in fields])


class BucketLoader(Loader):
    """A `Loader` of examples of several lengths, each batch padded to one of `buckets`.

    An example is a tuple of fields. A bucket has one entry for each field: how long it is padded
    along its first dimension, or None for a field that is alike in all examples; where examples
    have one field a bucket may be a number alone. Buckets are ordered, each at least as large as
    the one before in every entry. An example goes to the first bucket that it fits.

    A batch has, for each field, the padded array [N, size, ...], followed by its lengths, int32
    [N], where the field is among `lengths`: True (all padded fields), False, or their numbers.
    `padding` is what the rest is filled with, a number or one for each field.

    Batches hold examples of one bucket, and come in an order of their own where `shuffle` is set;
    what is left of a bucket at the end of an epoch goes into the next larger one, so that an epoch
    has as many batches as a `Loader`'s. Everything depends on (seed, epoch) alone, as there.

    `too_long` says what is done with an example beyond the last bucket: "error", or "drop", which
    leaves it out. `transform` works on padded batches; see `Loader` for the other arguments.

    Raises ArgumentError for buckets that are no such list, DataError for examples beyond them or of
    another form than the first.

    >>> words = sequences([[1, 2], [3], [4, 5, 6]])
    >>> for batch in BucketLoader(words, 2, buckets=[2, 4], shuffle=False):
    ...     print([part.tolist() for part in batch])
    [[[1, 2], [3, 0]], [2, 1]]
    [[[4, 5, 6, 0]], [3]]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        buckets: Sequence[int | Bucket],
        shuffle: bool = True,
        seed: int = 0,
        transform: Transform | Callable[..., Any] | None = None,
        drop_last: bool | None = None,
        *,
        padding: float | Sequence[float] = 0,
        lengths: bool | Sequence[int] = True,
        too_long: str = "error",
    ) -> None:
        if not len(dataset):
            raise ArgumentError("BucketLoader: the data set has no examples")
        self._first = as_example(dataset[0])
        self.buckets = _checked_buckets(buckets, self._first)
        self._padding = _padding_of(padding, len(self._first))
        self._with_lengths = _fields_with_lengths(lengths, self.buckets[0])
        if too_long not in ("error", "drop"):
            raise ArgumentError(f"BucketLoader: too_long is {too_long!r}; expected error or drop")
        sizes = _lengths_of(dataset, len(self._first))
        self._bucket_of = _assigned(sizes, self.buckets)
        if too_long == "error":
            _refuse_too_long(sizes, self._bucket_of, self.buckets)
        super().__init__(dataset, batch_size, shuffle, seed, transform, drop_last)

    @property
    def specs(self) -> tuple[Specs, ...]:
        """The Specs of the batches of each bucket: a TrainStep's `buckets`."""
        return tuple(self._specs(number) for number in range(len(self.buckets)))

    @property
    def counts(self) -> tuple[int, ...]:
        """How many examples each bucket has."""
        return tuple(int((self._bucket_of == n).sum()) for n in range(len(self.buckets)))

    def _specs(self, number: int) -> Specs:
        sizes = self.buckets[number]
        parts = zip(self._first, sizes, strict=True)
        cut = tuple(part if size is None else part[:size] for part, size in parts)
        batch = self._transformed(self._padded([cut], number), 0, np.zeros(1, np.int64))
        return tuple(Spec((self.batch_size, *a.shape[1:]), a.dtype.name) for a in batch)

    def _count(self) -> int:
        return int((self._bucket_of >= 0).sum())

    def _identity(self) -> dict[str, int]:
        text = repr((self.buckets, self._padding, self._with_lengths))
        return {**super()._identity(), "buckets": zlib.crc32(text.encode())}

    def _groups(self, epoch: int) -> Iterator[Indexes]:
        groups = list(self._grouped(self._order(epoch)))
        if not self.shuffle:
            return iter(groups)
        whole = sum(len(group) == self.batch_size for group in groups)
        order = shuffled_batches(self.seed, epoch, whole)
        return iter([*(groups[number] for number in order), *groups[whole:]])

    def _grouped(self, order: Indexes) -> Iterator[Indexes]:
        """Bucket by bucket; what does not fill a batch goes into the next one."""
        rest = order[:0]
        for number in range(len(self.buckets)):
            members = np.concatenate([rest, order[self._bucket_of[order] == number]])
            whole = len(members) - len(members) % self.batch_size
            yield from members[:whole].reshape(-1, self.batch_size)
            rest = members[whole:]
        if len(rest):
            yield rest

    def _batch(self, epoch: int, indexes: Indexes) -> Arrays:
        examples = [as_example(self.dataset[int(index)]) for index in indexes]
        for index, example in zip(indexes, examples, strict=True):
            self._check_example(int(index), example)
        batch = self._padded(examples, int(self._bucket_of[indexes].max()))
        return self._transformed(batch, epoch, indexes)

    def _transformed(self, batch: Arrays, epoch: int, indexes: Indexes) -> Arrays:
        if self.transform is not None:
            batch = self.transform.batch(batch, Generators(self.seed, epoch, indexes))
        return tuple(np.asarray(array, order="C") for array in batch)

    def _padded(self, examples: Sequence[Arrays], number: int) -> Arrays:
        batch: list[Array] = []
        for field, size in enumerate(self.buckets[number]):
            parts = [example[field] for example in examples]
            batch.append(np.stack(parts) if size is None else self._filled(parts, size, field))
            if field in self._with_lengths:
                batch.append(np.array([len(part) for part in parts], np.int32))
        return tuple(batch)

    def _filled(self, parts: Sequence[Array], size: int, field: int) -> Array:
        first = self._first[field]
        shape = (len(parts), size, *first.shape[1:])
        filled = np.full(shape, self._padding[field], first.dtype)
        for row, part in zip(filled, parts, strict=True):
            row[: len(part)] = part
        return filled

    def _check_example(self, index: int, example: Arrays) -> None:
        """Raises DataError for an example unlike the first one, but for its lengths."""
        bucket = self.buckets[0]
        if _form(example, bucket) != _form(self._first, bucket):
            raise DataError(
                f"example {index} is {_shown(example, bucket)}; example 0 is "
                f"{_shown(self._first, bucket)}"
            )


def _form(example: Arrays, bucket: Bucket) -> list[tuple[Any, ...]]:
    """What examples have in common: types and shapes, but for the extents that may differ."""
    if len(example) != len(bucket):
        return [(len(example),)]
    return [
        (part.dtype, part.ndim, *(part.shape if size is None else part.shape[1:]))
        for part, size in zip(example, bucket, strict=True)
    ]


def _shown(example: Arrays, bucket: Bucket) -> str:
    """Types and shapes, with T for the extents that may differ."""
    shown = []
    for field, part in enumerate(example):
        varies = field < len(bucket) and bucket[field] is not None and part.ndim
        extents = ["T", *map(str, part.shape[1:])] if varies else list(map(str, part.shape))
        shown.append(f"{part.dtype}[{','.join(extents)}]")
    return ", ".join(shown)


def _extent(part: Array) -> int:
    return len(part) if part.ndim else 0


def _lengths_of(dataset: Dataset, fields: int) -> NDArray[np.int64]:
    """The lengths [examples, fields]; every example is read where the data set does not know."""
    if isinstance(dataset, MeasuredDataset):
        return np.asarray(dataset.lengths, np.int64)
    found = np.zeros((len(dataset), fields), np.int64)
    for index in range(len(dataset)):
        example = as_example(dataset[index])
        if len(example) != fields:
            raise DataError(f"example {index} has {len(example)} fields, example 0 has {fields}")
        found[index] = [_extent(part) for part in example]
    return found


def _assigned(sizes: NDArray[np.int64], buckets: Sequence[Bucket]) -> NDArray[np.int64]:
    """The first bucket that holds each example, -1 where none does."""
    found = np.zeros(len(sizes), np.int64)
    for field in range(len(buckets[0])):
        limits = [bucket[field] for bucket in buckets]
        if None not in limits:
            found = np.maximum(found, np.searchsorted(limits, sizes[:, field]))  # type: ignore[arg-type]  # no None in them
    return np.where(found < len(buckets), found, -1)


def _refuse_too_long(
    sizes: NDArray[np.int64], bucket_of: NDArray[np.int64], buckets: Sequence[Bucket]
) -> None:
    (beyond,) = np.nonzero(bucket_of < 0)
    if len(beyond):
        raise DataError(
            f"{len(beyond)} of {len(sizes)} examples are longer than the last bucket "
            f"{buckets[-1]}; the first is example {beyond[0]}, of lengths "
            f"{tuple(map(int, sizes[beyond[0]]))} (too_long='drop' leaves them out)"
        )


def _checked_buckets(given: Sequence[int | Bucket], first: Arrays) -> tuple[Bucket, ...]:
    """Raises ArgumentError for what is no ordered list of sizes, an entry for each field."""
    if not isinstance(given, Sequence) or not given:
        raise ArgumentError(f"BucketLoader: buckets is {given!r}; expected a list of sizes")
    buckets = tuple(entry if isinstance(entry, tuple) else (entry,) for entry in given)
    for bucket in buckets:
        if len(bucket) != len(first):
            raise ArgumentError(
                f"BucketLoader: bucket {bucket} has {len(bucket)} entries, but an example has "
                f"{len(first)} fields"
            )
        for field, (size, part) in enumerate(zip(bucket, first, strict=True)):
            _check_size(bucket, field, size, part)
    if all(size is None for size in buckets[0]):
        raise ArgumentError(f"BucketLoader: bucket {buckets[0]} pads no field; use a Loader")
    for smaller, larger in itertools.pairwise(buckets):
        if smaller == larger or not all(map(_fits, smaller, larger)):
            raise ArgumentError(
                f"BucketLoader: bucket {larger} comes after {smaller}; expected each to be larger "
                "than the one before, and no entry smaller"
            )
    return buckets


def _check_size(bucket: Bucket, field: int, size: Any, part: Array) -> None:
    if size is None:
        return
    if not isinstance(size, int | np.integer) or size < 1:
        raise ArgumentError(f"BucketLoader: bucket {bucket}: {size!r} is no length of 1 or more")
    if not part.ndim:
        raise ArgumentError(
            f"BucketLoader: bucket {bucket} pads field {field}, which is a number in example 0; "
            "expected None there"
        )


def _fits(smaller: int | None, larger: int | None) -> bool:
    if smaller is None or larger is None:
        return smaller is larger
    return smaller <= larger


def _padding_of(padding: Any, fields: int) -> tuple[float, ...]:
    values = tuple(padding) if isinstance(padding, Sequence) else (padding,) * fields
    if len(values) != fields:
        raise ArgumentError(f"BucketLoader: padding has {len(values)} numbers for {fields} fields")
    return values


def _fields_with_lengths(lengths: Any, bucket: Bucket) -> frozenset[int]:
    padded = {field for field, size in enumerate(bucket) if size is not None}
    if isinstance(lengths, bool):
        return frozenset(padded if lengths else ())
    if not set(lengths) <= padded:
        raise ArgumentError(f"BucketLoader: lengths is {lengths}; padded fields are {padded}")
    return frozenset(lengths)
