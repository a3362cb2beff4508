"""Text that a command is given: the words of the command line, and the standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from graphc.frontends.train.data.files import decoded

PIPED = "-"  # the word that stands for the standard input
_STDIN = "standard input"


def word(text: str, option: str) -> str:
    """A word of the command line as it is. Raises DataError for one that is no UTF-8."""
    return decoded(text.encode("utf-8", "surrogateescape"), option)


def piped() -> str:
    """The whole standard input. Raises DataError for bytes that are no UTF-8."""
    return decoded(sys.stdin.buffer.read(), _STDIN)


def typed() -> Iterator[str]:
    """The lines of the standard input, each as soon as it is there. Raises DataError as `piped`."""
    for number, line in enumerate(sys.stdin.buffer, 1):
        yield decoded(line, f"{_STDIN}, line {number}").rstrip("\n")
