"""Log-mel features beside values worked out by hand, and SpecAugment's masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from graphc import data
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.train.data.audio import hertz, mel
from graphc.frontends.train.data.random import Generators

Array = np.ndarray[Any, Any]


def test_mels() -> None:
    assert float(mel(700)) == pytest.approx(2595 * math.log10(2))
    assert float(mel(0)) == 0
    np.testing.assert_allclose(hertz(mel([50.0, 440.0, 4000.0])), [50, 440, 4000])


def test_frames_are_those_that_fit() -> None:
    features = data.LogMel(1000, 2, window_seconds=0.008, hop_seconds=0.003)
    assert (features.window, features.hop) == (8, 3)
    assert [len(features(np.ones(n))) for n in (0, 5, 8, 10, 11, 14)] == [1, 1, 1, 1, 2, 3]
    frames = features.frames(np.arange(14.0))
    window = [(1 - math.cos(2 * math.pi * k / 8)) / 2 for k in range(8)]
    np.testing.assert_allclose(frames[1], np.arange(3.0, 11.0) * window)


def test_filters_are_triangles_over_mels() -> None:
    """Two filters of 0 to 500 Hz: corners at 0, 1/3, 2/3 and all of mel(500)."""
    features = data.LogMel(1000, 2, window_seconds=0.016, hop_seconds=0.01)
    corners = [700 * (10 ** (math.log10(1 + 500 / 700) * n / 3) - 1) for n in range(4)]
    expected = np.zeros((2, 9))
    for number in range(2):
        left, peak, right = corners[number : number + 3]
        for place in range(9):
            frequency = place * 1000 / 16
            if left < frequency <= peak:
                expected[number, place] = (frequency - left) / (peak - left)
            elif peak < frequency < right:
                expected[number, place] = (right - frequency) / (right - peak)
    np.testing.assert_allclose(features.filter_bank, expected)


def test_features_are_what_the_formulas_say() -> None:
    features = data.LogMel(1000, 3, window_seconds=0.012, hop_seconds=0.006)
    sound = np.random.default_rng(0).normal(size=30)
    found = features(sound)
    assert found.dtype == np.float32 and found.shape == (4, 3)
    for t in range(4):
        x = [sound[6 * t + k] * (1 - math.cos(2 * math.pi * k / 12)) / 2 for k in range(12)]
        power = [
            abs(sum(x[k] * np.exp(-2j * np.pi * k * b / 16) for k in range(12))) ** 2
            for b in range(9)
        ]
        for number in range(3):
            energy = sum(w * p for w, p in zip(features.filter_bank[number], power, strict=True))
            assert found[t, number] == pytest.approx(math.log(energy), rel=1e-5)


def test_a_tone_is_loudest_in_the_filter_around_it() -> None:
    features = data.LogMel(8000)
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    peaks = hertz(np.linspace(mel(0), mel(4000), 42))[1:-1]
    assert (features(tone).argmax(axis=1) == np.abs(peaks - 1000).argmin()).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"filters": 0}, "0 filters"),
        ({"lowest": 5000}, "from 5000 to 4000"),
        ({"highest": 4001}, "within 0 to half the rate, 4000"),
        ({"hop_seconds": 0}, "are 200 and 0 samples"),
        ({"window_seconds": 0.0}, "are 0 and 80 samples"),
        ({"filters": 200}, "200 filters are too many for frames of 200 samples"),
    ],
)
def test_settings_that_give_no_features(options: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        data.LogMel(8000, **options)
    with pytest.raises(ShapeError, match=r"\[2, 3\]"):
        data.LogMel(8000)(np.zeros((2, 3)))


def test_normalised_features_have_mean_zero_and_deviation_one() -> None:
    x = np.random.default_rng(1).normal(3, 7, (50, 4)).astype(np.float32)
    x[:, 2] = 5
    found = data.normalised(x)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(0), [1, 1, 0, 1], atol=1e-5)
    np.testing.assert_allclose(found[:, 0], (x[:, 0] - x[:, 0].mean()) / x[:, 0].std(), rtol=1e-4)
    assert np.array_equal(data.normalised(x[:1]), np.zeros((1, 4))), "one frame alone"


# SpecAugment


def masked(transform: data.SpecAugment, lengths: Any, epoch: int = 0, numbers: Any = None) -> Array:
    """Which elements of ones [N, 40, 16] are hidden."""
    count = len(lengths)
    numbers = np.arange(count) if numbers is None else numbers
    x = np.ones((count, 40, 16), np.float32)
    found, given = transform.batch((x, lengths), Generators(3, epoch, numbers))
    assert given is lengths and found.dtype == np.float32 and (x == 1).all()
    return np.asarray(found == 0)


LENGTHS = np.array([40, 20, 5, 0] * 100, np.int32)


def test_bands_of_frequency_are_as_wide_as_allowed() -> None:
    hidden = masked(data.SpecAugment(1, 6, 0, 0), LENGTHS)
    assert (hidden == hidden[:, :1]).all(), "at all times alike"
    widths = hidden[:, 0].sum(axis=1)
    assert set(widths) == set(range(7))
    edges = np.abs(np.diff(hidden[:, 0].astype(int), axis=1, prepend=0, append=0)).sum(axis=1)
    assert set(edges) <= {0, 2}, "one band"
    assert hidden[:, 0].any(axis=0).all(), "everywhere"


def test_stretches_of_time_stay_within_the_length_and_its_share() -> None:
    hidden = masked(data.SpecAugment(0, 0, 1, 10, share=0.2), LENGTHS)
    assert (hidden == hidden[:, :, :1]).all(), "of all features alike"
    times = hidden[:, :, 0]
    for length, most in ((40, 8), (20, 4), (5, 1), (0, 0)):
        rows = times[length == LENGTHS]
        assert set(rows.sum(axis=1)) == set(range(most + 1))
        assert not rows[:, length:].any()
        assert rows[:, :length].any(axis=0).all()


def test_masks_follow_from_seed_epoch_and_example() -> None:
    transform = data.SpecAugment()
    first = masked(transform, LENGTHS[:8])
    assert np.array_equal(first, masked(transform, LENGTHS[:8]))
    assert not np.array_equal(first, masked(transform, LENGTHS[:8], epoch=1))
    alone = masked(transform, LENGTHS[5:6], numbers=np.array([5]))
    assert np.array_equal(first[5:6], alone)


def test_without_lengths_all_steps_may_be_hidden() -> None:
    x = np.ones((200, 9, 2), np.float32)
    (found,) = data.SpecAugment(0, 0, 2, 5, 1.0, fill=-1, lengths=None).batch(
        (x,), Generators(0, 0, np.arange(200))
    )
    assert set(np.unique(found)) == {-1, 1} and (found == -1).any(axis=(0, 2)).all()


def test_wrong_arguments_of_spec_augment() -> None:
    with pytest.raises(ArgumentError, match="a share of 2"):
        data.SpecAugment(share=2)
    for others in ((), (np.ones(2, int),)):
        with pytest.raises(ShapeError, match=r"array 1 of a batch .* holds no lengths \[3\]"):
            batch = (np.ones((3, 4, 5)), *others)
            data.SpecAugment().batch(batch, Generators(0, 0, np.arange(3)))
    with pytest.raises(ShapeError, match=r"\(3, 4\)"):
        data.SpecAugment(lengths=None).batch((np.ones((3, 4)),), Generators(0, 0, np.arange(3)))
