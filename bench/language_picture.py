"""Losses of language models over the characters that they have read, as a picture.

    python bench/language_picture.py runs/language/*/curve.json -o docs/language.svg

The files are those of bench/language.py.
"""

from __future__ import annotations

import json
from pathlib import Path

from pictures import picture, sources_and_target


def draw(files: list[Path], target: Path) -> None:
    with picture(target, width=7) as (_, axes):
        for file in files:
            run = json.loads(file.read_text())
            read = [1e-6 * x["step"] * run["batch"] * run["context"] for x in run["curve"]]
            losses = [record["20 random batches"] for record in run["curve"]]
            sizes = f"{run['layers']} layers, {run['width']} wide, context {run['context']}"
            axes.plot(read, losses, marker=".", label=f"{sizes}, seed {run['seed']}")
        axes.set(
            xlabel="characters read, millions", ylabel="validation loss", title="tiny Shakespeare"
        )
        axes.grid(alpha=0.3)
        axes.legend()


if __name__ == "__main__":
    draw(*sources_and_target())
