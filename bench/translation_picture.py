"""Losses of a seq2seq's run over epochs as a picture, from its metrics.csv.

    python bench/translation_picture.py runs/translation -o docs/translation.svg

Needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from pictures import picture, sources_and_target


def draw(folders: list[Path], target: Path) -> None:
    (folder,) = folders
    with (folder / "metrics.csv").open(newline="") as stream:
        records = list(csv.DictReader(stream))
    epochs = [int(record["epoch"]) for record in records]
    with picture(target, panels=2) as (figure, (losses, confusion)):
        names = {"loss": "training (dropout, smoothed)", "validation_loss": "validation"}
        for name, label in names.items():
            losses.plot(
                epochs, [float(record[name]) for record in records], marker=".", label=label
            )
        losses.set(xlabel="epoch", ylabel="cross entropy a code")
        losses.legend()
        perplexity = [math.exp(float(record["validation_loss"])) for record in records]
        confusion.plot(epochs, perplexity, marker=".", color="C1")
        confusion.set(xlabel="epoch", ylabel="validation perplexity", yscale="log")
        for axes in (losses, confusion):
            axes.grid(alpha=0.3)
        figure.suptitle("Multi30k, English to German, seq2seq")


if __name__ == "__main__":
    draw(*sources_and_target())
