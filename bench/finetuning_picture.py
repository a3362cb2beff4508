"""The curves and plans of bench/finetuning.py as a picture.

    python bench/finetuning_picture.py runs/finetuning/*.json -o docs/fine-tuning.svg

Takes the runs `full-…` and `lora-…`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pictures import picture, sources_and_target

LABELS = {"full": "all weights", "lora": "LoRA"}


def draw(files: list[Path], target: Path) -> None:
    runs = [json.loads(file.read_text()) for file in files]
    with picture(target, panels=2, width_ratios=(3, 1)) as (_, (curves, bytes_)):
        for number, kind in enumerate(LABELS):
            chosen = [run for run in runs if run["name"].startswith(kind)]
            for place, run in enumerate(chosen):
                label = LABELS[kind] if not place else None
                curves.plot(
                    *zip(*run["curve"], strict=True), f"C{number}.-", label=label, alpha=0.7
                )
            if chosen:
                draw_memory(bytes_, number, chosen[0])
        curves.set(xlabel="step", ylabel="validation loss on the second half")
        curves.legend()
        curves.grid(alpha=0.3)
        bytes_.set(ylabel="MB of the plan", xticks=range(len(LABELS)))
        bytes_.set_xticklabels(LABELS.values())
        bytes_.margins(y=0.3)
        bytes_.legend()


def draw_memory(axes: Any, place: int, run: dict[str, Any]) -> None:
    """Weights, moments, and the arena, one on the other."""
    weights = run["state_bytes"] - run["moment_bytes"]
    bottom = 0.0
    parts = (("weights", weights), ("moments", run["moment_bytes"]), ("arena", run["arena_bytes"]))
    for shade, (name, count) in enumerate(parts):
        label = None if place else name
        axes.bar(place, count / 1e6, bottom=bottom, color=f"C{shade + 4}", label=label)
        bottom += count / 1e6


if __name__ == "__main__":
    draw(*sources_and_target())
