"""Digits said by made voices: lstm-ctc's default data, for which nothing is downloaded.

A word is a chain of sounds. A voiced one is the sum of the harmonics of the voice's pitch, each as
loud as the resonances (formants) of the sound make it; a fricative is noise around a frequency.
Vowels have the mean formants of men in G. Peterson and H. Barney, "Control methods used in a study
of the vowels" (1952); those of consonants are rough. It sounds like a robot, and no speaker of
another data set is recognised by what was learned from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.frontends.train.data.random import Generators
from graphc.frontends.train.data.spoken import Recording, SpokenDigits

Array = np.ndarray[Any, np.dtype[Any]]

RATE = 8000
TAKES = 15  # of each digit and voice; the first 5 are the test's, as in FSDD
_BANDWIDTHS = np.array([60.0, 90.0, 150.0])[:, None, None]  # of the formants, Hz
_WEIGHTS = np.array([1.0, 0.5, 0.25])[:, None, None]


@dataclass(frozen=True)
class _Sound:
    """A part of a word: formants in Hz, loudness of voice and of noise, the noise's middle in Hz,
    and how long it is beside a vowel.
    """

    formants: tuple[int, int, int]
    voice: float = 1.0
    noise: float = 0.0
    middle: int = 2500
    length: float = 1.0


_SOUNDS = {
    "IY": _Sound((270, 2290, 3010)),
    "IH": _Sound((390, 1990, 2550)),
    "EH": _Sound((530, 1840, 2480)),
    "AA": _Sound((730, 1090, 2440)),
    "AO": _Sound((570, 840, 2410)),
    "UW": _Sound((300, 870, 2240)),
    "AH": _Sound((640, 1190, 2390)),
    "OW": _Sound((450, 900, 2300)),
    "W": _Sound((300, 610, 2200), 0.6, length=0.5),
    "R": _Sound((310, 1060, 1380), 0.6, length=0.6),
    "N": _Sound((250, 1100, 2300), 0.4, length=0.7),
    "V": _Sound((300, 1100, 2300), 0.3, 0.1, 2500, 0.5),
    "Z": _Sound((300, 1700, 2600), 0.2, 0.3, 3400, 0.6),
    "S": _Sound((300, 1700, 2600), 0.0, 0.6, 3500, 0.8),
    "F": _Sound((300, 1100, 2300), 0.0, 0.2, 2700, 0.7),
    "TH": _Sound((300, 1400, 2500), 0.0, 0.15, 2200, 0.6),
    "T": _Sound((300, 1700, 2600), 0.0, 0.5, 3000, 0.25),
    "K": _Sound((300, 1500, 2300), 0.0, 0.5, 1800, 0.25),
    "-": _Sound((300, 1500, 2300), 0.0, 0.0, 1800, 0.4),  # the closure before T and K
}
_WORDS = (
    "Z IH R OW", "W AH N", "- T UW", "TH R IY", "F AO R",
    "F AA IH V", "S IH - K S", "S EH V AH N", "EH IH - T", "N AA IH N",
)  # fmt: skip
# Pitch in Hz, and what the formants are multiplied by: the length of the throat.
_VOICES = {
    "bass": (95.0, 0.95),
    "tenor": (130.0, 1.0),
    "alto": (190.0, 1.12),
    "child": (250.0, 1.25),
}


def made_digits(seed: int = 0) -> SpokenDigits:
    """600 recordings: ten digits, four voices, 15 takes, which differ in pace and pitch."""
    said = [(word, voice, take) for word in range(10) for voice in _VOICES for take in range(TAKES)]
    chances = Generators(seed, 0, np.arange(len(said))).uniforms(16)
    recordings = [
        Recording(digit, voice, take, _say(_WORDS[digit].split(), *_VOICES[voice], chance))
        for (digit, voice, take), chance in zip(said, chances, strict=True)
    ]
    return SpokenDigits(recordings, RATE)


def _say(names: list[str], pitch: float, throat: float, chance: Array) -> Array:
    """One word, float32, about 0.4 s."""
    sounds = [_SOUNDS[name] for name in names]
    pace = 0.11 * (0.8 + 0.4 * chance[0]) * (3.5 / (2 + 0.4 * len(sounds)))
    lengths = [pace * (0.8 + 0.4 * u) * s.length for u, s in zip(chance[1:], sounds, strict=False)]
    ends = np.cumsum(lengths)
    times = np.arange(int(ends[-1] * RATE)) / RATE
    middles = ends - np.asarray(lengths) / 2

    def course(values: list[float]) -> Array:
        """From each sound's middle straight to the next one's."""
        return np.interp(times, middles, values)

    stretch = throat * (0.97 + 0.06 * chance[12])
    formants = np.stack([course([s.formants[n] * stretch for s in sounds]) for n in range(3)])
    fall = 1.1 - 0.2 * times / times[-1]  # of the pitch, along a word
    voiced = _voice(pitch * (0.93 + 0.14 * chance[13]) * fall, formants)
    noise = _noise(chance, [s.middle for s in sounds], middles, times)
    loudness = 0.3 + 0.3 * chance[14]
    sound = course([s.voice for s in sounds]) * voiced + course([s.noise for s in sounds]) * noise
    edge = np.minimum(1.0, np.minimum(times, times[::-1]) / 0.01)
    said: Array = (loudness * edge * sound).astype(np.float32)
    return said


def _voice(pitch: Array, formants: Array) -> Array:
    """The sum of the pitch's harmonics below half the rate, loud near the formants."""
    number = np.arange(1, int(RATE / 2 / pitch.min()) + 1)[:, None]
    frequency = number * pitch
    peaks = _WEIGHTS / (1 + ((frequency - formants[:, None]) / _BANDWIDTHS) ** 2)
    loud = np.where(frequency < RATE / 2, peaks.sum(axis=0), 0.0)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    summed = (loud * np.sin(number * phase)).sum(axis=0)
    scaled: Array = summed / np.abs(summed).max()
    return scaled


def _noise(chance: Array, middles: list[int], places: Array, times: Array) -> Array:
    """Noise about 1,000 Hz wide, around the middle of the sound that is nearest."""
    seed = int(chance[15] * 2**53)
    words = np.random.Philox(key=seed).random_raw(len(times))
    white = np.ldexp(words.astype(np.float64), -63) - 1
    spectrum = np.fft.rfft(white)
    frequency = np.fft.rfftfreq(len(times), 1 / RATE)
    nearest = np.abs(times[:, None] - places).argmin(axis=1)
    bands = [
        np.fft.irfft(spectrum / (1 + ((frequency - middle) / 500.0) ** 2), len(times))
        for middle in middles
    ]
    found = np.stack(bands)[nearest, np.arange(len(times))]
    scaled: Array = found / max(float(np.abs(found).max()), 1e-9)
    return scaled
