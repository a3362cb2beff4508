"""The options of every command; what they do is loaded when a command runs."""

from __future__ import annotations

from argparse import ArgumentParser as Parser
from argparse import RawDescriptionHelpFormatter
from typing import Any

SLOWER = 10  # times than the model's own rate, where whole weights are trained

_STAGES = """\
traced, differentiated, optimized, fused: text, json, dot, svg, html
scheduled:                                text, json, dot, svg, html
kernels:                                  text, llvm, asm, cuda, ptx
"""


def model_options(command: Parser) -> None:
    """A training step, and where it runs."""
    command.add_argument("model", metavar="MODEL", help="a ready model, or path.py:function")
    command.add_argument("--batch-size", type=int)
    command.add_argument("--backend", default="cpu", choices=("cpu", "interpreter", "cuda"))
    command.add_argument("--threads", type=int)
    command.add_argument("--seed", type=int, help="of first weights, masks and the data's order")


def run_options(command: Parser) -> None:
    """What is trained on, how long, and where the run is kept."""
    command.add_argument("--data", help="folder or file of the published data set")
    command.add_argument("--epochs", type=int)
    command.add_argument("--out", help="folder of the run (default runs/MODEL-N)")
    command.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")


def finetune_options(command: Parser) -> None:
    # A list of patterns takes all words that follow, so that MODEL comes first.
    command.usage = "graphc finetune MODEL --from CHECKPOINT [option ...]"
    patterns: dict[str, Any] = {"nargs": "+", "default": [], "metavar": "PATTERN"}
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


def predict_options(command: Parser) -> None:
    command.add_argument("model", metavar="MODEL", help="a ready model, or path.py:function")
    command.add_argument("inputs", metavar="INPUT", nargs="+", help="a file, or a folder of files")
    command.add_argument(
        "--from", dest="source", required=True, metavar="RUN", help="a run's folder or checkpoint"
    )
    command.add_argument("--data", help="of a model in a file whose function takes it")
    command.add_argument("--json", action="store_true", help="one JSON object a line")


def generate_options(command: Parser) -> None:
    command.add_argument(
        "model", metavar="MODEL", nargs="?", default="gpt", help="a language model (default gpt)"
    )
    command.add_argument("--from", dest="source", metavar="RUN", help="a run's folder")
    command.add_argument(
        "--prompt",
        metavar="TEXT",
        help="what the text begins with (default a new line; - reads the standard input)",
    )
    command.add_argument("--length", type=int, default=500, help="of what is added, in tokens")
    command.add_argument(
        "--temperature", type=float, default=0.8, help="below 1 likelier tokens, 0 the likeliest"
    )
    command.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens")
    command.add_argument(
        "--top-p", type=float, metavar="P", help="draw from the likeliest that make up P"
    )
    command.add_argument("--seed", type=int, default=0, help="of the draws")
    command.add_argument(
        "--average", type=int, default=1, metavar="N", help="mean weights of N last checkpoints"
    )
    command.add_argument("--threads", type=int)


def translate_options(command: Parser) -> None:
    command.add_argument(
        "inputs",
        metavar="FILE | TEXT",
        nargs="*",
        help="a file of sentences, a line each, or sentences (default: the standard input)",
    )
    command.add_argument(
        "--from", dest="source", required=True, metavar="RUN", help="a run's folder"
    )
    command.add_argument("--beam", type=int, default=5, help="width of the search (default 5)")
    command.add_argument(
        "--length-penalty", type=float, default=1.0, metavar="A", help="0 favours short ones"
    )
    command.add_argument(
        "--average", type=int, default=1, metavar="N", help="mean weights of N last checkpoints"
    )
    command.add_argument("--batch-size", type=int, default=32)
    command.add_argument("--threads", type=int)


def dump_options(command: Parser) -> None:
    command.formatter_class = RawDescriptionHelpFormatter
    command.epilog = f"stages and their formats:\n{_STAGES}"
    command.add_argument("--stage", default="optimized", metavar="STAGE")
    command.add_argument("--format", default="text", metavar="FORMAT")
    command.add_argument("-o", dest="file", metavar="FILE", help="write to a file")


def memory_options(command: Parser) -> None:
    command.add_argument("--max-memory", type=int, metavar="BYTES", help="an error above this")
    command.add_argument("--rows", type=int, default=20, help="of each table (default 20)")


def bench_options(command: Parser) -> None:
    what = command.add_mutually_exclusive_group()
    what.add_argument(
        "--profile", action="store_true", help="every launch against the machine's roof"
    )
    what.add_argument(
        "--fused-vs-unfused",
        action="store_true",
        help="prove that they agree, then time each fusion on and off",
    )
    command.add_argument("--seconds", type=float, default=2.0, help="of each program (default 2)")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--all", action="store_true", help="with --profile: the shortest rows too")
    command.add_argument(
        "--by-kernel", action="store_true", help="with --profile: launches of a kernel as one row"
    )
    command.add_argument("--trace", metavar="FILE", help="with --profile: a Chrome trace of a step")


def cache_options(command: Parser) -> None:
    command.add_argument("--clear", action="store_true", help="remove everything that is kept")
