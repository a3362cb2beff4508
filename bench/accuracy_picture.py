"""Test accuracy over epochs as a picture, from the files that bench/accuracy.py writes.

    python bench/accuracy_picture.py runs/accuracy/*.json -o docs/accuracy.svg

Needs matplotlib (the extra `plot`).
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
        epochs = [record["epoch"] for record in run["history"]]
        percent = [100 * record["validation_accuracy"] for record in run["history"]]
        label = f"{run['model']}, batch {run['batch_size']}, seed {run['seed']}"
        axes.plot(epochs, percent, marker=".", label=label)
    axes.set(xlabel="epoch", ylabel="test accuracy, %", title="CIFAR-10")
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
