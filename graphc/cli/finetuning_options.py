"""The options of `graphc finetune`."""

from __future__ import annotations

import argparse
from typing import Any

SLOWER = 10  # times than the model's own rate, where whole weights are trained


def add_options(command: argparse.ArgumentParser) -> None:
    patterns: dict[str, Any] = {"nargs": "+", "default": [], "metavar": "PATTERN"}
    command.add_argument("--data", help="folder or file of the published data set")
    command.add_argument("--epochs", type=int)
    command.add_argument("--out", help="folder of the run (default runs/MODEL-N)")
    command.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    about = "folder of a run, or a safetensors file, whoever wrote it"
    command.add_argument("--from", dest="source", required=True, metavar="CHECKPOINT", help=about)
    about = "prefixes of names in the checkpoint that are others in the model"
    command.add_argument("--rename", nargs="+", default=[], metavar="OLD=NEW", help=about)
    command.add_argument("--skip", help="parameters that are not loaded", **patterns)
    command.add_argument("--freeze", help="parameters that are not trained", **patterns)
    command.add_argument("--unfreeze", help="what is trained beside adapters", **patterns)
    command.add_argument("--lora", help="layers to train by low-rank matrices", **patterns)
    command.add_argument("--rank", type=int, default=8, help="of the matrices (default 8)")
    command.add_argument("--alpha", type=float, default=16, help="their weight (default 16)")
    command.add_argument("--dropout", type=float, default=0.0, help="before them (default 0)")
    command.add_argument("--bottleneck", help="layers to train a bottleneck behind", **patterns)
    command.add_argument("--width", type=int, default=64, help="of bottlenecks (default 64)")
    command.add_argument("--prefix", help="attentions to train a prefix of", **patterns)
    command.add_argument("--length", type=int, default=16, help="of prefixes (default 16)")
    about = f"largest rate (default the model's with adapters, else 1/{SLOWER} of it)"
    command.add_argument("--lr", type=float, help=about)
    about = "factor of the rate from each of --layers to the one before"
    command.add_argument("--layer-decay", type=float, metavar="FACTOR", help=about)
    command.add_argument("--layers", help="modules, from the input to the output", **patterns)
