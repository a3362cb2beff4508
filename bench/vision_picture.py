"""The curves of bench/transfer.py and bench/multitask.py as a picture.

    python bench/vision_picture.py --transfer RUNS --multitask RUNS -o docs/vision.svg

Lines are means over the seeds, bands go from the lowest seed to the highest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pictures import picture

WAYS = {
    "full": "full fine-tuning",
    "dense": "frozen convolutions",
    "head": "frozen trunk",
    "scratch": "from scratch",
}


def draw(axes: Any, places: Sequence[float], curves: Mapping[str, Any], label: str) -> None:
    """Mean and range of curves {seed: accuracies}, in percent."""
    values = 100 * np.array(list(curves.values()))
    (line,) = axes.plot(places, values.mean(axis=0), marker=".", label=label)
    lowest, highest = values.min(axis=0), values.max(axis=0)
    axes.fill_between(places, lowest, highest, color=line.get_color(), alpha=0.15, linewidth=0)


def draw_transfer(axes: Any, folder: Path) -> None:
    for way, label in WAYS.items():
        curves = json.loads((folder / f"{way}.json").read_text())["curves"]
        steps = [step for step, _ in next(iter(curves.values()))]
        shares = {seed: [share for _, share in curve] for seed, curve in curves.items()}
        draw(axes, steps, shares, label)
    axes.set(xlabel="step", ylabel="test accuracy, %", title="Two classes from 500 images")


def draw_multitask(axes: Any, file: Path, title: str) -> None:
    for name, curves in sorted(json.loads(file.read_text()).items()):
        epochs = range(1, 1 + len(next(iter(curves.values()))))
        draw(axes, epochs, curves, name)
    axes.set(xlabel="epoch", ylabel="test accuracy, %", title=title)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--transfer", type=Path, required=True)
    parser.add_argument("--multitask", type=Path, required=True)
    parser.add_argument("-o", dest="target", type=Path, required=True)
    options = parser.parse_args()

    pairs = {"disjoint": "Animals and vehicles", "shared": "Class, and animal or not"}
    files = {options.multitask / f"{pair}.json": title for pair, title in pairs.items()}
    files = {file: title for file, title in files.items() if file.exists()}
    panels = 1 + len(files)
    with picture(options.target, panels, width=4.5 * panels) as (_, axes):
        draw_transfer(axes[0], options.transfer)
        for place, (file, title) in zip(axes[1:], files.items(), strict=True):
            draw_multitask(place, file, title)
        for place in axes:
            place.grid(alpha=0.3)
            place.legend()


if __name__ == "__main__":
    main()
