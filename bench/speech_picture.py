"""Error rates over epochs as a picture, from the metrics.csv of runs.

    python bench/speech_picture.py runs/speech/*/ -o docs/speech.svg

Needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path


def draw(folders: list[Path], target: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "graphc"  # the same picture from the same curves
    from matplotlib import pyplot

    figure, (rates, losses) = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for folder in folders:
        with (folder / "metrics.csv").open(newline="") as stream:
            records = list(csv.DictReader(stream))
        epochs = [int(record["epoch"]) for record in records]
        percent = [100 * float(record["validation_character_error_rate"]) for record in records]
        (line,) = rates.plot(epochs, percent, marker=".", label=folder.name)
        for name, style in (("loss", ":"), ("validation_loss", "-")):
            values = [float(record[name]) for record in records]
            losses.plot(epochs, values, style, color=line.get_color(), label=folder.name)
    rates.set(xlabel="epoch", ylabel="test character error rate, %", yscale="log")
    rates.legend()
    losses.set(xlabel="epoch", ylabel="CTC loss (training dotted, test drawn)", yscale="log")
    for axes in (rates, losses):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.suptitle("Connected digits of FSDD, lstm-ctc")
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-o", dest="target", type=Path, required=True)
    options = parser.parse_args()
    draw(sorted(options.folders), options.target)


if __name__ == "__main__":
    main()
