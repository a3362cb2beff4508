"""Losses of a seq2seq's run over epochs as a picture, from its metrics.csv.

    python bench/translation_picture.py runs/translation -o docs/translation.svg

Needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path


def draw(folder: Path, target: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "graphc"  # the same picture from the same curves
    from matplotlib import pyplot

    with (folder / "metrics.csv").open(newline="") as stream:
        records = list(csv.DictReader(stream))
    epochs = [int(record["epoch"]) for record in records]
    figure, (losses, confusion) = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    names = {"loss": "training (dropout, smoothed)", "validation_loss": "validation"}
    for name, label in names.items():
        losses.plot(epochs, [float(record[name]) for record in records], marker=".", label=label)
    losses.set(xlabel="epoch", ylabel="cross entropy a code")
    losses.legend()
    perplexity = [math.exp(float(record["validation_loss"])) for record in records]
    confusion.plot(epochs, perplexity, marker=".", color="C1")
    confusion.set(xlabel="epoch", ylabel="validation perplexity", yscale="log")
    for axes in (losses, confusion):
        axes.grid(alpha=0.3)
    figure.suptitle("Multi30k, English to German, seq2seq")
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", dest="target", type=Path, required=True)
    options = parser.parse_args()
    draw(options.run, options.target)


if __name__ == "__main__":
    main()
