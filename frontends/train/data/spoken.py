"""Spoken digits: the Free Spoken Digit Dataset, and digits joined to longer utterances."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphc.errors import ArgumentError, DataError
from graphc.frontends.train.data.buckets import SequenceDataset, sequences
from graphc.frontends.train.data.dataset import Array, Arrays
from graphc.frontends.train.data.files import existing
from graphc.frontends.train.data.random import Generators
from graphc.frontends.train.data.sources import open_source
from graphc.frontends.train.data.wav import parse_wav

TEST_INDEXES = 5  # of each digit and speaker, the first ones, by the data set's own convention
_NAME = re.compile(r"(?:.*/)?(\d)_([^_/]+)_(\d+)\.wav")
_NOISE = 2.0**-10  # its largest sample: in the pauses it is never quite still


@dataclass(frozen=True)
class Recording:
    """One digit, said once: samples float32 [n], `index` counts those of a digit and speaker."""

    digit: int
    speaker: str
    index: int
    samples: Array


class SpokenDigits:
    """Recordings of digits at one rate; example i is (samples [n], its digit)."""

    def __init__(self, recordings: Iterable[Recording], rate: int) -> None:
        self.recordings = tuple(recordings)
        self.rate = rate

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> Arrays:
        found = self.recordings[index]
        return found.samples, np.asarray(found.digit, np.int32)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The samples of each recording, and 0 for its digit: [recordings, 2]."""
        return np.array([[len(one.samples), 0] for one in self.recordings], np.int64)

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(sorted({one.speaker for one in self.recordings}))

    def official_split(self) -> tuple[SpokenDigits, SpokenDigits]:
        """(training, test): the test has the recordings 0 to 4 of each digit and speaker."""
        return self._parted(lambda one: one.index < TEST_INDEXES)

    def without_speaker(self, speaker: str) -> tuple[SpokenDigits, SpokenDigits]:
        """(training, test): the test has all that one speaker says, and the training nothing.

        Raises ArgumentError for a speaker who says nothing here.
        """
        if speaker not in self.speakers:
            raise ArgumentError(f"no speaker {speaker!r}; there are {', '.join(self.speakers)}")
        return self._parted(lambda one: one.speaker == speaker)

    def _parted(self, is_test: Callable[[Recording], bool]) -> tuple[SpokenDigits, SpokenDigits]:
        return (
            SpokenDigits((one for one in self.recordings if not is_test(one)), self.rate),
            SpokenDigits((one for one in self.recordings if is_test(one)), self.rate),
        )


def fsdd(path: str | Path) -> SpokenDigits:
    """The Free Spoken Digit Dataset (Z. Jackson, CC BY-SA 4.0), a folder or a zip file of it.

    Its files are called DIGIT_SPEAKER_INDEX.wav; others are ignored. Raises DataError where there
    are none, for a damaged one, and where their rates differ.
    """
    source = open_source(existing(path))
    named = sorted((match[0], match) for match in map(_NAME.fullmatch, source.files()) if match)
    if not named:
        raise DataError(f"{path}: holds no recordings, files DIGIT_SPEAKER_INDEX.wav")
    recordings: list[Recording] = []
    rates: dict[int, str] = {}
    for name, match in named:
        sound = parse_wav(source.read(name), source.describe(name))
        rates.setdefault(sound.rate, source.describe(name))
        recordings.append(Recording(int(match[1]), match[2], int(match[3]), sound.samples))
    if len(rates) > 1:
        found = "; ".join(f"{name} has {rate} samples a second" for rate, name in rates.items())
        raise DataError(f"{found}; expected one rate")
    recordings.sort(key=lambda one: (one.digit, one.speaker, one.index))
    return SpokenDigits(recordings, next(iter(rates)))


def connected_digits(
    spoken: SpokenDigits,
    count: int,
    seed: int = 0,
    least: int = 3,
    most: int = 7,
    pause_seconds: tuple[float, float] = (0.05, 0.2),
    speeds: tuple[float, float] = (1.0, 1.0),
) -> SequenceDataset:
    """`count` utterances of `least` to `most` digits: (samples float32 [n], digits int32 [k]).

    All digits of one are said by one speaker, drawn evenly, as are the digits' recordings; pauses
    of faint noise lie before, between and after them. Each utterance is played faster by a factor
    from `speeds`, which moves pitch and formants along, so that few speakers sound like many (T. Ko
    et al., "Audio augmentation for speech recognition", 2015); samples between samples are read off
    straight lines. Utterance i follows from (seed, i) alone.

    Raises ArgumentError for lengths, pauses or speeds that cannot be drawn from, or no recordings.
    """
    shortest, longest = pause_seconds
    if not (1 <= least <= most and 0 <= shortest <= longest and 0 < speeds[0] <= speeds[1]):
        raise ArgumentError(
            f"connected_digits: {least} to {most} digits, pauses of {shortest} to {longest} s, "
            f"speeds of {speeds[0]} to {speeds[1]}"
        )
    if not len(spoken) or count < 0:
        raise ArgumentError(f"connected_digits: {count} utterances of {len(spoken)} recordings")
    by_speaker = [
        [one for one in spoken.recordings if one.speaker == name] for name in spoken.speakers
    ]
    generators = Generators(seed, 0, np.arange(count))
    chance = generators.uniforms(4 + 2 * most)
    samples, digits = [], []
    for row in chance:
        own = by_speaker[int(row[0] * len(by_speaker))]
        number = least + int(row[1] * (most - least + 1))
        chosen = [own[int(u * len(own))] for u in row[2 : 2 + number]]
        pauses = shortest + (longest - shortest) * row[2 + most : 3 + most + number]
        speed = speeds[0] + (speeds[1] - speeds[0]) * row[-1]
        joined = _joined(chosen, np.round(pauses * spoken.rate).astype(int))
        samples.append(_played(joined, speed))
        digits.append(np.array([one.digit for one in chosen], np.int32))
    for index, sound in enumerate(samples):
        raw = generators[index].bit_generator.random_raw(len(sound))  # a stream that stays
        sound += (np.ldexp(raw.astype(np.float64), -63) - 1).astype(np.float32) * np.float32(_NOISE)
    return sequences(samples, digits)


def _joined(chosen: Iterable[Recording], pauses: Array) -> Array:
    first, *others = [np.zeros(pause, np.float32) for pause in pauses]
    parts = [first]
    for one, pause in zip(chosen, others, strict=True):
        parts += [one.samples, pause]
    return np.concatenate(parts)


def _played(samples: Array, speed: float) -> Array:
    """The samples at every `speed`-th place, float32."""
    if speed == 1 or not len(samples):
        return samples
    places = np.arange(int((len(samples) - 1) / speed) + 1) * speed
    played: Array = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    return played
