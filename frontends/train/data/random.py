"""Random numbers for data, counter-based, so that any position of any epoch can be reached at once.

A Philox-4x64 generator (J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011)
has the key (seed, epoch). The top word of its 256-bit counter says what the numbers are for, the
next one which example, and the two below count, so no two streams meet.
"""

from __future__ import annotations

import numpy as np

from graphc.frontends.train.data.dataset import Indexes

_ORDER, _EXAMPLE = 0, 1


def _philox(seed: int, epoch: int, purpose: int, example: int = 0) -> np.random.Philox:
    return np.random.Philox(
        key=np.array([seed, epoch], np.uint64),
        counter=np.array([0, 0, example, purpose], np.uint64),
    )


def shuffled(seed: int, epoch: int, count: int) -> Indexes:
    """0...count-1 in the order of an epoch.

    A stable sort of raw 64-bit draws: NumPy promises the raw stream of a bit generator for ever,
    but not the stream of ``Generator.permutation``.
    """
    draws = _philox(seed, epoch, _ORDER).random_raw(count)
    return np.argsort(draws, kind="stable").astype(np.int64, copy=False)


class Generators:
    """The random generator of each example of a batch, made when it is first asked for."""

    def __init__(self, seed: int, epoch: int, indexes: Indexes) -> None:
        self._seed, self._epoch, self._indexes = seed, epoch, indexes
        self._made: dict[int, np.random.Generator] = {}

    def __len__(self) -> int:
        return len(self._indexes)

    def __getitem__(self, position: int) -> np.random.Generator:
        """The generator of the example at `position` of the batch; the same one every time."""
        if position not in self._made:
            example = int(self._indexes[position])
            philox = _philox(self._seed, self._epoch, _EXAMPLE, example)
            self._made[position] = np.random.Generator(philox)
        return self._made[position]
