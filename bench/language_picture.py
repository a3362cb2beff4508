"""Losses of language models over the characters that they have read, as a picture.

    python bench/language_picture.py runs/language/*/curve.json -o docs/language.svg

The files are those of bench/language.py. Needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def draw(files: list[Path], target: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "graphc"  # the same picture from the same curves
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for file in files:
        run = json.loads(file.read_text())
        read = [1e-6 * x["step"] * run["batch"] * run["context"] for x in run["curve"]]
        losses = [record["20 random batches"] for record in run["curve"]]
        sizes = f"{run['layers']} layers, {run['width']} wide, context {run['context']}"
        axes.plot(read, losses, marker=".", label=f"{sizes}, seed {run['seed']}")
    axes.set(xlabel="characters read, millions", ylabel="validation loss", title="tiny Shakespeare")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("-o", dest="target", type=Path, required=True)
    options = parser.parse_args()
    draw(sorted(options.files), options.target)


if __name__ == "__main__":
    main()
