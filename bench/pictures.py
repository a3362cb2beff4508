"""What the scripts that draw learning curves share.

Pictures are SVG, and the same bytes from the same curves. Needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def sources_and_target() -> tuple[list[Path], Path]:
    """The files or folders that the command line names, sorted, and the picture after -o."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("-o", dest="target", type=Path, required=True)
    options = parser.parse_args()
    return sorted(options.sources), options.target


@contextmanager
def picture(target: Path, panels: int = 1, width: float = 9, **layout: Any) -> Iterator[Any]:
    """A figure and its axes, one or a row of them; written to the target at the end."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "graphc"  # of the names inside, else random
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, panels, figsize=(width, 4), layout="constrained", **layout)
    yield figure, axes
    figure.savefig(target, metadata={"Date": None})
