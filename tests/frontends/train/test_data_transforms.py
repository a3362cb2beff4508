"""Transforms: what they do to pixels, and that they draw from (seed, epoch, example) alone."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import random_pixels

from graphc import data
from graphc.data import transforms
from graphc.errors import ArgumentError, DataError, ShapeError

IMAGES = random_pixels(0, 40, 3, 8, 8)


def run(transform: object, seed: int = 0, batch_size: int = 40, epoch: int = 0) -> np.ndarray:
    """The transformed images, in the data set's order."""
    dataset = data.arrays(IMAGES, np.arange(len(IMAGES)))
    loader = data.Loader(dataset, batch_size, seed=seed, transform=transform, drop_last=False)  # type: ignore[arg-type]  # any transform
    loader.epoch = epoch
    result: dict[int, np.ndarray] = {}
    for images, labels in loader:
        result.update(zip(labels.tolist(), images, strict=True))
    return np.stack([result[index] for index in range(len(IMAGES))])


def test_flip_mirrors_about_half_of_the_images() -> None:
    flipped = run(transforms.RandomHorizontalFlip())
    mirrored = [np.array_equal(a, b[:, :, ::-1]) for a, b in zip(flipped, IMAGES, strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(flipped, IMAGES, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 10 <= sum(mirrored) <= 30
    assert np.array_equal(run(transforms.RandomHorizontalFlip(1.0)), IMAGES[..., ::-1])
    assert np.array_equal(run(transforms.RandomHorizontalFlip(0.0)), IMAGES)


def test_crop_is_a_window_of_the_padded_image() -> None:
    cropped = run(transforms.RandomCrop(padding=2))
    padded = np.pad(IMAGES, ((0, 0), (0, 0), (2, 2), (2, 2)))
    places = set()
    for image, wide in zip(cropped, padded, strict=True):
        found = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(image, wide[:, top : top + 8, left : left + 8])
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 12
    assert {top for top, _ in places} == {left for _, left in places} == {0, 1, 2, 3, 4}


def test_crop_to_a_smaller_size() -> None:
    assert run(transforms.RandomCrop((4, 6))).shape == (40, 3, 4, 6)
    assert run(transforms.RandomCrop(4)).shape == (40, 3, 4, 4)
    with pytest.raises(ShapeError, match="a 9x9 crop does not fit images of 8x8 with padding 0"):
        run(transforms.RandomCrop(9))


def test_normalize_scales_uint8_and_takes_float() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    result = run(transforms.Normalize(mean, std))
    expected = (IMAGES / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match="has 2 channels, images have 3"):
        run(transforms.Normalize((0, 0), (1, 1)))
    with pytest.raises(ArgumentError, match="std above 0"):
        transforms.Normalize((0,), (0,))


AUGMENT = transforms.Compose(
    [transforms.RandomCrop(padding=2), transforms.RandomHorizontalFlip(), lambda x, y: (x, y)]
)


def test_draws_depend_on_the_example_not_on_its_batch() -> None:
    assert np.array_equal(run(AUGMENT, batch_size=40), run(AUGMENT, batch_size=7))


def test_draws_change_with_seed_and_epoch() -> None:
    assert np.array_equal(run(AUGMENT, epoch=3), run(AUGMENT, epoch=3))
    assert not np.array_equal(run(AUGMENT, epoch=0), run(AUGMENT, epoch=1))
    assert not np.array_equal(run(AUGMENT, seed=0), run(AUGMENT, seed=1))


def test_a_function_may_take_the_generator() -> None:
    def noisy(
        image: np.ndarray, label: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        return image + generator.random(image.shape), label

    first = run(noisy)
    assert np.array_equal(first, run(noisy, batch_size=9))
    assert not np.array_equal(first[0] - IMAGES[0], first[1] - IMAGES[1])


def test_a_function_whose_results_differ_in_shape_is_refused() -> None:
    with pytest.raises(DataError, match="examples of one batch have equal shapes"):
        run(lambda image, label: (image[:, : int(label) + 1], label))


def test_image_transforms_refuse_other_arrays() -> None:
    loader = data.Loader(
        data.arrays(np.zeros((4, 3))), 4, transform=transforms.RandomHorizontalFlip()
    )
    with pytest.raises(ShapeError, match=r"RandomHorizontalFlip: takes images .* \(4, 3\)"):
        next(iter(loader))
    with pytest.raises(ArgumentError, match="p is 2"):
        transforms.RandomHorizontalFlip(2)
    with pytest.raises(ArgumentError, match="is no crop"):
        transforms.RandomCrop(4, padding=-1)
