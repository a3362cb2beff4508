"""Tokens a second of a GPT that is decoded with a cache, beside torch's loop and no cache.

    python -m bench.decoding --torch PYTHON [--rounds 3]

The likeliest token is taken each time, so that all give the same text, which is compared. The same
weights; one process for each, in turns; the best of the rounds, in whole texts. torch's loop is
eager: caches made before, one slice written each step, attention over the part that is filled.
"without a cache" runs graphc's compiled forward over the whole context for every token.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# name: layers, heads, width, context
SIZES = {"4 layers, 128 wide, context 64": (4, 4, 128, 64), "6, 384, 256": (6, 6, 384, 256)}
WORDS, PROMPT = 65, 8
WITHOUT = 16  # tokens that are drawn without a cache: each takes as long as the others


def weights(layers: int, width: int, context: int) -> dict[str, Array]:
    """By nanoGPT's names; larger than at the start of a training, so that scores are far apart."""
    draw = np.random.default_rng(0)
    shapes = {"transformer.wte.weight": (WORDS, width), "transformer.wpe.weight": (context, width)}
    for n in range(layers):
        block = f"transformer.h.{n}."
        shapes |= {
            block + "attn.c_attn.weight": (3 * width, width),
            block + "attn.c_proj.weight": (width, width),
            block + "mlp.c_fc.weight": (4 * width, width),
            block + "mlp.c_proj.weight": (width, 4 * width),
        }
    return {name: draw.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}


def prompts(rows: int) -> Array:
    return np.random.default_rng(1).integers(0, WORDS, (rows, PROMPT)).astype(np.int32)


def timed(text: Callable[[], Array], rounds: int) -> tuple[list[list[int]], float]:
    """The tokens, and the least seconds of a text, after one that warms up."""
    tokens, best = text(), float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        text()
        best = min(best, time.perf_counter() - start)
    return np.asarray(tokens).tolist(), best


def by_graphc(name: str, rows: int, rounds: int, threads: int, cached: bool) -> Any:
    import graphc
    from graphc import decoding
    from graphc.models import gpt

    layers, heads, width, context = SIZES[name]
    model = gpt.GPT(gpt.Sizes(WORDS, context, layers, heads, width))
    model.load_state_dict(weights(layers, width, context), strict=False)
    count = context - PROMPT
    if cached:
        decoder = decoding.Decoder(model, rows, threads=threads)

        def text() -> Array:
            found = decoding.generate(decoder, list(prompts(rows)), count, temperature=0)
            return np.stack(found)
    else:
        spec = graphc.Spec((rows, context), "int32")
        forward = graphc.compile(model.eval(), spec, threads=threads)

        def text() -> Array:
            tokens = np.zeros((rows, context), np.int32)
            tokens[:, :PROMPT] = prompts(rows)
            end = PROMPT + WITHOUT
            for at in range(PROMPT, end):
                tokens[:, at] = forward(tokens)[:, at - 1].argmax(-1)
            return tokens[:, PROMPT:end]

    return timed(text, rounds)


def by_torch(name: str, rows: int, rounds: int, threads: int) -> Any:
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    layers, heads, width, context = SIZES[name]
    held = {k: torch.from_numpy(v) for k, v in weights(layers, width, context).items()}
    ones = torch.ones(width)
    table, places = held["transformer.wte.weight"], held["transformer.wpe.weight"]
    shape = (rows, heads, context, width // heads)
    caches = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(layers)]

    def step(tokens: Any, at: int) -> Any:
        """Scores of what follows the last of tokens[rows, L], the first of which is at `at`."""
        end = at + tokens.shape[1]
        x = table[tokens] + places[at:end]
        for n, (keys, values) in enumerate(caches):
            block = f"transformer.h.{n}."
            h = functional.layer_norm(x, (width,), ones)
            parts = functional.linear(h, held[block + "attn.c_attn.weight"]).split(width, 2)
            q, k, v = (part.view(rows, -1, heads, width // heads).transpose(1, 2) for part in parts)
            keys[:, :, at:end], values[:, :, at:end] = k, v
            y = functional.scaled_dot_product_attention(
                q, keys[:, :, :end], values[:, :, :end], is_causal=at == 0
            )
            y = y.transpose(1, 2).reshape(rows, -1, width)
            x = x + functional.linear(y, held[block + "attn.c_proj.weight"])
            h = functional.layer_norm(x, (width,), ones)
            h = functional.gelu(functional.linear(h, held[block + "mlp.c_fc.weight"]))
            x = x + functional.linear(h, held[block + "mlp.c_proj.weight"])
        return functional.linear(functional.layer_norm(x[:, -1], (width,), ones), table)

    def text() -> Array:
        found: list[Array] = []
        with torch.inference_mode():
            tokens, at = torch.from_numpy(prompts(rows)).long(), 0
            while len(found) < context - PROMPT:
                scores = step(tokens, at)
                at += tokens.shape[1]
                tokens = scores.argmax(-1, keepdim=True)
                found.append(tokens[:, 0].numpy())
        return np.stack(found, 1)

    return timed(text, rounds)


def measured(python: str, arguments: list[str], out: Path) -> Any:
    subprocess.run(
        [python, "-m", "bench.decoding", *arguments, "--out", str(out)],
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return json.loads(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokens a second, decoded with a cache.")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        known = (options.name, options.rows, options.rounds, options.threads)
        made = by_torch(*known) if options.worker == "torch" else None
        made = made or by_graphc(*known, cached=options.worker == "cached")
        Path(options.out).write_text(json.dumps(made))
        return
    ways = {"cached": sys.executable, "without": sys.executable}
    ways |= {"torch": options.torch} if options.torch else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in SIZES:
            for rows in (1, 8):
                show(name, rows, ways, options, Path(folder) / "found.json")


def show(name: str, rows: int, ways: dict[str, str], options: Any, out: Path) -> None:
    counts = ["--rounds", str(options.rounds), "--threads", str(options.threads)]
    given = ["--name", name, "--rows", str(rows), *counts]
    found = {way: measured(python, ["--worker", way, *given], out) for way, python in ways.items()}
    texts = [np.array(tokens) for tokens, _ in found.values()]
    same = np.mean([np.mean(texts[0][:, : x.shape[1]] == x) for x in texts[1:]])
    speeds = ", ".join(
        f"{way} {text.size / seconds:.0f}"
        for text, (way, (_, seconds)) in zip(texts, found.items(), strict=True)
    )
    print(f"{name}, {rows} rows: tokens/s {speeds}; {100 * same:.1f} % of the tokens agree")


if __name__ == "__main__":
    main()
