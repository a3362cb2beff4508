"""Recordings in RIFF WAVE files of plain samples (PCM, 8 to 32 bits), by the standard library."""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphc.errors import DataError
from graphc.frontends.train.data.files import existing, reading
from graphc.frontends.train.data.sources import open_source

Array = np.ndarray[Any, np.dtype[Any]]
_PCM, _EXTENSIBLE = b"\x01\x00", b"\xfe\xff"  # format tags


class Sound(NamedTuple):
    """samples float32 [n], from -1 up to 1, and how many of them are a second."""

    samples: Array
    rate: int


def read_wav(path: str | Path) -> Sound:
    """The sound of a wav file; several channels become one, their mean.

    Raises DataError for a file that is cut, damaged, compressed or of floating-point samples.
    """
    file = existing(path)
    with reading(str(file)):
        data = file.read_bytes()
    return parse_wav(data, str(file))


def parse_wav(data: bytes, name: str) -> Sound:
    """`read_wav` of a file's bytes; errors begin with `name`."""
    with _parsing(name), wave.open(io.BytesIO(_plain(data))) as stream:
        channels, width = stream.getnchannels(), stream.getsampwidth()
        rate, frames = stream.getframerate(), stream.getnframes()
        samples = stream.readframes(frames)
    if width > 4 or rate < 1:
        raise DataError(f"{name}: samples of {width} bytes, {rate} a second; expected 1 to 4 bytes")
    if len(samples) < frames * channels * width:
        raise DataError(
            f"{name}: holds {len(samples) // (channels * width)} of the {frames} frames that its "
            "header tells of; the file is cut"
        )
    sound = _as_float(samples, width).reshape(-1, channels)
    return Sound(sound.mean(axis=1, dtype=np.float32) if channels > 1 else sound[:, 0], rate)


def sounds_in(path: str | Path) -> Iterator[tuple[str, Sound]]:
    """(name, sound) of a wav file, or of every one in a folder or zip file, sorted by name.

    Raises DataError where there is none, and as `read_wav` does.
    """
    place = existing(path)
    if place.is_file() and place.suffix.lower() != ".zip":
        yield str(place), read_wav(place)
        return
    source = open_source(place)
    names = sorted(name for name in source.files() if name.lower().endswith(".wav"))
    if not names:
        raise DataError(f"{place}: holds no wav file")
    for name in names:
        yield source.describe(name), parse_wav(source.read(name), source.describe(name))


def _plain(data: bytes) -> bytes:
    """A file of plain samples under the extensible header as one under the plain header, which all
    versions of the standard library read.
    """
    start = data.find(b"fmt ", 12, 4096)
    tag, kind = start + 8, start + 8 + 24  # of the subformat's identifier, the tag itself
    if start < 0 or data[tag : tag + 2] != _EXTENSIBLE or data[kind : kind + 2] != _PCM:
        return data
    return data[:tag] + _PCM + data[tag + 2 :]


@contextmanager
def _parsing(name: str) -> Iterator[None]:
    try:
        yield
    except (wave.Error, EOFError, struct.error, RuntimeError, OverflowError) as error:
        reason = str(error) or "ends within its header"
        raise DataError(f"{name}: is no wav file of plain samples: {reason}") from None


def _as_float(data: bytes, width: int) -> Array:
    """Little-endian whole numbers of `width` bytes over the largest one; 8 bits have no sign."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:  # as the upper bytes of four
        parts = np.zeros((len(data) // 3, 4), np.uint8)
        parts[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, width = parts.tobytes(), 4
    whole = np.frombuffer(data, f"<i{width}")
    scaled: Array = (whole * 2.0 ** (1 - 8 * width)).astype(np.float32)
    return scaled
