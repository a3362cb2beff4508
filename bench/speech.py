"""Character error rate of lstm-ctc on connected digits of FSDD.

    python bench/speech.py --data fsdd.zip --out runs/official
    python bench/speech.py --data fsdd.zip --hold-out george --speeds 0.8 1.25 --out runs/george

Without --hold-out it trains and tests on the official split, as `graphc train lstm-ctc` does; with
it one speaker is only in the test, and all recordings of the others are trained on. --speeds plays
what is trained on slower and faster, within those factors. At the end the best path and a beam
search of the best labels are compared. --resume goes on with a run.
"""

from __future__ import annotations

import argparse
from typing import Any

from graphc import data as datasets
from graphc.decoding import character_error_rate, ctc_beam_search
from graphc.frontends.train.trainer import Trainer
from graphc.models.lstm_ctc import BLANK, LstmCTC, Plan, make_from

BEAM = 16


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--hold-out", metavar="SPEAKER")
    parser.add_argument("--speeds", type=float, nargs=2, default=(1.0, 1.0))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    spoken = datasets.fsdd(options.data)
    name = options.hold_out
    split = spoken.without_speaker(name) if name else spoken.official_split()
    step, training, test = make_from(
        split, epochs=options.epochs, plan=Plan(speeds=tuple(options.speeds))
    )
    step.seed, step.threads, training.seed = options.seed, options.threads, options.seed
    trainer = Trainer(step, options.out, LstmCTC.metrics)
    trainer.fit(training, options.epochs, test, resume=options.resume)
    found = trainer.evaluate(test)["character_error_rate"]
    print(f"test character error rate {found:.4f}, by beam search {beam_rate(trainer, test):.4f}")


def beam_rate(trainer: Trainer, test: Any) -> float:
    """The error rate of the labels that are most likely over all alignments."""
    outputs = trainer.predict(test, inputs=2)
    meant = [test.dataset[index][1].tolist() for index in range(len(outputs))]
    found = [best_labels(*output) for output in outputs]
    return character_error_rate(found, meant)


def best_labels(log_probs: Any, steps: Any) -> list[int]:
    ((labels, _),) = ctc_beam_search(log_probs[:, None], [steps], BLANK, BEAM)
    return labels


if __name__ == "__main__":
    main()
