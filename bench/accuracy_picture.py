"""Test accuracy over epochs as a picture, from the files that bench/accuracy.py writes.

    python bench/accuracy_picture.py runs/accuracy/*.json -o docs/accuracy.svg

Needs matplotlib (the extra `plot`).
"""

from __future__ import annotations

import json
from pathlib import Path

from pictures import picture, sources_and_target


def draw(files: list[Path], target: Path) -> None:
    with picture(target, width=7) as (_, axes):
        for file in files:
            run = json.loads(file.read_text())
            epochs = [record["epoch"] for record in run["history"]]
            percent = [100 * record["validation_accuracy"] for record in run["history"]]
            label = f"{run['model']}, batch {run['batch_size']}, seed {run['seed']}"
            axes.plot(epochs, percent, marker=".", label=label)
        axes.set(xlabel="epoch", ylabel="test accuracy, %", title="CIFAR-10")
        axes.grid(alpha=0.3)
        axes.legend()


if __name__ == "__main__":
    draw(*sources_and_target())
