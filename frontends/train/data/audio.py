"""Features of sound: logarithms of the energy in bands that are evenly spaced for the ear.

    frames     x_t[k] = samples[t hop + k] w[k],  k = 0 ... L - 1,  T = 1 + (n - L) // hop
    window     w[k] = (1 - cos(2 pi k / L)) / 2, Hann's
    power      P_t[b] = |sum over k of x_t[k] exp(-2 pi i k b / B)|^2,  B the next power of two
    mel        m(f) = 2595 log10(1 + f / 700), f in Hz
    filters    triangles over f whose corners are evenly spaced in m; 1 at their peaks, each peak
               where its neighbours' feet are
    features   log(max(sum over b of filter[b] P_t[b], 1e-10))

The mel scale is that of S. Stevens, J. Volkmann and E. Newman (1937) in the formula of
D. O'Shaughnessy, "Speech Communication" (1987), p. 150; the features without the cosine transform
of S. Davis and P. Mermelstein (1980).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, ShapeError

Array = np.ndarray[Any, np.dtype[Any]]
_LEAST_ENERGY = 1e-10


@dataclass(frozen=True)
class LogMel:
    """Log-mel features of sounds of one `rate` (samples a second).

    filters          how many features a frame has
    window_seconds   how long a frame is, and
    hop_seconds      how far it is from the next
    lowest, highest  of all filters, in Hz; the highest is half the rate unless given

    Raises ArgumentError for settings that give no such frames, and for more filters than the
    frame tells apart.

    >>> features = LogMel(8000)(np.zeros(8000, np.float32))
    >>> features.shape, round(float(features[0, 0]), 3)
    ((98, 40), -23.026)
    """

    rate: int
    filters: int = 40
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    lowest: float = 0.0
    highest: float | None = None

    def __post_init__(self) -> None:
        top = self.rate / 2 if self.highest is None else self.highest
        if self.filters < 1 or not 0 <= self.lowest < top <= self.rate / 2:
            raise ArgumentError(
                f"LogMel: {self.filters} filters from {self.lowest} to {top} Hz; expected at least "
                f"1, within 0 to half the rate, {self.rate / 2}"
            )
        if self.window < 2 or self.hop < 1:
            raise ArgumentError(
                f"LogMel: frames of {self.window_seconds} s every {self.hop_seconds} s are "
                f"{self.window} and {self.hop} samples; expected at least 2 and 1"
            )
        (empty,) = np.nonzero(self.filter_bank.sum(axis=1) == 0)
        if len(empty):
            raise ArgumentError(
                f"LogMel: {self.filters} filters are too many for frames of {self.window} samples: "
                f"filter {empty[0]} lies between two frequencies"
            )

    @property
    def window(self) -> int:
        """The samples of a frame."""
        return round(self.rate * self.window_seconds)

    @property
    def hop(self) -> int:
        """The samples from a frame to the next."""
        return round(self.rate * self.hop_seconds)

    @cached_property
    def filter_bank(self) -> Array:
        """The weight of each frequency in each filter, float64 [filters, B / 2 + 1]."""
        top = self.rate / 2 if self.highest is None else self.highest
        corners = hertz(np.linspace(mel(self.lowest), mel(top), self.filters + 2))
        frequencies = np.arange(self._size // 2 + 1) * (self.rate / self._size)
        left, peak, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
        rising = (frequencies - left) / (peak - left)
        falling = (right - frequencies) / (right - peak)
        weights: Array = np.maximum(np.minimum(rising, falling), 0.0)
        return weights

    @property
    def _size(self) -> int:
        return 1 << (self.window - 1).bit_length()

    def __call__(self, samples: Any) -> Array:
        """The features of samples [n], float32 [T, filters]; fewer than a frame are filled up."""
        sound = np.asarray(samples, np.float64)
        if sound.ndim != 1:
            raise ShapeError(f"LogMel: samples have shape {list(sound.shape)}; expected [n]")
        spectrum = np.fft.rfft(self.frames(sound), self._size)
        power = spectrum.real**2 + spectrum.imag**2
        # Not by BLAS: its threads spin, and its sums depend on the machine.
        energy = np.einsum("tb,fb->tf", power, self.filter_bank)
        features: Array = np.log(np.maximum(energy, _LEAST_ENERGY)).astype(np.float32)
        return features

    def frames(self, samples: Array) -> Array:
        """The windowed frames of samples [n], [T, window]."""
        length, hop = self.window, self.hop
        missing = max(0, length - len(samples))
        filled = np.concatenate([samples, np.zeros(missing)])
        every = np.lib.stride_tricks.sliding_window_view(filled, length)[::hop]
        windowed: Array = every * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))
        return windowed


def mel(frequency: Any) -> Any:
    """Mels of Hz.

    >>> round(float(mel(1000.0)), 2)
    999.99
    """
    return 2595.0 * np.log10(1.0 + np.asarray(frequency) / 700.0)


def hertz(mels: Any) -> Any:
    """Hz of mels."""
    return 700.0 * (10.0 ** (np.asarray(mels) / 2595.0) - 1.0)


def normalised(features: Array) -> Array:
    """Features [T, F] less their means over time, over their standard deviations, float32.

    What the microphone and the room do to every frame alike is gone by that. A feature that never
    changes becomes zero.
    """
    centred = features - features.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt((centred**2).mean(axis=0))
    scaled: Array = (centred / np.maximum(deviation, 1e-5)).astype(np.float32)
    return scaled
