"""`graphc dump`: a stage of a training step as text, data, drawing, page or code."""

from __future__ import annotations

import argparse
from pathlib import Path

from graphc.cli.loading import load
from graphc.errors import ArgumentError


def dump(options: argparse.Namespace) -> None:
    """Print the stage or write it to a file."""
    step = load(options).step
    text = step.program.dump(options.stage, options.format)
    if not options.file:
        print(text)
        return
    try:
        Path(options.file).write_text(text + "\n")
    except OSError as error:
        raise ArgumentError(f"cannot write {options.file}: {error.strerror}") from None
