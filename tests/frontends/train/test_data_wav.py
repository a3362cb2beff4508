"""Wav files of every plain width, and files that are none."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import write_folder, write_zip
from hypothesis import given
from hypothesis import strategies as some

from graphc import data
from graphc.errors import DataError
from graphc.frontends.train.data.wav import parse_wav, sounds_in

Array = np.ndarray[Any, Any]


def wav(frames: bytes, width: int = 2, channels: int = 1, rate: int = 8000) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(frames)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("width", "frames", "expected"),
    [
        (1, bytes([0, 128, 192, 255]), [-1, 0, 0.5, 127 / 128]),
        (2, struct.pack("<3h", -32768, 1, 16384), [-1, 2**-15, 0.5]),
        (3, bytes([0, 0, 128, 1, 0, 0, 0, 0, 64]), [-1, 2**-23, 0.5]),
        (4, struct.pack("<3i", -(2**31), 2**10, 2**30), [-1, 2**-21, 0.5]),
    ],
)
def test_samples_of_every_width(width: int, frames: bytes, expected: list[float]) -> None:
    sound = parse_wav(wav(frames, width), "x")
    assert sound.samples.dtype == np.float32 and sound.samples.tolist() == expected


def test_channels_become_their_mean(tmp_path: Path) -> None:
    file = tmp_path / "two.wav"
    file.write_bytes(wav(struct.pack("<4h", 0, 16384, -16384, -16384), channels=2, rate=16000))
    samples, rate = data.read_wav(file)
    assert samples.tolist() == [0.25, -0.5] and rate == 16000


def test_an_empty_recording_has_no_samples() -> None:
    assert parse_wav(wav(b""), "x").samples.shape == (0,)


def test_a_cut_file_says_how_much_is_there() -> None:
    whole = wav(struct.pack("<100h", *range(100)))
    with pytest.raises(DataError, match=r"x: holds 90 of the 100 frames .* cut"):
        parse_wav(whole[:-20], "x")


def test_what_is_no_wav_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "text.wav"
    for content in (b"", b"RIFF", b"hello, this is a text and no sound", wav(b"")[:20]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"text\.wav: is no wav file of plain samples"):
            data.read_wav(file)
    with pytest.raises(DataError, match=r"missing\.wav"):
        data.read_wav(tmp_path / "missing.wav")


def test_plain_samples_under_the_extensible_header() -> None:
    """As recorders write them for 24 bits: the samples' kind stands in a longer format chunk."""
    frames = bytes([0, 0, 64, 0, 0, 192])
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 48000, 144000, 3, 24, 22, 24, 4) + guid
    chunks = b"fmt " + struct.pack("<I", 40) + form + b"data" + struct.pack("<I", 6) + frames
    whole = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    sound = parse_wav(whole, "x")
    assert sound.samples.tolist() == [0.5, -0.5] and sound.rate == 48000
    with pytest.raises(DataError, match="x: is no wav file of plain samples"):
        parse_wav(whole.replace(guid, b"\3" + guid[1:]), "x")


def test_floating_point_samples_are_refused() -> None:
    content = bytearray(wav(b"\0" * 8, width=4))
    content[20:22] = struct.pack("<H", 3)  # the format: IEEE float
    with pytest.raises(DataError, match="unknown format: 3"):
        parse_wav(bytes(content), "x")


def test_sounds_of_a_file_a_folder_and_a_zip_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "said", {"b.wav": wav(b"\1\0"), "a/c.WAV": wav(b"\2\0")})
    archive = write_zip(tmp_path / "said.zip", {"d.wav": wav(b"\3\0"), "notes.txt": b""})
    found = {
        name: round(float(sound.samples[0]) * 2**15)
        for path in (folder / "b.wav", folder, archive)
        for name, sound in sounds_in(path)
    }
    assert found == {f"{folder}/a/c.WAV": 2, f"{folder}/b.wav": 1, f"{archive}: entry 'd.wav'": 3}
    with pytest.raises(DataError, match="empty: holds no wav file"):
        (tmp_path / "empty").mkdir()
        next(sounds_in(tmp_path / "empty"))


@given(some.data())
def test_damaged_files_give_sound_or_an_error_that_names_them(choose: some.DataObject) -> None:
    content = bytearray(wav(struct.pack("<20h", *range(20))))
    for _ in range(choose.draw(some.integers(1, 6))):
        content[choose.draw(some.integers(0, 43))] = choose.draw(some.integers(0, 255))
    try:
        sound = parse_wav(bytes(content[: choose.draw(some.integers(0, len(content)))]), "noise")
    except DataError as error:
        assert str(error).startswith("noise: ")
    else:
        assert sound.samples.ndim == 1 and np.isfinite(sound.samples).all()
