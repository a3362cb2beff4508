"""How far sequences are from what was meant: edit distance, character and word error rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.errors import ArgumentError


def edit_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions that make `b` of `a`.

    Wagner and Fischer, 1974, a row at a time.

    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(b) + 1))
    for count, item in enumerate(a, 1):
        corner, row[0] = row[0], count
        for position, other in enumerate(b, 1):
            kept = corner + (item != other)
            corner = row[position]
            row[position] = min(kept, corner + 1, row[position - 1] + 1)
    return row[-1]


def character_error_rate(found: Sequence[Sequence[Any]], meant: Sequence[Sequence[Any]]) -> float:
    """All edits from the `found` sequences to the `meant` ones, over the length of the latter.

    Of strings, or of lists of labels. It may be above 1; where nothing was meant it is 0 or 1.
    Raises ArgumentError for lists of different lengths.

    >>> character_error_rate(["abc", "d"], ["abd", "d"])
    0.25
    >>> character_error_rate([[1, 2], []], [[1, 2], [3, 4]])
    0.5
    """
    if len(found) != len(meant):
        raise ArgumentError(f"error rate: {len(found)} sequences for {len(meant)} references")
    edits = sum(edit_distance(a, b) for a, b in zip(found, meant, strict=True))
    length = sum(map(len, meant))
    return edits / length if length else float(edits > 0)


def word_error_rate(found: Sequence[str], meant: Sequence[str]) -> float:
    """`character_error_rate` of the words between white space instead of the characters.

    >>> word_error_rate(["the cat"], ["the cat sat"]) == 1 / 3
    True
    """
    return character_error_rate([text.split() for text in found], [text.split() for text in meant])
