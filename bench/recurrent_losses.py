"""Writes tests/end_to_end/recurrent_losses.json: losses of 20 Adam steps of torch's taggers.

    python -m bench.recurrent_losses      with a Python that has torch

Weights and batches are those of tests/end_to_end/recurrent_given.py. torch runs each case in
float64, and in float32 for the deviation that is usual in that type.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.end_to_end import recurrent_given as given

TARGET = Path(__file__).parents[1] / "tests" / "end_to_end" / "recurrent_losses.json"


class Tagger(torch.nn.Module):
    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.rnn = getattr(torch.nn, kind)(given.FEATURES, given.HIDDEN, **options)
        directions = 2 if options.get("bidirectional") else 1
        self.head = torch.nn.Linear(directions * given.HIDDEN, given.CLASSES)

    def forward(self, x: Any, lengths: Any) -> Any:
        if lengths is None:
            return self.head(self.rnn(x)[0])
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.rnn(packed)[0], total_length=given.LENGTH)
        return self.head(outputs)


def losses(kind: str, name: str, dtype: torch.dtype) -> list[float]:
    model = Tagger(kind, given.LAYERS[name]).to(dtype)
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters()}
    arrays = {n: torch.tensor(a, dtype=dtype) for n, a in given.weights(shapes).items()}
    model.load_state_dict(arrays)
    optimizer = torch.optim.Adam(model.parameters())
    found = []
    for step, (x, y) in enumerate(given.batches()):
        lengths = given.lengths(name, step)
        sizes = None if lengths is None else torch.tensor(lengths).long()
        scores = model(torch.tensor(x, dtype=dtype), sizes)
        loss = F.cross_entropy(
            scores.reshape(-1, given.CLASSES), torch.tensor(y).long().reshape(-1)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return found


def main() -> None:
    torch.set_num_threads(1)
    found = {
        f"{kind}.{name}": {
            "float64": losses(kind, name, torch.float64),
            "float32": losses(kind, name, torch.float32),
        }
        for kind, name in given.CASES
    }
    TARGET.write_text(json.dumps({"torch": torch.__version__, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
