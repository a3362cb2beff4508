"""Error rates over epochs as a picture, from the metrics.csv of runs.

    python bench/speech_picture.py runs/speech/*/ -o docs/speech.svg

Needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

import csv
from pathlib import Path

from pictures import picture, sources_and_target


def draw(folders: list[Path], target: Path) -> None:
    with picture(target, panels=2) as (figure, (rates, losses)):
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


if __name__ == "__main__":
    draw(*sources_and_target())
