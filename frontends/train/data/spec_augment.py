"""SpecAugment: features with bands of frequencies and stretches of time masked out.

D. Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition",
2019, sections 2.2 and 2.3 (their time warp, which gave the least, is left out).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.train.data.dataset import Array, Arrays
from graphc.frontends.train.data.random import Generators
from graphc.frontends.train.data.transform import Transform


class SpecAugment(Transform):
    """Masks features [N, T, F], the first array of a batch; the other arrays stay.

    frequency_masks, widest   how many bands of 0 to `widest` features each example loses
    time_masks, longest       how many stretches of 0 to `longest` steps, none of them longer than
    share                     this share of the example's own length
    fill                      what they hold then; of normalised features 0 is the mean
    lengths                   the number of the batch's array with each example's steps [N], as a
                              `BucketLoader` gives it; None where all T steps count

    What is drawn for an example follows from (seed, epoch, example) alone. Raises ShapeError for a
    batch without such features or lengths.
    """

    def __init__(
        self,
        frequency_masks: int = 2,
        widest: int = 8,
        time_masks: int = 2,
        longest: int = 20,
        share: float = 0.2,
        fill: float = 0.0,
        lengths: int | None = 1,
    ) -> None:
        if min(frequency_masks, widest, time_masks, longest) < 0 or not 0 <= share <= 1:
            raise ArgumentError(
                f"SpecAugment: {frequency_masks} masks up to {widest} wide, {time_masks} up to "
                f"{longest} long, a share of {share}; expected no negative numbers, a share of 0 "
                "to 1"
            )
        self.frequency_masks, self.widest = frequency_masks, widest
        self.time_masks, self.longest, self.share = time_masks, longest, share
        self.fill, self.lengths = fill, lengths

    def batch(self, arrays: Arrays, generators: Generators) -> Arrays:
        x, *others = arrays
        if x.ndim != 3:
            raise ShapeError(f"SpecAugment: takes features [N, T, F], given shape {x.shape}")
        count, steps, features = x.shape
        ends = np.full(count, steps) if self.lengths is None else _ends(arrays, self.lengths)
        bands = np.full(count, features)
        most = np.minimum(self.longest, np.floor(self.share * ends))
        draw = generators.uniforms
        hidden = _ranges(draw, self.frequency_masks, bands, min(self.widest, features), features)
        stretches = _ranges(draw, self.time_masks, ends, most, steps)
        masked = np.where(hidden[:, None, :] | stretches[:, :, None], x.dtype.type(self.fill), x)
        return (masked, *others)


def _ends(arrays: Arrays, number: int) -> Array:
    """The steps of each example. Raises ShapeError where the batch does not hold them."""
    shapes = [part.shape for part in arrays]
    if number not in range(len(arrays)) or shapes[number] != shapes[0][:1]:
        raise ShapeError(
            f"SpecAugment: array {number} of a batch of shapes {shapes} holds no lengths "
            f"[{shapes[0][0]}]; lengths=None where all steps count"
        )
    return arrays[number]


def _ranges(draw: Any, masks: int, ends: Array, most: Any, size: int) -> Array:
    """Which of `size` places lie in a mask, bool [N, size].

    Each of them has a length drawn from 0 ... most, and a start from 0 ... end - length.
    """
    hidden = np.zeros((len(ends), size), bool)
    places = np.arange(size)
    for _ in range(masks):
        chance = draw(2)
        length = np.floor(chance[:, 0] * (most + 1))
        start = np.floor(chance[:, 1] * (ends - length + 1))[:, None]
        hidden |= (places >= start) & (places < start + length[:, None])
    return hidden
