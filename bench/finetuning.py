"""A language model on one half of a text, fine-tuned on the other: all weights, or LoRA.

    python bench/finetuning.py pretrain --data tinyshakespeare.txt --steps 5000
    python bench/finetuning.py full --data tinyshakespeare.txt --lr 3e-4
    python bench/finetuning.py lora --data tinyshakespeare.txt --lr 2e-3 --rank 2

The model is nanoGPT's for a CPU: 4 layers, 4 heads, 128 wide (or --width), 64 characters, batches
of 12. Of each half the first 90 % train and the last 10 % validate. `pretrain` saves the model in
--out; `full` and `lora` start from it. Every run leaves its curve and the bytes of its plan there
as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import graphc
from graphc import data as datasets
from graphc import nn, optim
from graphc.frontends.train.evaluation import Evaluator
from graphc.models import gpt

CONTEXT, BATCH_SIZE = 64, 12


def halves(path: Path, folder: Path) -> tuple[Path, Path]:
    """The two halves of a text as files of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = path.read_text(encoding="utf-8")
    middle = len(whole) // 2
    parts = folder / "first.txt", folder / "second.txt"
    for part, text in zip(parts, (whole[:middle], whole[middle:]), strict=True):
        part.write_text(text, encoding="utf-8")
    return parts


def loaders(half: Path, seed: int) -> tuple[Any, Any]:
    """(training batches without end, validation windows that do not overlap)."""
    train, validation = (
        datasets.text(half, CONTEXT, part, 0.9, stride, gpt.CHARACTERS)
        for part, stride in ((True, 1), (False, CONTEXT))
    )
    shuffled = datasets.Loader(train, BATCH_SIZE, seed=seed)
    return shuffled, datasets.Loader(validation, BATCH_SIZE, shuffle=False)


def make_step(model: Any, optimizer: optim.Optimizer, options: argparse.Namespace) -> Any:
    spec = graphc.Spec((BATCH_SIZE, CONTEXT), "i32")
    return graphc.TrainStep(
        model,
        gpt.next_character,
        optimizer,
        spec,
        spec,
        seed=options.seed,
        threads=options.threads,
    )


def make_model(options: argparse.Namespace) -> gpt.GPT:
    return gpt.GPT(
        gpt.Sizes(context=CONTEXT, layers=4, heads=4, width=options.width, dropout=options.dropout)
    )


def endless(loader: Any) -> Iterator[Any]:
    return chain.from_iterable(repeat(loader))


def run(name: str, step: Any, half: Path, options: argparse.Namespace) -> None:
    """Train, validate every so often, and write what came of it."""
    training, validation = loaders(half, options.seed)
    evaluator = Evaluator(step)
    batches, curve, started = endless(training), [], time.process_time()
    for done in range(options.steps + 1):
        if done % options.every == 0:
            loss = evaluator.evaluate(validation, {})["loss"]
            curve.append((done, loss))
            print(f"{name}  step {done:5d}  validation loss {loss:.4f}", flush=True)
        if done < options.steps:
            step(*next(batches))
    record = {
        "name": name,
        "seed": options.seed,
        "lr": options.lr,
        "curve": curve,
        **memory_of(step),
        "processor_minutes": round((time.process_time() - started) / 60, 1),
    }
    (options.out / f"{name}.json").write_text(json.dumps(record) + "\n")
    print(record)


def memory_of(step: Any) -> dict[str, int]:
    """Bytes of the plan, and how many elements are trained."""
    parameters = list(step.model.parameters())
    memory = step.program.memory.with_threads(1)
    moments = [name for name in step.state if name.startswith("optimizer.")]
    return {
        "trained": sum(p.size for p in parameters if p.requires_grad),
        "parameters": sum(p.size for p in parameters),
        "peak_bytes": memory.peak_bytes,
        "arena_bytes": memory.arena_bytes,
        "state_bytes": memory.resident_bytes["state"],
        "moment_bytes": sum(step.state[name].base.nbytes for name in moments),
    }


def pretrain(options: argparse.Namespace) -> None:
    first, _ = halves(options.data, options.out)
    model = make_model(options)
    if options.more:
        model.load_state_dict(graphc.checkpoint.load(options.out / "pretrained.safetensors")[0])
    step = make_step(model, gpt.optimizer(options.steps, options.lr), options)
    run(options.name or "pretrain", step, first, options)
    graphc.checkpoint.save(options.out / "pretrained.safetensors", model.state_dict())


def tune(options: argparse.Namespace) -> None:
    """Start from the saved model; the rate falls as 1 / step after a short rise."""
    _, second = halves(options.data, options.out)
    model = make_model(options)
    model.load_state_dict(graphc.checkpoint.load(options.out / "pretrained.safetensors")[0])
    name = "full"
    if options.command == "lora":
        print(nn.lora(model, *options.layers, rank=options.rank, alpha=options.alpha))
        if options.unfreeze:
            model.unfreeze(*options.unfreeze)
        name = f"lora-r{options.rank}-{'-'.join(options.layers).replace('*', '').replace('.', '')}"
    optimizer = gpt.optimizer(options.steps, options.lr)
    if options.command == "lora":  # at its larger rate, decay would pull the matrices to zero
        optimizer = replace(optimizer, groups=())
    run(
        options.name or f"{name}-lr{options.lr:g}",
        make_step(model, optimizer, options),
        second,
        options,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("pretrain", "full", "lora"))
    parser.add_argument("--data", type=Path, required=True, help="a text")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=250, help="steps between validations")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--more", action="store_true", help="pre-train the saved model further")
    parser.add_argument("--width", type=int, default=128, help="of the model")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--rank", type=int, default=2)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--layers", nargs="+", default=["*.c_attn", "*.mlp.*"])
    parser.add_argument("--unfreeze", nargs="+", help="what LoRA leaves trainable beside it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", help="of the run (default from its options)")
    parser.add_argument("--out", type=Path, default=Path("runs/finetuning"))
    options = parser.parse_args()
    (pretrain if options.command == "pretrain" else tune)(options)


if __name__ == "__main__":
    main()
