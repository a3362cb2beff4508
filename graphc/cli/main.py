"""The command line: graphc train | finetune | predict | dump | memory | bench | models | ..."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper

from graphc import __version__
from graphc.cli import options as add
from graphc.errors import GraphcError


@dataclass(frozen=True)
class Command:
    """What a command is for, the function in graphc.cli that runs it, and its options."""

    about: str
    home: str  # module:function, loaded when it runs
    options: tuple[Callable[[argparse.ArgumentParser], None], ...] = ()

    def run(self, options: argparse.Namespace) -> None:
        module, _, function = self.home.partition(":")
        getattr(import_module(f"graphc.cli.{module}"), function)(options)


COMMANDS = {
    "train": Command("train a model", "training:train", (add.model_options, add.run_options)),
    "finetune": Command(
        "train a model on from a checkpoint: some layers, adapters, or all of it",
        "finetuning:finetune",
        (add.model_options, add.run_options, add.finetune_options),
    ),
    "predict": Command(
        "what a trained model says about files", "predicting:predict", (add.predict_options,)
    ),
    "generate": Command(
        "go on with a text by a trained language model",
        "generating:generate",
        (add.generate_options,),
    ),
    "translate": Command(
        "translate sentences by a trained seq2seq",
        "translating:translate",
        (add.translate_options,),
    ),
    "dump": Command(
        "print a stage of a model's training step",
        "dump:dump",
        (add.model_options, add.dump_options),
    ),
    "memory": Command(
        "the memory of a training step",
        "memory:memory",
        (add.model_options, add.memory_options),
    ),
    "bench": Command("time a training step", "bench:bench", (add.model_options, add.bench_options)),
    "bisect": Command(
        "find the compiler step that changes what a training step computes",
        "bisecting:bisect",
        (add.model_options,),
    ),
    "models": Command("list the ready models", "listing:models"),
    "devices": Command("what programs can run on here", "devices:devices"),
    "cache": Command("show or clear the compile cache", "cache:cache", (add.cache_options,)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 2 after an error of the user's, told in one line.

    As a shell shows it, 130 after Ctrl-C and 141 where the reader of the output (`head`) has gone.
    """
    options = _parser().parse_args(argv)
    if isinstance(sys.stdout, TextIOWrapper):  # a name or text that the output has no bytes for
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        COMMANDS[options.command].run(options)
        sys.stdout.flush()
    except GraphcError as error:
        print(f"graphc: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush
        return 141
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("graphc", description="Compile and train models.")
    parser.add_argument("--version", action="version", version=f"graphc {__version__}")
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = parsers.add_parser(name, help=command.about)
        for add_options in command.options:
            add_options(one)
    return parser
