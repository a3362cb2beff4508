"""Opt: passes over the text of a graph.

    python -m graphc.tools.opt net.graph --passes simplify,cse,fuse
    graphc dump mlp --stage optimized | python -m graphc.tools.opt - --passes fuse

The graph is verified before and after. Large constants are not in the text, so passes that look
into them (fold) refuse those.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from graphc.errors import GraphcError, ParseError
from graphc.ir.parse import parse_graph
from graphc.ops.verify import verify
from graphc.passes.base import run_pipeline
from graphc.passes.pipeline_text import parse_pipeline


def optimise(text: str, passes: str) -> str:
    """The text of a graph after the passes that `passes` names.

    >>> text = "graph @f(%x: f32[4]) { %1: f32[4] = neg(%x) %2: f32[4] = neg(%1) return %2 }"
    >>> print(optimise(text, "simplify,dce"))
    graph @f(%x: f32[4]) {
      return %x
    }
    """
    graph = parse_graph(text)
    verify(graph)
    result = run_pipeline(graph, parse_pipeline(passes))
    verify(result)
    return str(result)


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 2 after an error in the text or the passes, told in one line."""
    parser = argparse.ArgumentParser("python -m graphc.tools.opt", description="Run passes.")
    parser.add_argument("file", help="the text of a graph; - for the standard input")
    parser.add_argument("--passes", default="", help="for example simplify,cse,fuse")
    options = parser.parse_args(argv)
    try:
        print(optimise(_read(options.file), options.passes))
    except GraphcError as error:
        print(f"opt: {options.file}: {error}", file=sys.stderr)
        return 2
    return 0


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ParseError(f"cannot be read: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
