"""`graphc dump`: a stage of a training step as text, data, drawing, page or code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from graphc.errors import ArgumentError

_EXAMPLES = """\
traced, differentiated, optimized, fused: text, json, dot, svg, html
scheduled:                                text, json, dot, svg, html
kernels:                                  text, llvm, asm, cuda, ptx
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"stages and their formats:\n{_EXAMPLES}"
    parser.add_argument("--stage", default="optimized", metavar="STAGE")
    parser.add_argument("--format", default="text", metavar="FORMAT")
    parser.add_argument("-o", dest="file", metavar="FILE", help="write to a file")


def dump(options: argparse.Namespace, step: Any) -> None:
    """Print the stage or write it to a file."""
    text = step.program.dump(options.stage, options.format)
    if not options.file:
        print(text)
        return
    try:
        Path(options.file).write_text(text + "\n")
    except OSError as error:
        raise ArgumentError(f"cannot write {options.file}: {error.strerror}") from None
