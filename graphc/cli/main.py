"""The command line: graphc train | finetune | predict | dump | memory | bench | models | ..."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from graphc import __version__
from graphc.cli.bench import add_options as bench_options
from graphc.cli.dump import add_options as dump_options
from graphc.cli.finetuning_options import add_options as finetune_options
from graphc.cli.generating import add_options as generate_options
from graphc.cli.predicting import add_options as predict_options
from graphc.cli.translating import add_options as translate_options
from graphc.errors import ArgumentError, GraphcError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 2 after an error of the user's, told in one line.

    As a shell shows it, 130 after Ctrl-C and 141 where the reader of the output (`head`) has gone.
    """
    options = _parser().parse_args(argv)
    try:
        options.run(options)
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = _model_command(commands, "train", "train a model", _train)
    train.add_argument("--data", help="folder or file of the published data set")
    train.add_argument("--epochs", type=int)
    train.add_argument("--out", help="folder of the run (default runs/MODEL-N)")
    train.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    about = "train a model on from a checkpoint: some layers, adapters, or all of it"
    finetune_options(_model_command(commands, "finetune", about, _finetune))
    _command(
        commands, "predict", "what a trained model says about files", predict_options, _predict
    )
    dump = _model_command(commands, "dump", "print a stage of a model's training step", _dump)
    dump_options(dump)
    memory = _model_command(commands, "memory", "the memory of a training step", _memory)
    memory.add_argument("--max-memory", type=int, metavar="BYTES", help="an error above this")
    memory.add_argument("--rows", type=int, default=20, help="of each table (default 20)")
    bench = _model_command(commands, "bench", "time a training step", _bench)
    bench_options(bench)
    about = "find the compiler step that changes what a training step computes"
    _model_command(commands, "bisect", about, _bisect)
    about = "go on with a text by a trained language model"
    _command(commands, "generate", about, generate_options, _generate)
    about = "translate sentences by a trained seq2seq"
    _command(commands, "translate", about, translate_options, _translate)
    models = commands.add_parser("models", help="list the ready models")
    models.set_defaults(run=_models)
    devices = commands.add_parser("devices", help="what programs can run on here")
    devices.set_defaults(run=_devices)
    cache = commands.add_parser("cache", help="show or clear the compile cache")
    cache.add_argument("--clear", action="store_true", help="remove everything that is kept")
    cache.set_defaults(run=_cache)
    return parser


def _command(commands: Any, name: str, about: str, add_options: Any, run: Any) -> None:
    """A command that names all its options itself."""
    command = commands.add_parser(name, help=about)
    add_options(command)
    command.set_defaults(run=run)


def _model_command(commands: Any, name: str, about: str, run: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=about)
    command.add_argument("model", metavar="MODEL", help="a ready model, or path.py:function")
    command.add_argument("--batch-size", type=int)
    command.add_argument("--backend", default="cpu", choices=("cpu", "interpreter", "cuda"))
    command.add_argument("--threads", type=int)
    command.add_argument("--seed", type=int, help="of first weights, masks and the data's order")
    command.set_defaults(run=run)
    return command


def _load(options: argparse.Namespace, like: Any = None) -> tuple[Any, Any, Any, int]:
    """(step, training loader, test loader, epochs) of the model that is named.

    A ready model takes sizes and vocabulary of a run from `like`, the run's description.
    """
    from graphc.cli.loading import load_model

    step, train, test, epochs = load_model(
        options.model,
        getattr(options, "data", None),
        options.batch_size,
        getattr(options, "epochs", None),
        like,
    )
    step.backend, step.threads = options.backend, options.threads
    if options.seed is not None:
        for seeded in (step, train, test):
            if hasattr(seeded, "seed"):  # a loader of the user's own may have none
                seeded.seed = options.seed
    return step, train, test, epochs


def _train(options: argparse.Namespace) -> None:
    from graphc.cli.training import train

    step, training, test, epochs = _load(options)
    if training is None:
        raise ArgumentError(f"{options.model} gives no data to train on")
    train(options, step, training, test, epochs)


def _predict(options: argparse.Namespace) -> None:
    from graphc.cli.predicting import predict

    predict(options)


def _translate(options: argparse.Namespace) -> None:
    from graphc.cli.translating import translate

    translate(options)


def _finetune(options: argparse.Namespace) -> None:
    from graphc.cli.finetuning import described, finetune

    step, training, test, epochs = _load(options, described(options.source, options.model))
    if training is None:
        raise ArgumentError(f"{options.model} gives no data to train on")
    finetune(options, step, training, test, epochs)


def _generate(options: argparse.Namespace) -> None:
    from graphc.cli.generating import generate

    generate(options)


def _dump(options: argparse.Namespace) -> None:
    from graphc.cli.dump import dump

    step, *_ = _load(options)
    dump(options, step)


def _memory(options: argparse.Namespace) -> None:
    from graphc.cli.memory import memory

    step, *_ = _load(options)
    memory(options, step)


def _bench(options: argparse.Namespace) -> None:
    from graphc.cli.bench import bench

    step, training, *_ = _load(options)
    bench(options, step, training)


def _bisect(options: argparse.Namespace) -> None:
    from graphc.cli.bisecting import bisect

    step, training, *_ = _load(options)
    bisect(options, step, training)


def _devices(options: argparse.Namespace) -> None:
    from graphc.cli.devices import devices

    devices(options)


def _models(options: argparse.Namespace) -> None:
    from graphc.models.registry import MODELS

    for name, model in MODELS.items():
        print(f"{name:12} {model.about}")


def _cache(options: argparse.Namespace) -> None:
    from graphc.cli.cache import cache

    cache(options)
