"""Random numbers for data, counter-based, so that any position of any epoch can be reached at once.

A Philox-4x64 generator (J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011)
has the key (seed, epoch). The top word of its 256-bit counter says what the numbers are for, the
next one which example, and the two below count, so no two streams meet.

Transforms that work on whole batches take a lighter one, since to set up a Philox generator for
each image costs more than what is done to the image: word n of SplitMix64 (G. Steele, D. Lea,
C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014), whose state is a counter too,
begun at a Philox draw of (seed, epoch).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graphc.errors import ArgumentError
from graphc.frontends.train.data.dataset import Array, Indexes

_ORDER, _EXAMPLE, _BATCH, _BATCHES = 0, 1, 2, 3
_DRAWS = 1 << 16  # that one example may make in one epoch
_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # the odd number next to 2^64 over the golden ratio


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
    return _sorted(_philox(seed, epoch, _ORDER).random_raw(count))


def shuffled_batches(seed: int, epoch: int, count: int) -> Indexes:
    """0...count-1 in the order of an epoch, of draws apart from those for examples."""
    return _sorted(_philox(seed, epoch, _BATCHES).random_raw(count))


def _sorted(draws: NDArray[np.uint64]) -> Indexes:
    return np.argsort(draws, kind="stable").astype(np.int64, copy=False)


class Generators:
    """The random numbers of the examples of a batch.

    ``generators[i]`` is a generator for example i alone, made when it is first asked for;
    `uniforms` draws for all examples at once. Both follow from (seed, epoch, example).
    """

    def __init__(self, seed: int, epoch: int, indexes: Indexes) -> None:
        self._seed, self._epoch, self._indexes = seed, epoch, indexes
        self._made: dict[int, np.random.Generator] = {}
        self._drawn = 0  # by `uniforms`, for each example

    def __len__(self) -> int:
        return len(self._indexes)

    def __getitem__(self, position: int) -> np.random.Generator:
        """The generator of the example at `position` of the batch; the same one every time."""
        if position not in self._made:
            example = int(self._indexes[position])
            philox = _philox(self._seed, self._epoch, _EXAMPLE, example)
            self._made[position] = np.random.Generator(philox)
        return self._made[position]

    def uniforms(self, count: int) -> Array:
        """The next `count` numbers from 0 up to 1 for every example, float64 [N, count].

        >>> whole = Generators(3, 0, np.arange(4)).uniforms(2)
        >>> bool((whole[2:] == Generators(3, 0, np.arange(2, 4)).uniforms(2)).all())
        True
        """
        if self._drawn + count > _DRAWS:
            raise ArgumentError(f"a transform draws more than {_DRAWS} numbers for one example")
        examples = np.asarray(self._indexes, np.uint64)[:, None]
        draws = np.arange(self._drawn, self._drawn + count, dtype=np.uint64)
        self._drawn += count
        base = _philox(self._seed, self._epoch, _BATCH).random_raw(1)
        words = _split_mix(base + _GAMMA * (examples * np.uint64(_DRAWS) + draws))
        return (words >> np.uint64(11)) * 2.0**-53

    def whole_numbers(self, *ends: int) -> Array:
        """A whole number from 0 up to each of `ends`, without it, for every example:
        int64 [N, len(ends)].
        """
        drawn: Array = (self.uniforms(len(ends)) * np.asarray(ends)).astype(np.int64)
        return drawn


def _split_mix(words: Array) -> Array:
    """SplitMix64's mixing of 64-bit words (D. Stafford's variant 13), element by element."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = words ^ (words >> np.uint64(31))
    return mixed
