"""The reader of spoken digits, its splits, and digits joined to utterances."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_data_wav import wav

from graphc import data
from graphc.errors import ArgumentError, DataError
from graphc.frontends.train.data import spoken as spoken_module

Array = np.ndarray[Any, Any]


def tone(value: int, count: int = 50) -> bytes:
    return wav(np.full(count, value, "<i2").tobytes())


def contents() -> dict[str, bytes]:
    """Two speakers, two digits, seven takes; what take says is in its samples."""
    return {
        f"{digit}_{name}_{index}.wav": tone(1000 * digit + 100 * number + index, 40 + index)
        for digit in (3, 8)
        for number, name in enumerate(("ann", "bob"))
        for index in range(7)
    }


@pytest.fixture
def spoken(tmp_path: Path) -> data.SpokenDigits:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, content in contents().items():
            archive.writestr(name, content)
        archive.writestr("README.md", "about")
    return data.fsdd(tmp_path / "set.zip")


def test_a_folder_reads_as_a_zip_file_does(spoken: data.SpokenDigits, tmp_path: Path) -> None:
    folder = tmp_path / "root" / "recordings"
    folder.mkdir(parents=True)
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    other = data.fsdd(tmp_path / "root")
    assert len(spoken) == len(other) == 28 and spoken.rate == 8000
    assert spoken.speakers == ("ann", "bob")
    for one, two in zip(spoken.recordings, other.recordings, strict=True):
        assert (one.digit, one.speaker, one.index) == (two.digit, two.speaker, two.index)
        value = 1000 * one.digit + 100 * (one.speaker == "bob") + one.index
        np.testing.assert_array_equal(one.samples, np.full(40 + one.index, value / 32768))
        np.testing.assert_array_equal(one.samples, two.samples)
    samples, digit = spoken[20]
    assert spoken.lengths[20].tolist() == [len(samples), 0] and digit == 8


def test_the_first_five_takes_are_the_test(spoken: data.SpokenDigits) -> None:
    training, test = spoken.official_split()
    assert {one.index for one in training.recordings} == {5, 6} and len(training) == 8
    assert {one.index for one in test.recordings} == set(range(5)) and len(test) == 20


def test_a_speaker_is_held_out_entirely(spoken: data.SpokenDigits) -> None:
    training, test = spoken.without_speaker("bob")
    assert training.speakers == ("ann",) and test.speakers == ("bob",)
    assert len(training) == len(test) == 14
    with pytest.raises(ArgumentError, match="no speaker 'eve'; there are ann, bob"):
        spoken.without_speaker("eve")


def test_utterances_are_digits_of_one_speaker_with_pauses(spoken: data.SpokenDigits) -> None:
    said = data.connected_digits(spoken, 60, seed=4, least=2, most=4, pause_seconds=(0.01, 0.02))
    assert set(said.lengths[:, 1]) == {2, 3, 4}
    speakers = set()
    for samples, digits in (said[index] for index in range(60)):
        takes, number = runs(samples)
        assert [take // 10 for take in takes] == digits.tolist()
        speakers.add(frozenset(take % 10 for take in takes))
        assert number == len(samples)
    assert speakers == {frozenset([0]), frozenset([1])}


def runs(samples: Array) -> tuple[list[int], int]:
    """The hundreds that are held for a digit's length, and where the last pause ends."""
    takes: list[int] = []
    place = 0
    while True:
        pause = int(np.argmax(samples[place:] > 0.05)) if (samples[place:] > 0.05).any() else -1
        if pause < 0:
            assert 80 <= len(samples) - place <= 160, "the last pause"
            return takes, len(samples)
        assert 80 <= pause <= 160, "0.01 to 0.02 s"
        assert np.abs(samples[place : place + pause]).max() <= 2**-10
        place += pause
        held = int(np.argmax(samples[place:] < 0.05))
        takes.append(round(float(samples[place : place + held].mean()) * 327.68))
        assert 40 <= held <= 46
        place += held


def test_an_utterance_follows_from_seed_and_number(spoken: data.SpokenDigits) -> None:
    few, many = data.connected_digits(spoken, 3, 7), data.connected_digits(spoken, 9, 7)
    other = data.connected_digits(spoken, 3, 8)
    for index in range(3):
        for one, two in zip(few[index], many[index], strict=True):
            np.testing.assert_array_equal(one, two)
        assert len(few[index][0]) != len(other[index][0])


def test_a_faster_utterance_is_shorter_and_higher() -> None:
    """A tone of 500 Hz becomes one of 600; what is said, and when, does not change."""
    tones = np.sin(2 * np.pi * 500 * np.arange(2000) / 8000).astype(np.float32)
    recording = spoken_module.Recording(4, "ann", 0, tones)
    spoken = data.SpokenDigits([recording], 8000)
    (plain, digits), (fast, same) = (
        data.connected_digits(spoken, 1, 3, speeds=speeds)[0] for speeds in ((1, 1), (1.2, 1.2))
    )
    assert (digits == same).all() and len(fast) == int((len(plain) - 1) / 1.2) + 1
    silent = data.SpokenDigits([spoken_module.Recording(4, "ann", 0, tones[:0])], 8000)
    pauses, speeds = (0.0, 0.0), (1.2, 1.2)
    (nothing, _) = data.connected_digits(silent, 1, pause_seconds=pauses, speeds=speeds)[0]
    assert len(nothing) == 0
    for sound, frequency in ((plain, 500), (fast, 600)):
        loudest = np.abs(np.fft.rfft(sound, 8000)).argmax()
        assert abs(int(loudest) - frequency) <= 5


def test_bad_sets_are_named(tmp_path: Path, spoken: data.SpokenDigits) -> None:
    with pytest.raises(DataError, match="holds no recordings, files DIGIT_SPEAKER_INDEX"):
        folder = tmp_path / "empty"
        folder.mkdir()
        data.fsdd(folder)
    (folder / "1_ann_0.wav").write_bytes(tone(1))
    (folder / "1_ann_1.wav").write_bytes(wav(b"\0\0", rate=16000))
    with pytest.raises(DataError, match=r"1_ann_0.wav has 8000 .*1_ann_1.wav has 16000"):
        data.fsdd(folder)
    (folder / "1_ann_1.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"1_ann_1.wav: is no wav file"):
        data.fsdd(folder)
    for options, text in (
        ({"least": 0}, "0 to 7 digits"),
        ({"least": 4, "most": 3}, "4 to 3 digits"),
        ({"pause_seconds": (0.2, 0.1)}, "pauses of 0.2 to 0.1 s"),
        ({"speeds": (0, 1)}, "speeds of 0 to 1"),
    ):
        with pytest.raises(ArgumentError, match=text):
            data.connected_digits(spoken, 2, **options)


def test_the_published_set(published: Path) -> None:
    spoken = data.fsdd(published / "fsdd.zip")
    assert len(spoken) == 3000 and len(spoken.speakers) == 6
    training, test = spoken.official_split()
    assert (len(training), len(test)) == (2700, 300)
