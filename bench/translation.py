"""BLEU of a trained seq2seq on Multi30k, English to German, and ten translations.

    graphc train seq2seq --data PATH --epochs 6 --seed 0 --threads 1 --out runs/translation
    python bench/translation.py runs/translation --data PATH

Scores are sacrebleu's (the extra `bleu`), of the text as it comes out and with capitals made small.
Times are the clock's and the processor's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from graphc import data
from graphc.metrics import bleu
from graphc.models.saved import load_run
from graphc.models.translating import Translator

SHOWN = 10


def evaluate(options: argparse.Namespace) -> list[str]:
    """The translations of the part; prints the scores."""
    pairs = data.multi30k(options.data, options.part)
    saved = load_run(options.run, options.average, expected=["seq2seq"])
    translator = Translator(
        saved.model, options.beam, options.length_penalty, threads=options.threads
    )
    start, processor_start = time.perf_counter(), time.process_time()
    found = translator.translate([source for source, _ in pairs])
    seconds, processor = time.perf_counter() - start, time.process_time() - processor_start
    meant = [target for _, target in pairs]
    print(f"{options.part}: {len(pairs)} sentences, step {saved.step}, beam {options.beam}")
    for lowercase in (False, True):
        print(f"BLEU {bleu(found, meant, lowercase)}")
    print(f"{seconds:.1f} s, {processor:.1f} s of processor time")
    return found


def show(pairs: Sequence[tuple[str, str]], found: Sequence[str]) -> None:
    """Ten sentences, evenly spread: source, reference, translation."""
    for number in range(0, len(pairs), max(1, len(pairs) // SHOWN)):
        source, target = pairs[number]
        print(f"\n{number + 1}\n  en   {source}\n  de   {target}\n  out  {found[number]}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--part", default="test_2016_flickr")
    parser.add_argument("--average", type=int, default=1, help="of the last checkpoints")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--length-penalty", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", dest="target", type=Path, help="where the translations are written")
    options = parser.parse_args()
    found = evaluate(options)
    if options.target is not None:
        options.target.write_text("".join(f"{line}\n" for line in found))
    show(data.multi30k(options.data, options.part), found)


if __name__ == "__main__":
    main()
