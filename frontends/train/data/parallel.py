"""Parallel text: sentences with their translations, and the codes a translator trains on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphc.errors import DataError
from graphc.frontends.train.data.buckets import SequenceDataset, sequences
from graphc.frontends.train.data.dataset import Array
from graphc.frontends.train.data.files import existing, read_text
from graphc.frontends.train.data.tokenizers import END, START, Tokenizer

Pair = tuple[str, str]


def parallel(source: str | Path, target: str | Path) -> list[Pair]:
    """(sentence, its translation), line by line of two UTF-8 files, plain or gzip.

    Raises DataError for files that cannot be read and for different numbers of lines.
    """
    paths = existing(source), existing(target)
    lines = [read_lines(path) for path in paths]
    if len(lines[0]) != len(lines[1]):
        raise DataError(f"{paths[0]} has {len(lines[0])} lines, {paths[1]} has {len(lines[1])}")
    return list(zip(*lines, strict=True))


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, plain or gzip, without blanks at their ends."""
    return lines_of(read_text(path))


def lines_of(text: str) -> list[str]:
    """The lines of a text, without blanks at their ends; none of an empty one."""
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def multi30k(
    path: str | Path, part: str = "train", languages: tuple[str, str] = ("en", "de")
) -> list[Pair]:
    """Sentence pairs of a folder with PART.en and PART.de, plain or with .gz behind.

    Multi30k (Elliott et al., 2016) has the parts train, val and test_2016_flickr. Raises DataError
    where a file is missing.
    """
    folder = existing(path)
    return parallel(*(_file(folder, f"{part}.{language}") for language in languages))


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder} has no {name} and no {name}.gz")


def translations(pairs: Sequence[Pair], source: Tokenizer, target: Tokenizer) -> SequenceDataset:
    """Examples (source [S], target [T], what follows in target [T]), int32, of many lengths.

    The source ends with END; the target begins with START, and what follows it ends with END.
    """
    found = [(source.encode(first), target.encode(second)) for first, second in pairs]
    return sequences(
        [ended(codes) for codes, _ in found],
        [np.concatenate([[np.int32(START)], codes]) for _, codes in found],
        [ended(codes) for _, codes in found],
    )


def ended(codes: Array) -> Array:
    """Codes [n], then END."""
    return np.append(codes, np.int32(END))
