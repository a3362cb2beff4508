"""Language models on tiny Shakespeare: nanoGPT's CPU configuration, and its larger one.

    python -m bench.language nano --data PATH --seeds 0 1 2
    python -m bench.language large --data PATH --seeds 0
    TORCH_PYTHON -m bench.language nano --data PATH --seeds 0 1 2 --torch

Batches are windows at random places of the first nine tenths of the text, as nanoGPT's are. The
loss of the rest is measured in two ways: as nanoGPT does, over random windows (the mean of 20
batches, its eval_iters for this configuration, and of 1,000 batches, which chance moves less), and
over all of it, in windows one after the other. Every window is read from its start, without what
stands before it. A run is kept in --out: its curve as JSON, and checkpoints for `graphc generate`.

--torch trains the same network by PyTorch, written out beside, on the same batches.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Losses = dict[str, float]
SHORT = 20  # random batches: nanoGPT's estimate


@dataclass(frozen=True)
class Configuration:
    """The sizes of a model, and how it is trained; the rate falls along a cosine to a tenth."""

    layers: int
    heads: int
    width: int
    context: int
    batch: int
    steps: int
    dropout: float = 0.0
    rate: float = 1e-3
    every: int = 250  # steps between measurements
    long: int = 1000  # random batches that are measured at the end


CONFIGURATIONS = {
    "nano": Configuration(4, 4, 128, 64, 12, 2000),
    "large": Configuration(6, 6, 384, 256, 16, 4000, dropout=0.2, every=500, long=40),
}


class Text:
    """The codes of a text's characters, in order of the characters."""

    def __init__(self, path: str) -> None:
        text = Path(path).read_text()
        self.characters = "".join(sorted(set(text)))
        codes = {character: code for code, character in enumerate(self.characters)}
        data = np.array([codes[character] for character in text], np.int32)
        border = int(0.9 * len(data))
        self.train, self.rest = data[:border], data[border:]


def windows(codes: Array, places: Array, context: int) -> tuple[Array, Array]:
    """(codes, the codes that follow), i32[len(places), context]."""
    index = np.asarray(places)[:, None] + np.arange(context)
    return codes[index], codes[index + 1]


def random_batch(codes: Array, sizes: Configuration, draw: np.random.Generator) -> Any:
    places = draw.integers(0, len(codes) - sizes.context, sizes.batch)
    return windows(codes, places, sizes.context)


def measure(
    loss: Callable[[Any, Any], float], text: Text, sizes: Configuration, long: bool
) -> Losses:
    """The losses of the rest of the text; `loss` takes a batch of sizes.batch windows."""
    draw = np.random.default_rng(1337)
    found = [
        loss(*random_batch(text.rest, sizes, draw))
        for _ in range(sizes.long if long else 2 * SHORT)
    ]
    result = {
        f"{count} random batches": float(np.mean(found[:count])) for count in (SHORT, len(found))
    }
    if not long:
        return result
    places = np.arange(0, len(text.rest) - sizes.context - 1, sizes.context)
    whole = [
        loss(*windows(text.rest, places[n : n + sizes.batch], sizes.context))
        for n in range(0, len(places) - sizes.batch + 1, sizes.batch)
    ]
    return {**result, "whole": float(np.mean(whole))}


def train(
    step: Callable[[Any, Any], Any],
    loss: Callable[[Any, Any], float],
    text: Text,
    sizes: Configuration,
    seed: int,
    done: Callable[[int, list[dict[str, Any]]], None],
) -> list[dict[str, Any]]:
    """The curve: a record at the start, then one every sizes.every steps and one at the end."""
    draw = np.random.default_rng(seed)
    curve: list[dict[str, Any]] = []
    losses: list[Any] = []
    start, clock = time.process_time(), time.perf_counter()
    for number in range(sizes.steps + 1):
        if number % sizes.every == 0 or number == sizes.steps:
            found = measure(loss, text, sizes, number == sizes.steps)
            record: dict[str, Any] = {"step": number, **found}
            record["train"] = float(np.mean([float(x) for x in losses])) if losses else None
            record["processor seconds"] = round(time.process_time() - start, 1)
            record["seconds"] = round(time.perf_counter() - clock, 1)
            losses.clear()
            curve.append(record)
            print(f"seed {seed}", json.dumps(record), flush=True)
            done(number, curve)
        if number < sizes.steps:
            losses.append(step(*random_batch(text.train, sizes, draw)))
    return curve


def by_graphc(text: Text, sizes: Configuration, seed: int, threads: int, out: Path) -> Any:
    """(step, loss, what is done at each measurement)."""
    import graphc
    from graphc.frontends.train.checkpoints import Checkpoints
    from graphc.frontends.train.data.tokenizers import CharacterTokenizer
    from graphc.frontends.train.description import write_description
    from graphc.models import gpt

    made = gpt.Sizes(
        len(text.characters), sizes.context, sizes.layers, sizes.heads, sizes.width, sizes.dropout
    )
    tokenizer = CharacterTokenizer(text.characters, specials=False)
    model = gpt.GPT(made, tokenizer)
    batch = graphc.Spec((sizes.batch, sizes.context), "int32")
    optimizer = gpt.optimizer(sizes.steps, sizes.rate)
    step = graphc.TrainStep(
        model, gpt.next_character, optimizer, batch, batch, seed=seed, threads=threads
    )
    write_description(out, model)
    checkpoints = Checkpoints(out / "checkpoints", keep=1)
    step.compile()
    evaluate = step.evaluation(gpt.next_character, batch, batch)

    def done(number: int, curve: list[dict[str, Any]]) -> None:
        checkpoints.save(number, step.state_dict(), {"curve": curve})
        (out / "curve.json").write_text(json.dumps({**asdict(sizes), "seed": seed, "curve": curve}))

    return step, lambda x, y: float(evaluate(x, y)), done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("configuration", choices=CONFIGURATIONS)
    parser.add_argument("--data", required=True, help="the text")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="runs/language")
    parser.add_argument("--torch", action="store_true", help="train by PyTorch")
    options = parser.parse_args()
    text, sizes = Text(options.data), CONFIGURATIONS[options.configuration]
    if options.steps:
        sizes = Configuration(**{**asdict(sizes), "steps": options.steps})
    for seed in options.seeds:
        if options.torch:
            from bench.language_torch import by_torch

            made = by_torch(len(text.characters), sizes, seed, options.threads)
        else:
            out = Path(options.out) / f"{options.configuration}-{seed}"
            made = by_graphc(text, sizes, seed, options.threads, out)
        train(made[0], made[1], text, sizes, seed, made[2])


if __name__ == "__main__":
    main()
