"""Writes tests/frontends/tracing/ctc_reference.json: torch's CTC losses and gradients, float64.

Run with a Python that has torch:  python bench/ctc_reference.py

Element i of the scores [T, N, C] is 2 sin(1.3 i + 0.7); the gradient is that of the scores, of
the sum of all losses by the given reduction, through log_softmax.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

TARGET = Path(__file__).parents[1] / "tests" / "frontends" / "tracing" / "ctc_reference.json"

CASES: list[dict[str, Any]] = [
    {"steps": 6, "targets": [[1, 2, 3], [2, 2, 1]], "inputs": [6, 6], "counts": [3, 3]},
    {"steps": 6, "targets": [[1, 2, 0], [3, 0, 0]], "inputs": [5, 3], "counts": [2, 1]},
    {"steps": 5, "targets": [[1, 1], [2, 3]], "inputs": [5, 4], "counts": [2, 0]},
    {"steps": 4, "targets": [1, 2, 3], "inputs": [4, 3], "counts": [2, 1]},
    {"steps": 1, "targets": [[1], [2]], "inputs": [1, 1], "counts": [1, 0]},
    {"steps": 3, "targets": [[1, 1], [1, 2]], "inputs": [3, 3], "counts": [2, 2], "blank": 3},
    {
        "steps": 3,
        "targets": [[1, 1, 2], [1, 2, 0]],
        "inputs": [3, 2],
        "counts": [3, 2],
        "zero_infinity": True,
    },
    {"steps": 5, "targets": [2, 1], "inputs": 5, "counts": 2},
]


def scores(case: dict[str, Any]) -> torch.Tensor:
    shape = (case["steps"], 2, 4) if isinstance(case["inputs"], list) else (case["steps"], 4)
    elements = 2 * np.sin(1.3 * np.arange(int(np.prod(shape))) + 0.7)
    return torch.tensor(elements.reshape(shape), requires_grad=True)


def run(case: dict[str, Any], reduction: str) -> dict[str, Any]:
    x = scores(case)
    loss = F.ctc_loss(
        F.log_softmax(x, -1),
        torch.tensor(case["targets"]),
        torch.tensor(case["inputs"]),
        torch.tensor(case["counts"]),
        case.get("blank", 0),
        reduction,
        case.get("zero_infinity", False),
    )
    loss.sum().backward()
    return {"loss": loss.detach().tolist(), "gradient": x.grad.tolist()}


def main() -> None:
    found = [{**case, **{r: run(case, r) for r in ("mean", "sum", "none")}} for case in CASES]
    TARGET.write_text(json.dumps({"torch": torch.__version__, "cases": found}) + "\n")


if __name__ == "__main__":
    main()
