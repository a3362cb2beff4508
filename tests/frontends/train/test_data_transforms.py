"""Transforms: what they do to pixels, and that they draw from (seed, epoch, example) alone."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import random_pixels

from graphc import data
from graphc.data import transforms
from graphc.errors import ArgumentError, DataError, ShapeError
from graphc.frontends.train.data.random import Generators

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
    for size in (4.0, (4,), (4, 0)):
        with pytest.raises(ArgumentError, match="is no crop"):
            transforms.RandomCrop(size)  # type: ignore[arg-type]  # the mistake in question
    cropped = run(transforms.RandomCrop(np.int64(4)))  # type: ignore[arg-type]  # an int to NumPy
    assert cropped.shape == (40, 3, 4, 4)


def test_a_fill_that_bytes_cannot_hold_is_named() -> None:
    images = np.zeros((4, 1, 4, 4), np.uint8)
    for transform in (transforms.RandomCrop(padding=1, fill=0.5), transforms.Cutout(2, fill=300)):
        with pytest.raises(ArgumentError, match=r"fill is (0\.5|300), images are bytes"):
            next(iter(data.Loader(data.arrays(images), 4, transform=transform)))


def test_cutout_fills_one_square_that_may_stick_out() -> None:
    cut = run(transforms.Cutout(4, fill=7))
    sizes = set()
    for image, before in zip(cut, IMAGES, strict=True):
        changed = (image != before).any(axis=0)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        square = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        assert (image[square] == 7).all()
        image[square] = before[square]
        assert np.array_equal(image, before)
        sizes.add((len(rows), len(columns)))
    assert (4, 4) in sizes and len(sizes) > 3
    assert all(2 <= height <= 4 and 2 <= width <= 4 for height, width in sizes)
    with pytest.raises(ArgumentError, match="size is 0"):
        transforms.Cutout(0)


def grey_of(images: np.ndarray) -> np.ndarray:
    return np.tensordot(images, [0.299, 0.587, 0.114], (1, 0))  # type: ignore[arg-type]  # a list is fine


def test_colour_jitter_mixes_with_black_mean_grey_and_grey() -> None:
    """A pair of equal factors draws nothing, so that what comes out is known."""
    images = IMAGES.astype(np.float32) / 510 + 0.25  # far from the ends, where values are clipped
    dark = transforms.ColorJitter(brightness=(0.5, 0.5))(images)
    np.testing.assert_allclose(dark, images * 0.5, rtol=1e-6)
    flat = transforms.ColorJitter(contrast=(0.0, 0.0))(images)
    mean = grey_of(images).mean(axis=(1, 2))
    np.testing.assert_allclose(flat, np.broadcast_to(mean[:, None, None, None], flat.shape), 1e-5)
    grey = transforms.ColorJitter(saturation=(0.0, 0.0))(images)
    np.testing.assert_allclose(grey[:, 0], grey_of(images), rtol=1e-5)
    assert np.array_equal(grey[:, 0], grey[:, 2])
    assert np.array_equal(transforms.ColorJitter()(images), images)


def test_colour_jitter_draws_a_factor_for_each_image_within_the_values() -> None:
    whole = np.full((200, 1, 2, 2), 100, np.uint8)
    found = transforms.ColorJitter(brightness=0.4)(whole)
    assert found.dtype == np.uint8 and found.shape == whole.shape
    factors = found[:, 0, 0, 0] / 100
    assert 0.6 <= factors.min() < 0.65 and 1.35 < factors.max() <= 1.4
    assert (transforms.ColorJitter(brightness=(9, 9))(whole) == 255).all()
    for wrong in (-1, (2, 1), (-1, 1)):
        with pytest.raises(ArgumentError, match="ColorJitter: contrast is"):
            transforms.ColorJitter(contrast=wrong)
    with pytest.raises(ShapeError, match="1 or 3 channels, given 2"):
        transforms.ColorJitter()(np.zeros((1, 2, 2, 2)))


def test_draws_are_the_same_for_ever() -> None:
    """Written down, so that no version of NumPy or graphc changes a resumed run."""
    drawn = Generators(7, 3, np.array([0, 5, 49999]))
    assert drawn.whole_numbers(9, 9).tolist() == [[3, 6], [6, 5], [2, 3]]
    assert drawn.uniforms(1)[:, 0].round(12).tolist() == [
        0.989736766417,
        0.185749035227,
        0.545026148402,
    ]


def test_draws_look_uniform_and_independent() -> None:
    drawn = Generators(0, 0, np.arange(20000)).uniforms(4)
    assert drawn.min() >= 0 and drawn.max() < 1
    for column in range(4):
        counts, _ = np.histogram(drawn[:, column], 20, (0, 1))
        assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi squared of 19 degrees, 1 in 1,000
    pairs = np.corrcoef(np.concatenate([drawn[:-1], drawn[1:]], axis=1).T)
    assert np.abs(pairs - np.eye(8)).max() < 0.03


def test_each_transform_draws_anew() -> None:
    """Two of a kind in a row do not repeat each other."""
    twice = run(transforms.Compose([transforms.RandomHorizontalFlip()] * 2))
    assert 10 <= sum(not np.array_equal(a, b) for a, b in zip(twice, IMAGES, strict=True)) <= 30
