"""The loader: batches of a data set, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, StateError
from graphc.frontends.train.data.dataset import Arrays, Dataset, Indexes, gather
from graphc.frontends.train.data.prefetch import made_ahead
from graphc.frontends.train.data.random import Generators, shuffled
from graphc.frontends.train.data.transform import Transform, as_transform


class Loader:
    """Batches of a data set: tuples of C-contiguous arrays [batch_size, ...].

    Every iteration is one epoch. The order of an epoch, and what a random transform draws for an
    example, depend on (seed, epoch) alone, so a loader can go on in the middle of an epoch bit for
    bit: ``state_dict`` holds `epoch` and `position` (batches already given), ``load_state_dict``
    takes them up. An iteration that was left early counts as an epoch.

    `drop_last` leaves out a last batch that is smaller than `batch_size`; None does so where the
    loader shuffles, since every example then comes in some other epoch.

    With `prefetch` that many batches are made ahead on a thread of their own while the caller works
    with the ones before, which pays where images are decoded or much is done to them. The data set
    and the transform are then called from that thread, one call at a time; the batches stay the
    same to the bit.

    >>> from graphc.frontends.train.data.dataset import arrays
    >>> loader = Loader(arrays(np.arange(5)), batch_size=2, shuffle=False)
    >>> [batch[0].tolist() for batch in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        transform: Transform | Callable[..., Any] | None = None,
        drop_last: bool | None = None,
        prefetch: int = 0,
    ) -> None:
        self.dataset = dataset
        self.batch_size = _whole("batch_size", batch_size, least=1)
        self.shuffle = shuffle
        self.seed = _whole("seed", seed, least=0)
        self.transform = None if transform is None else as_transform(transform)
        self.drop_last = shuffle if drop_last is None else drop_last
        self.prefetch = _whole("prefetch", prefetch, least=0)
        self.epoch = 0
        self.position = 0
        self._is_begun = False
        if len(self) == 0:
            raise ArgumentError(
                f"the data set has {len(dataset)} examples, fewer than one batch of {batch_size}"
            )

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(self._count(), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[Arrays]:
        self.leave_iteration()
        self._is_begun = True
        return self._batches(self.epoch, self.position)

    def _batches(self, epoch: int, start: int) -> Iterator[Arrays]:
        groups = itertools.islice(self._groups(epoch), start, len(self))
        for position, (_, batch) in enumerate(self._made(epoch, groups), start):
            if self.epoch == epoch:  # else a later iteration of this loader counts
                self.position = position + 1
            yield batch
        if self.epoch == epoch:
            self._next_epoch()

    def leave_iteration(self) -> None:
        """Go on to the next epoch where an iteration was begun and left, as the next one would."""
        if self._is_begun:
            self._next_epoch()

    def in_order(self) -> Iterator[Arrays]:
        """Every example once, in the data set's order, the last batch as small as it comes.

        For evaluation and prediction: neither counts as an epoch nor changes `position`.
        """
        return (batch for _, batch in self.indexed())

    def indexed(self) -> Iterator[tuple[Indexes, Arrays]]:
        """`in_order`, each batch with the numbers of its examples."""
        return self._made(self.epoch, self._grouped(np.arange(len(self.dataset))))

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands, and what its order depends on; whole numbers only."""
        return {"epoch": self.epoch, "position": self.position, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a `state_dict`.

        Raises StateError where seed, batch size or data set differ, since the order then would.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise StateError(
                    f"the loader's {name} is {value}, but the state was saved with "
                    f"{state.get(name)}; the order of the data would differ"
                )
        epoch, position = state.get("epoch", -1), state.get("position", -1)
        if epoch < 0 or not 0 <= position <= len(self):
            raise StateError(
                f"epoch {epoch}, position {position} is no place in epochs of {len(self)} batches"
            )
        self.epoch, self.position, self._is_begun = epoch, position, False

    def _identity(self) -> dict[str, int]:
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "examples": self._count(),
            "shuffle": int(self.shuffle),
            "drop_last": int(self.drop_last),
        }

    def _next_epoch(self) -> None:
        self.epoch, self.position, self._is_begun = self.epoch + 1, 0, False

    def _count(self) -> int:
        """How many examples an epoch chooses from."""
        return len(self.dataset)

    def _groups(self, epoch: int) -> Iterator[Indexes]:
        """The examples of each batch of an epoch; a smaller one comes last."""
        return self._grouped(self._order(epoch))

    def _order(self, epoch: int) -> Indexes:
        count = len(self.dataset)
        return shuffled(self.seed, epoch, count) if self.shuffle else np.arange(count)

    def _grouped(self, order: Indexes) -> Iterator[Indexes]:
        """Examples in a given order, batch by batch."""
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def _made(self, epoch: int, groups: Iterable[Indexes]) -> Iterator[tuple[Indexes, Arrays]]:
        """(indexes, batch) of each group of examples, up to `prefetch` of them made ahead."""

        def make(indexes: Indexes) -> tuple[Indexes, Arrays]:
            return indexes, self._batch(epoch, indexes)

        return made_ahead((partial(make, indexes) for indexes in groups), self.prefetch)

    def _batch(self, epoch: int, indexes: Indexes) -> Arrays:
        arrays = gather(self.dataset, indexes)
        if self.transform is not None:
            arrays = self.transform.batch(arrays, Generators(self.seed, epoch, indexes))
        return tuple(np.asarray(array, order="C") for array in arrays)


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"Loader: {name} is {value!r}, expected a whole number") from None
    if not least <= number < 2**63:
        raise ArgumentError(f"Loader: {name} is {number}, expected at least {least}")
    return number
